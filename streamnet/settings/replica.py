"""Settings of read replicas: `[replica]` of a daemon's run file."""

from __future__ import annotations

from typing import final
from urllib.parse import urlsplit

from streamnet.errors import ConfigurationError
from streamnet.settings.fields import Positive, Text, Texts
from streamnet.settings.inference import InferenceSettings
from streamnet.settings.run import Section


@final
class ReplicaSection(Section, InferenceSettings, frozen=True):
    """``[replica]``: predict with models that another process learns and publishes.

    Args:
        of: Where the models are published: the address of a daemon, such as http://HOST:8000, its
            folder, or the state directory of a run, either also in a bucket (s3://, gs://, az://).
        models: Names of the models; by default all, also those that come later.
        name: Name of the model in the state directory of a run; by default the last part of `of`.
        writer: Address that those who send samples or labels are referred to; by default `of`.
        token_env: Environment variable that holds the token of the daemon, of scope read.
        poll_seconds: Seconds between two looks for newer models.
        max_age: Seconds after which a model is too old, counted from when it was published: also
            while nothing is learned. Then the replica is not ready, and still predicts.
        max_silence: Seconds without an answer of the daemon, folder or bucket after which the
            replica is not ready. It still predicts.

    >>> ReplicaSection(of="http://learner:8000", max_silence=60.0).reads_daemon
    True
    """

    of: Text
    models: Texts = ()
    name: Text | None = None
    writer: Text | None = None
    token_env: Text | None = None
    poll_seconds: Positive = 1.0
    max_age: Positive | None = None
    max_silence: Positive | None = None

    @property
    def reads_daemon(self) -> bool:
        """Whether the models come from a daemon, not from files."""
        return self.of.startswith(("http://", "https://"))

    @property
    def place(self) -> str:
        """Where who wants to learn has to go."""
        return self.writer or self.of

    def check_rules(self) -> None:
        """Check the address, and what belongs to it alone."""
        if not self.reads_daemon:
            if self.token_env is not None:
                raise ConfigurationError(
                    f"token_env is {self.token_env!r}, but of is {self.of!r}, which is no daemon"
                )
            return
        address = urlsplit(self.of)
        if not address.hostname or address.username or address.query:
            raise ConfigurationError(
                "of must be the address of a daemon, as in http://HOST:8000, without a token"
            )
        if self.name is not None:
            raise ConfigurationError(f"name is {self.name!r}, but the daemon names its models")
