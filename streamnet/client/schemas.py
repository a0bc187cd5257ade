"""Request and response bodies of the HTTP API, as msgspec Structs.

The OpenAPI document is generated from them, request bodies are validated against them, and the
client decodes responses into them. Undefined numbers, such as a score before the first sample, are
null.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

__all__ = (
    "AnswerLine",
    "Answers",
    "CandidateLine",
    "Champion",
    "Confusion",
    "CreateRequest",
    "Event",
    "Feed",
    "FieldLine",
    "Health",
    "History",
    "LabelLine",
    "LabelsReply",
    "LabelsRequest",
    "LearnRequest",
    "Mark",
    "ModelLine",
    "PredictRequest",
    "Problem",
    "Receipt",
    "Rejected",
    "RejectedLine",
    "Residuals",
    "SampleProblem",
    "Status",
)

Name = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")]
Identity = Annotated[str, Meta(min_length=1, max_length=200)]
Count = Annotated[int, Meta(ge=0)]
# Whole numbers beside others: a label that is one keeps all its digits.
Value = Annotated[str, Meta(max_length=100_000)] | int | float | bool | None
Sample = dict[str, Any]
ModelState = Literal["starting", "learning", "paused", "failed", "stopped"]
OutcomeName = Literal["joined", "unknown", "expired", "duplicate", "contradictory"]


class _Request(Struct, forbid_unknown_fields=True):
    """A body that is sent: unknown names in it are errors."""


class _Reply(Struct):
    """A body that is answered: names may be added in later versions."""


# ------------------------------------------------------------------------------ requests


class LearnRequest(_Request):
    """Samples to learn, the label in the column of the target: exactly one of the two is given.

    >>> msgspec.json.decode(b'{"sample": {"x": 1, "label": "a"}}', type=LearnRequest).rows()
    [{'x': 1, 'label': 'a'}]
    """

    sample: Sample | None = None
    samples: list[Sample] | None = None

    def __post_init__(self) -> None:
        _require_exactly_one(self.sample, self.samples, "sample", "samples")

    def rows(self) -> list[Sample]:
        """The samples as a list."""
        return _list_samples(self.sample, self.samples)


class PredictRequest(_Request):
    """Samples to answer: one with its id, or many with theirs; an id is what a label joins by.

    >>> request = msgspec.json.decode(b'{"samples": [{"x": 1}, {"x": 2}]}', type=PredictRequest)
    >>> request.rows(), request.identities()
    ([{'x': 1}, {'x': 2}], None)
    """

    sample: Sample | None = None
    samples: list[Sample] | None = None
    id: Identity | None = None
    ids: list[Identity] | None = None
    explain: bool = False

    def __post_init__(self) -> None:
        _require_exactly_one(self.sample, self.samples, "sample", "samples")
        if self.id is not None and self.sample is None:
            raise ValueError("id is given, but belongs to a sample alone; ids belong to samples")
        if self.ids is not None and (self.samples is None or len(self.ids) != len(self.samples)):
            raise ValueError("ids are given, but there must be one for each of the samples")

    def rows(self) -> list[Sample]:
        """The samples as a list."""
        return _list_samples(self.sample, self.samples)

    def identities(self) -> list[str] | None:
        """Their ids as a list, or None."""
        return [self.id] if self.id is not None else self.ids


class LabelLine(_Request):
    """The truth for a prediction that was remembered."""

    id: Identity
    label: Value


class LabelsRequest(_Request):
    """Truths, in any order."""

    labels: list[LabelLine]


class CreateRequest(_Request):
    """A new model: its name, and what a run file's tables would say (source, population...)."""

    name: Name
    settings: dict[str, Any] = msgspec.field(default_factory=dict)


def _require_exactly_one(one: object, many: object, name: str, names: str) -> None:
    if (one is None) == (many is None):
        raise ValueError(f"exactly one of {name} and {names} must be given")


def _list_samples(one: Sample | None, many: list[Sample] | None) -> list[Sample]:
    return [one] if one is not None else list(many or ())


# ------------------------------------------------------------------------------- answers


class Receipt(_Reply):
    """What became of samples that were sent.

    ``rejected`` have no target; of lines, that shows later. ``first`` and ``last`` are numbers of
    all of them in the model's journal, from 0; null if there is none. ``duplicate``: the
    idempotency key was seen before, and nothing is learned twice.
    """

    accepted: Count
    rejected: Count = 0
    duplicate: bool = False
    first: int | None = None
    last: int | None = None


class AnswerLine(_Reply, omit_defaults=True):
    """The answer to one line: a label and its probability, or a number."""

    answer: str | float | None
    probability: float | None = None


class Answers(_Reply, omit_defaults=True):
    """Answers, one for each sample, in their order.

    ``answers`` holds labels or numbers, null where there is no finite one; ``generations`` those of
    the models that gave them: a remembered answer stays what it was. ``probabilities`` has a row
    for each sample, in the order of ``labels``; ``intervals`` has the ends between which a number
    lies 90 times of 100, as far as the residuals of late tell. ``explanations`` tells for each
    sample by how much the answer would change if an input were missing: the probability of the
    answered label, or the number.
    """

    answers: list[str | float | None]
    generations: list[int]
    labels: list[str] | None = None
    probabilities: list[list[float | None]] | None = None
    intervals: list[list[float | None]] | None = None
    explanations: list[dict[str, float]] | None = None


