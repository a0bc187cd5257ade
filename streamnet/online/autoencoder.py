"""AutoEncoder: codes, outlier scores and reconstructions, learned without labels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from threading import RLock
from typing import Any, Self, cast, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.errors import ConfigurationError, DataError, ModelFileError
from streamnet.features.encoder import Encoder
from streamnet.learning.validation import check_part
from streamnet.modelfiles.document import (
    VERSION,
    Document,
    add_checksum,
    read_document,
    write_document,
)
from streamnet.online.interrupts import Broken, Uninterrupted
from streamnet.samples import Block, Kind, Sample, Task
from streamnet.sources.columns import Columns
from streamnet.sources.frames import SamplesLike, to_rows
from streamnet.sources.rows import RowReader
from streamnet.version import __version__

__all__ = ("AutoEncoder",)

FORMAT = "streamnet-autoencoder"
BLOCK_SIZE = 1024  # most samples that are learned or coded at a time


@final
class AutoEncoder:
    """A network that compresses samples into a short code by learning to restore them from it.

    A sample is a dict of numbers, texts, dates or None by name, and many are what the online
    estimators take.
    Columns become network inputs as for them; the network is a denoising auto-encoder (Vincent et
    al. 2010). Learning in blocks or one by one gives the same bits.

    How unusual a sample is: the logarithm of its reconstruction error (the mean over inputs of half
    the squared error of numbers in standard units, and of -log p of the values, words and gaps that
    are there), in standard deviations above the mean of the samples learned before, which fade.
    Above 3 is rare. A value that was never seen counts only where its sample is learned as well, as
    in `score_and_learn`: what is only asked about changes nothing, and so has no place for it.

    Copied or pickled, it goes on to the same bits. Ctrl-C, and any other exception that breaks into
    it, are as for the online estimators. Calls from several threads come one after the other.

    Args:
        code: Units of the code.
        kinds: How columns are understood, for those whose first value would mislead.
        encoder: More settings of the `Encoder`.
        network: More of `AutoEncoderSettings`: hidden, noise, activation, learning_rate, seed, ...

    Raises:
        ConfigurationError: If a setting is unknown or breaks its rule.

    >>> coder = AutoEncoder(code=8)
    >>> rows = [{"x": i % 10, "y": 2.0 * (i % 10), "even": str(i % 2 == 0)} for i in range(3000)]
    >>> _ = coder.partial_fit(rows)
    >>> coder.encode_one({"x": 3, "y": 6.0, "even": "False"}).shape
    (8,)
    >>> restored = coder.reconstruct_one({"x": 3, "y": 6.0, "even": "False"})
    >>> round(restored["y"]), restored["even"]
    (6, 'False')
    >>> coder.score_one({"x": 3, "y": 18.0, "even": "False"}) > 3
    True
    """

    def __init__(
        self,
        code: int = 16,
        *,
        kinds: Mapping[str, Kind] | None = None,
        encoder: Mapping[str, Any] | None = None,
        **network: Any,
    ) -> None:
        if "inputs" in network:
            raise ConfigurationError("inputs is given, but must not be: there are no candidates")
        check_part("encoder", encoder, "autoencoder", "lags")
        settings = {"code": code, "inputs": "replace", **network}
        self._encoder = Encoder(task=Task.REGRESSION, autoencoder=settings, **(encoder or {}))
        self._reader = RowReader(Columns(kinds=kinds or {}))
        self._kinds = {name: Kind(kind) for name, kind in (kinds or {}).items()}
        self._lock = RLock()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._kinds, self.export_state())

    # --------------------------------------------------------------- learning

    def learn_one(self, x: Sample) -> None:
        """Learn one sample.

        Raises:
            DataError: If a value can't be read; nothing is learned then.
        """
        self.score_and_learn((x,))

    def partial_fit(self, X: SamplesLike) -> Self:
        """Learn samples one after the other, in their order.

        Raises:
            DataError: If a value can't be read; the samples before it were learned.
        """
        self.score_and_learn(X)
        return self

    def score_and_learn(self, X: SamplesLike) -> NDArray[np.float64]:
        """How unusual each sample was before it was learned, shape=(n,).

        Raises:
            DataError: If a value can't be read; the samples before it were learned.
        """
        rows = to_rows(X)
        scores: list[NDArray[np.float64]] = []
        with self._lock:
            for start in range(0, len(rows), BLOCK_SIZE):
                with Uninterrupted():
                    for block in self._reader.blocks(rows[start : start + BLOCK_SIZE]):
                        good = int(block.places()[0]) if block.rejected else len(block)
                        scores.append(self._learned(block.part(0, good)))
                        _check(block, sum(map(len, scores)), len(rows))
        return np.concatenate(scores) if scores else np.empty(0)

    def _learned(self, block: Block) -> NDArray[np.float64]:
        try:
            return self._encoder.encode(block).outlier
        except BaseException as error:
            self._encoder = cast("Encoder", Broken("the auto-encoder", error))
            raise

    # ---------------------------------------------------------------- answers

    def encode(self, X: SamplesLike) -> NDArray[np.float32]:
        """The code of each sample, shape=(n, code).

        Raises:
            DataError: If a value can't be read.
        """
        with self._lock:
            parts = [self._encoder.transform(block).dense for block in self._asked(X)]
            return np.concatenate(parts) if parts else self._no_codes()

    def encode_one(self, x: Sample) -> NDArray[np.float32]:
        """The code of one sample, shape=(code,).

        Raises:
            DataError: If a value can't be read.
        """
        code: NDArray[np.float32] = self.encode((x,))[0]
        return code

    def decode(self, codes: ArrayLike) -> list[Sample]:
        """The samples that codes stand for, shape=(n, code), as dicts.

        Numbers come in their columns' units, dates as seconds since 1970, of categories the most
        likely value; None is what is more likely to be missing. Texts can't be told, so they are
        absent.

        Raises:
            ConfigurationError: If codes have another shape, or are no numbers.
        """
        with self._lock:
            try:
                array = np.asarray(codes, np.float64)
            except (TypeError, ValueError):
                raise ConfigurationError(
                    f"codes is {codes!r:.80}, but must have numbers, as many in each row"
                ) from None
            return self._encoder.decode(array)

    def reconstruct(self, X: SamplesLike) -> list[Sample]:
        """Each sample as its code tells it, see `decode`.

        Raises:
            DataError: If a value can't be read.
        """
        with self._lock:
            return self.decode(self.encode(X))

    def reconstruct_one(self, x: Sample) -> Sample:
        """One sample as its code tells it, see `decode`.

        Raises:
            DataError: If a value can't be read.
        """
        return self.reconstruct((x,))[0]

    def score(self, X: SamplesLike) -> NDArray[np.float64]:
        """How unusual each sample is, shape=(n,); nothing is learned.

        Raises:
            DataError: If a value can't be read.
        """
        with self._lock:
            parts = [self._encoder.outliers(block) for block in self._asked(X)]
        return np.concatenate(parts) if parts else np.empty(0)

    def score_one(self, x: Sample) -> float:
        """How unusual one sample is; nothing is learned.

        Raises:
            DataError: If a value can't be read.
        """
        return float(self.score((x,))[0])

    def _no_codes(self) -> NDArray[np.float32]:
        return np.empty((0, self._encoder.statistics().dense), np.float32)

    def _asked(self, X: SamplesLike) -> Iterator[Block]:
        """Samples in columns that are known; others are left out."""
        rows = to_rows(X, self._reader.schema.fields)
        asker = RowReader(Columns(kinds=self._kinds), closed=True)
        asker.restore_state(self._reader.export_state())
        for start in range(0, len(rows), BLOCK_SIZE):
            block = asker.read(rows[start : start + BLOCK_SIZE])
            good = int(block.places()[0]) if block.rejected else len(block)
            _check(block, start + good, len(rows))
            yield block

    # ------------------------------------------------------------------ state

    def export_state(self) -> dict[str, Any]:
        """Everything needed to go on, to the bit."""
        with self._lock:
            return {"encoder": self._encoder.export_state(), "reader": self._reader.export_state()}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Go on as the auto-encoder did whose state this is.

        Raises:
            ModelFileError: If the state contradicts itself.
        """
        try:
            with self._lock:
                encoder = Encoder.restore_state(state["encoder"])
                self._reader.restore_state(state["reader"])
                self._encoder = encoder
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ModelFileError(f"the auto-encoder's state is damaged: {error!r}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it, whole or not at all, in the format of the suffix: .safetensors, .json.

        Raises:
            ConfigurationError: If the suffix is another.
            ModelFileError: If the file can't be written.
        """
        kinds = {name: str(kind) for name, kind in self._kinds.items()}
        about = {"format": FORMAT, "version": VERSION, "streamnet": __version__}
        write_document(path, add_checksum({**about, "kinds": kinds, **self.export_state()}))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AutoEncoder:
        """Go on with what `save` wrote, to the bit.

        Raises:
            ModelFileError: If the file can't be read, is foreign, damaged, or of another version.
        """
        document: Document = read_document(path, FORMAT)
        try:
            return _restored(document["kinds"], document)
        except (ModelFileError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ModelFileError(f"{path} is damaged: {error}") from error


def _restored(kinds: Mapping[str, Kind], state: Mapping[str, Any]) -> AutoEncoder:
    coder = AutoEncoder(kinds=kinds)
    coder.restore_state(state)
    return coder


def _check(block: Block, number: int, total: int) -> None:
    """Raise `DataError` for the first sample of a block that can't be read."""
    for letter in block.rejected:
        raise DataError(f"sample {number}: {letter.detail}" if total > 1 else letter.detail)
