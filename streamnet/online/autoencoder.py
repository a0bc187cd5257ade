"""AutoEncoder: codes, outlier scores and reconstructions, learned without labels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from inspect import signature
from threading import RLock
from typing import Any, Self, Unpack, cast, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.errors import ConfigurationError, DataError, ModelFileError
from streamnet.features.encoder import Encoder
from streamnet.modelfiles.document import (
    VERSION,
    Document,
    add_checksum,
    read_document,
    write_document,
)
from streamnet.online.interrupts import Broken, Uninterrupted
from streamnet.samples import Block, Kind, Sample, Task
from streamnet.settings.encoder import AutoEncoderSettings, EncoderSettings
from streamnet.settings.fields import check_group, check_names, with_settings
from streamnet.settings.keywords import CodingKeywords, EncoderKeywords
from streamnet.sources.columns import Columns
from streamnet.sources.frames import SamplesLike, to_rows
from streamnet.sources.rows import RowReader
from streamnet.version import __version__

FORMAT = "streamnet-autoencoder"
BLOCK_SIZE = 1024  # samples learned or encoded at a time


@final
@with_settings(AutoEncoderSettings, without=["inputs"])
class AutoEncoder:
    """A denoising auto-encoder that learns online and scores outliers.

    Samples are dicts of numbers, strings, dates or None by name; many samples may be anything that
    the online estimators accept. The network learns to reconstruct samples from a short code
    (Vincent et al. 2010). Learning in blocks or one by one gives the same bits.

    The outlier score of a sample is the logarithm of its reconstruction error, in standard
    deviations above the fading mean of the samples learned before; above 3 is rare. The error is
    the mean over inputs of half the squared error of standardized numbers, and of -log p of the
    values, words and gaps present. A value never seen before counts only in `score_and_learn`.

    Copies and pickles continue with the same bits. Ctrl-C, other exceptions and threads are handled
    as by the online estimators.

    Args:
        kinds: Kinds of columns whose first value would mislead.
        encoder: More settings of the `Encoder`.

    Raises:
        ConfigurationError: If a setting is unknown or invalid.

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
        code: int = AutoEncoderSettings.code,
        *,
        kinds: Mapping[str, Kind] | None = None,
        encoder: EncoderKeywords | None = None,
        **network: Unpack[CodingKeywords],
    ) -> None:
        check_names(network, signature(AutoEncoder).parameters, "AutoEncoder")
        check_group("encoder", encoder, EncoderSettings, "autoencoder")
        given = EncoderKeywords(**(encoder or {}))
        given["autoencoder"] = {**network, "code": code, "inputs": "replace"}
        self._encoder = Encoder(task=Task.REGRESSION, **given)
        self._reader = RowReader(Columns(kinds=kinds or {}))
        self._kinds = {name: Kind(kind) for name, kind in (kinds or {}).items()}
        self._lock = RLock()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._kinds, self.export_state())

    # --------------------------------------------------------------- learning

    def learn_one(self, x: Sample) -> None:
        """Learn one sample.

        Args:
            x: Features by name.

        Raises:
            DataError: If a value cannot be read; nothing is learned.
        """
        self.score_and_learn((x,))

    def partial_fit(self, X: SamplesLike) -> Self:
        """Learn samples one after the other, in the given order.

        Args:
            X: The samples.

        Raises:
            DataError: If a value cannot be read; the samples before it were learned.
        """
        self.score_and_learn(X)
        return self

    def score_and_learn(self, X: SamplesLike) -> NDArray[np.float64]:
        """Compute the outlier score of each sample before learning it, shape=(n,).

        Args:
            X: The samples.

        Raises:
            DataError: If a value cannot be read; the samples before it were learned.
        """
        rows = to_rows(X)
        scores: list[NDArray[np.float64]] = []
        with self._lock:
            for start in range(0, len(rows), BLOCK_SIZE):
                with Uninterrupted():
                    for block in self._reader.blocks(rows[start : start + BLOCK_SIZE]):
                        good = int(block.places()[0]) if block.rejected else len(block)
                        scores.append(self._learn(block.part(0, good)))
                        _check(block, sum(map(len, scores)), len(rows))
        return np.concatenate(scores) if scores else np.empty(0)

    def _learn(self, block: Block) -> NDArray[np.float64]:
        try:
            return self._encoder.encode(block).outlier
        except BaseException as error:
            self._encoder = cast("Encoder", Broken("the auto-encoder", error))
            raise

    # ---------------------------------------------------------------- queries

    def encode(self, X: SamplesLike) -> NDArray[np.float32]:
        """Encode each sample, shape=(n, code).

        Args:
            X: The samples.

        Raises:
            DataError: If a value cannot be read.
        """
        with self._lock:
            parts = [self._encoder.transform(block).dense for block in self._read_queries(X)]
            code = self._encoder.statistics().dense
            return np.concatenate(parts) if parts else np.empty((0, code), np.float32)

    def encode_one(self, x: Sample) -> NDArray[np.float32]:
        """Encode one sample, shape=(code,).

        Args:
            x: Features by name.

        Raises:
            DataError: If a value cannot be read.
        """
        code: NDArray[np.float32] = self.encode((x,))[0]
        return code

    def decode(self, codes: ArrayLike) -> list[Sample]:
        """Decode codes to samples.

        Numbers have their column's units, dates are seconds since 1970, and categories the most
        likely value; None means that a value is probably missing. Texts cannot be decoded.

        Args:
            codes: The codes, shape=(n, code).

        Raises:
            ConfigurationError: If the codes have another shape or are not numbers.
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
        """Reconstruct each sample from its code, see `decode`.

        Args:
            X: The samples.

        Raises:
            DataError: If a value cannot be read.
        """
        with self._lock:
            return self.decode(self.encode(X))

    def reconstruct_one(self, x: Sample) -> Sample:
        """Reconstruct one sample from its code, see `decode`.

        Args:
            x: Features by name.

        Raises:
            DataError: If a value cannot be read.
        """
        return self.reconstruct((x,))[0]

    def score(self, X: SamplesLike) -> NDArray[np.float64]:
        """Compute the outlier score of each sample without learning, shape=(n,).

        Args:
            X: The samples.

        Raises:
            DataError: If a value cannot be read.
        """
        with self._lock:
            parts = [self._encoder.outliers(block) for block in self._read_queries(X)]
        return np.concatenate(parts) if parts else np.empty(0)

    def score_one(self, x: Sample) -> float:
        """Compute the outlier score of one sample without learning.

        Args:
            x: Features by name.

        Raises:
            DataError: If a value cannot be read.
        """
        return float(self.score((x,))[0])

    def _read_queries(self, X: SamplesLike) -> Iterator[Block]:
        """Read samples to encode, ignoring unknown columns."""
        rows = to_rows(X, self._reader.schema.fields)
        reader = RowReader(Columns(kinds=self._kinds), closed=True)
        reader.restore_state(self._reader.export_state())
        for start in range(0, len(rows), BLOCK_SIZE):
            block = reader.read(rows[start : start + BLOCK_SIZE])
            good = int(block.places()[0]) if block.rejected else len(block)
            _check(block, start + good, len(rows))
            yield block

    # ------------------------------------------------------------------ state

    def export_state(self) -> dict[str, Any]:
        """Return everything needed to resume, bit for bit."""
        with self._lock:
            return {"encoder": self._encoder.export_state(), "reader": self._reader.export_state()}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Resume from an exported state.

        Args:
            state: The state.

        Raises:
            ModelFileError: If the state is inconsistent.
        """
        try:
            with self._lock:
                encoder = Encoder.restore_state(state["encoder"])
                self._reader.restore_state(state["reader"])
                self._encoder = encoder
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ModelFileError(f"the auto-encoder's state is damaged: {error!r}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the auto-encoder atomically in the format of the suffix: .safetensors or .json.

        Args:
            path: Path of the file.

        Raises:
            ConfigurationError: If no format has the suffix.
            ModelFileError: If the file cannot be written.
        """
        kinds = {name: str(kind) for name, kind in self._kinds.items()}
        about = {"format": FORMAT, "version": VERSION, "streamnet": __version__}
        write_document(path, add_checksum({**about, "kinds": kinds, **self.export_state()}))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AutoEncoder:
        """Load a saved auto-encoder, which continues bit for bit.

        Args:
            path: Path of the file.

        Raises:
            ModelFileError: If the file cannot be read, is damaged, in another format or of another
                version.
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