class LabelsReply(_Reply):
    """What became of each label, in their order."""

    outcomes: list[OutcomeName]


class ModelLine(_Reply):
    """A model in the list of all.

    ``samples`` counts what was learned; ``served`` is the measure (accuracy or mae) of what it
    answered before it learned each.
    """

    name: str
    state: ModelState
    task: str | None = None
    target: str | None = None
    samples: int = 0
    measure: str | None = None
    served: float | None = None


class Status(ModelLine):
    """Where a model stands.

    ``accepted`` samples are in the journal, ``in_flight`` of them are not learned yet, of
    ``max_queued`` that may be. ``pending`` predictions wait for their label. Rates are samples a
    second over the last seconds; ages and times are seconds. ``served`` and ``baselines`` are of
    what was learned, ``delivered`` of the predictions that were given away by id and whose labels
    came. ``scored`` are those that ``served`` counts, a moment after they are learned. ``feed`` is
    of a model that reads files, too.
    """

    failure: str | None = None
    accepted: int = 0
    learned: int = 0
    scored: int = 0
    in_flight: int = 0
    max_queued: int | None = None
    rejected: dict[str, int] = msgspec.field(default_factory=dict)
    duplicates: int = 0
    predicted: int = 0
    pending: int = 0
    outcomes: dict[str, int] = msgspec.field(default_factory=dict)
    learned_per_second: float | None = None
    predicted_per_second: float | None = None
    checkpoint_age: float | None = None
    uptime: float | None = None
    generation: int | None = None
    champion: str | None = None
    switches: int = 0
    drifts: int = 0
    quarantined: int = 0
    baselines: dict[str, float | None] = msgspec.field(default_factory=dict)
    delivered: dict[str, float | None] | None = None
    feed: Feed | None = None


class Feed(_Reply):
    """How far the files of the run file are read.

    ``records``, good and rejected ones, are in the journal; ``file`` and ``line`` say where the
    next one begins, ``progress`` the share of all bytes, from 0 to 1, where that is known.
    ``failure`` says what stopped it, until the model is resumed.
    """

    state: Literal["reading", "ended", "failed"]
    failure: str | None = None
    records: int = 0
    file: str | None = None
    line: int | None = None
    progress: float | None = None


class FieldLine(_Reply):
    """A column that the model reads; ``values`` are some that were seen, of a category."""

    name: str
    kind: str
    values: list[str] | None = None


class Champion(_Reply):
    """The model that answers now: its networks in words, and what it reads."""

    generation: int
    settings: str
    networks: int
    task: str
    target: str | None
    labels: list[str]
    fields: list[FieldLine]
    since: int | None = None


class CandidateLine(_Reply):
    """A candidate on the leader board; the best comes first.

    ``loss`` is faded, ``scores`` are over all samples since it was born, at sample ``born``.
    """

    candidate: int
    settings: str
    loss: float | None
    state: Literal["competing", "quarantined"]
    champion: bool
    born: int | None = None
    scores: dict[str, float | None] = msgspec.field(default_factory=dict)


class Mark(_Reply):
    """Something that happened at a sample: a new champion, a drift."""

    number: int
    kind: Literal["champion", "drift"]
    text: str


class History(_Reply):
    """The score over time, thinned to a bounded number of points.

    Point i is the measure over the samples from the one before up to ``samples[i]``. ``series``
    has ``served`` and the baselines: majority and no_change, or mean and no_change.
    """

    measure: str
    samples: list[int]
    series: dict[str, list[float | None]]
    marks: list[Mark] = msgspec.field(default_factory=list)


class Confusion(_Reply, tag="confusion", tag_field="kind"):
    """How often a true label (row) was answered as another (column), in the order of labels."""

    labels: list[str]
    matrix: list[list[int]]


class Residuals(_Reply, tag="residuals", tag_field="kind"):
    """A histogram of answer minus truth: counts[i] lie between edges[i] and edges[i + 1]."""

    edges: list[float]
    counts: list[int]


class RejectedLine(_Reply):
    """A record that was not learned; ``raw`` is its text as it came, cut to a bounded length."""

    source: str
    line: int | None
    reason: str
    detail: str
    raw: str


class Rejected(_Reply):
    """How many records were rejected, why, and the last of them."""

    total: int
    by_reason: dict[str, int]
    last: list[RejectedLine]


class Event(_Reply):
    """Something that happened; ``id`` grows, and a reader resumes after it."""

    id: int
    kind: str
    time: float
    data: dict[str, Any] = msgspec.field(default_factory=dict)


class Health(_Reply):
    """Whether the daemon is well; ``refusing``, it takes no samples until the disk recovers."""

    status: Literal["ok", "starting", "refusing", "stopping"]


class SampleProblem(_Reply):
    """Which sample of a request is refused, from 0, and what is wrong with it."""

    number: Count
    detail: str


class Problem(_Reply, omit_defaults=True):
    """An error as RFC 9457 has it; its type is about:blank, so ``title`` is the status's name.

    ``receipt`` says what was accepted before the error, of a stream of lines; ``sample`` which one
    is refused, where it is one of those in a request.
    """

    title: str
    status: int
    detail: str
    receipt: Receipt | None = None
    sample: SampleProblem | None = None
