"""AutoEncoder: codes, outlier scores and reconstructions, learned without labels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
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
from streamnet.online.scikit_learn import (
    FrameOutput,
    MatrixForm,
    ScikitLearnEstimator,
    check_fitted_samples,
    make_tags,
    raise_not_fitted,
    read_samples,
)
from streamnet.progress import ProgressBar
from streamnet.randomness import derive_key, permutation
from streamnet.samples import Block, DeadLetter, Kind, Sample, Task
from streamnet.settings.encoder import AutoEncoderSettings, EncoderSettings
from streamnet.settings.fields import check_group, list_settings, with_settings
from streamnet.settings.keywords import CodingKeywords, EncoderKeywords
from streamnet.sources.columns import Columns
from streamnet.sources.frames import SamplesLike
from streamnet.sources.rows import RowReader
from streamnet.sources.sparse import SparseSamples
from streamnet.version import __version__

FORMAT = "streamnet-autoencoder"
BLOCK_SIZE = 1024  # samples learned or encoded at a time
FIT_KEY = 1  # part of the random key for the order in which `fit` learns


@final
@with_settings(AutoEncoderSettings, without=["inputs"])
class AutoEncoder(FrameOutput, ScikitLearnEstimator):
    """A denoising auto-encoder that learns online and scores outliers.

    Samples are dicts of numbers, strings, dates or None by name; many samples may be anything that
    the online estimators accept. The network learns to reconstruct samples from a short code
    (Vincent et al. 2010). Learning in blocks or one by one gives the same bits.

    The outlier score of a sample is the logarithm of its reconstruction error, in standard
    deviations above the fading mean of the samples learned before; above 3 is rare. The error is
    the mean over inputs of half the squared error of standardized numbers, and of -log p of the
    values, words and gaps present. A value never seen before counts only in `score_and_learn`.

    Copies and pickles continue with the same bits. Ctrl-C, other exceptions and threads are handled
    as by the online estimators. It is a transformer of scikit-learn, too; settings are checked when
    they are first used.

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
        self._keep_settings({"code": code, "kinds": kinds, "encoder": encoder}, network)

    _made_by_begin = frozenset(("_encoder", "_reader", "_kinds", "_matrix"))

    def _begin(self) -> None:
        network: Any = self.get_params()
        kinds, encoder = network.pop("kinds"), network.pop("encoder")
        check_group("encoder", encoder, EncoderSettings, "autoencoder")
        given: Any = dict(encoder or {})
        given["autoencoder"] = {**network, "inputs": "replace"}
        reader = RowReader(Columns(kinds=kinds or {}))
        self._encoder = Encoder(task=Task.REGRESSION, **given)
        self._reader = reader
        self._kinds = {name: Kind(kind) for name, kind in (kinds or {}).items()}
        self._matrix: MatrixForm | None = None

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            kept = {"params": self._params, "output": self._output}
            if not self._has_begun:
                return kept
            kinds = {name: str(kind) for name, kind in self._kinds.items()}
            return {**kept, "kinds": kinds, "state": self.export_state()}

    def __setstate__(self, kept: Mapping[str, Any]) -> None:
        params = kept["params"]
        if "state" in kept:
            self.__init__(kinds=kept["kinds"])  # the state has the others
            self.restore_state(kept["state"])
            params = {**self._params, **params}
        else:
            self.__init__(**params)
        self._params = params  # for the next `fit`
        self._output = kept["output"]

    # ----------------------------------------------------------- scikit-learn

    def __sklearn_tags__(self) -> Any:
        return make_tags(estimator_type=None)

    def _read_settings(self) -> dict[str, Any]:
        """The settings of the encoder, as the constructor takes them."""
        given = self._encoder.settings
        network = given.pop("autoencoder")
        names = list_settings(EncoderSettings)
        encoder = {name: value for name, value in given.items() if name in names}
        return {n: network[n] for n in self._params if n in network} | {"encoder": encoder}

    def _has_learned(self) -> bool:
        encoder: Any = self.__dict__.get("_encoder")
        if encoder is None or isinstance(encoder, Broken):
            return encoder is not None
        return self._reader.records > 0

    def _summarize(self) -> dict[str, str]:
        encoder: Any = self._encoder
        if isinstance(encoder, Broken):
            return {"samples": "unusable: interrupted while it learned"}
        return {"samples": f"{self._reader.records:,}", "features": f"{self.n_features_in_:,}"}

    @property
    def n_features_in_(self) -> int:
        """Number of features learned so far: of a matrix, or of all names that have appeared."""
        return len(self._list_features())

    @property
    def feature_names_in_(self) -> NDArray[np.object_]:
        """Names of the features in order of appearance, unless they are those of a matrix."""
        with self._lock:
            if not self._has_learned() or self._matrix is not None:
                raise AttributeError("feature_names_in_ is known after the first sample with names")
            return np.array(self._list_features(), object)

    def _list_features(self) -> list[str]:
        with self._lock:
            if not self._has_learned():
                raise AttributeError("features are known after the first sample")
            if self._matrix is not None:
                return [f"f{column}" for column in range(self._matrix.width)]
            return [name for name, _ in self._reader.schema.fields]

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Names of the numbers of a code, shape=(code,).

        Args:
            input_features: Names of the features, which are only counted.

        Raises:
            ConfigurationError: If there are not as many as were learned.
            NotReadyError: If nothing was learned yet.
        """
        if not self._has_learned():
            raise_not_fitted(self)
        known = self.n_features_in_
        if input_features is not None and len(np.asarray(input_features)) != known:
            raise ConfigurationError(
                "input_features should have length equal to the number of features, which is "
                f"{known}, not {len(np.asarray(input_features))}"
            )
        names = (f"autoencoder{i}" for i in range(self._encoder.statistics().dense))
        return np.array(list(names), object)

    def fit(self, X: SamplesLike, y: object = None, *, progress: bool = False) -> Self:
        """Reset the auto-encoder, then learn the samples once in random order.

        Args:
            X: The samples.
            y: Ignored.
            progress: Whether to show a progress bar; it needs tqdm (extra ``progress``).

        Raises:
            ConfigurationError: If a setting is invalid.
            DataError: If there is no sample or feature, or a value cannot be read; the samples
                drawn before it were learned.
        """
        del y
        rows, form = read_samples(X, None, owner=type(self).__name__)
        check_fitted_samples(X, rows)
        with ProgressBar(progress) as bar, self._lock:
            with Uninterrupted():
                self._begin()
                self._matrix = form
            order = permutation(derive_key(self._params["seed"], FIT_KEY), len(rows))
            self._learn_all(rows, order, bar)
        return self

    def fit_transform(self, X: SamplesLike, y: object = None) -> Any:
        """`fit` the samples, then `transform` them.

        Args:
            X: The samples.
            y: Ignored.
        """
        return self.fit(X, y).transform(X)

    def transform(self, X: SamplesLike) -> Any:
        """Encode each sample like `encode`, shape=(n, code); see `set_output` for data frames.

        Args:
            X: The samples.

        Raises:
            DataError: If a value cannot be read.
            NotReadyError: If nothing was learned yet.
        """
        if not self._has_learned():
            raise_not_fitted(self)
        return self._wrap_output(self.encode(X), X)

    # --------------------------------------------------------------- learning

    def learn_one(self, x: Sample) -> None:
        """Learn one sample.

        Args:
            x: Features by name.

        Raises:
            DataError: If a value cannot be read; nothing is learned.
        """
        self.score_and_learn((x,))

    def partial_fit(self, X: SamplesLike, y: object = None, *, progress: bool = False) -> Self:
        """Learn samples one after the other, in the given order.

        Args:
            X: The samples.
            y: Ignored.
            progress: Whether to show a progress bar; it needs tqdm (extra ``progress``).

        Raises:
            DataError: If a value cannot be read; the samples before it were learned.
        """
        del y
        self.score_and_learn(X, progress=progress)
        return self

    def score_and_learn(self, X: SamplesLike, *, progress: bool = False) -> NDArray[np.float64]:
        """Compute the outlier score of each sample before learning it, shape=(n,).

        Args:
            X: The samples.
            progress: Whether to show a progress bar; it needs tqdm (extra ``progress``).

        Raises:
            DataError: If a value cannot be read; the samples before it were learned.
        """
        with ProgressBar(progress) as bar, self._lock:
            rows, form = read_samples(X, self._matrix, owner=type(self).__name__)
            self._matrix = form
            return self._learn_all(rows, np.arange(len(rows)), bar)

    def _learn_all(
        self, rows: Sequence[Sample], order: NDArray[np.int64], bar: ProgressBar
    ) -> NDArray[np.float64]:
        """Learn rows in the given order, up to the first rejected one; return their scores."""
        scores: list[NDArray[np.float64]] = []
        with self._lock:
            first, start = self._reader.records, 0
            while start < len(order):
                bar.show(start, len(order))
                part = order[start : start + BLOCK_SIZE]
                if isinstance(rows, SparseSamples):
                    part = part[: rows.count_fitting(part)]
                with Uninterrupted():
                    for block in self._reader.blocks([rows[row] for row in part.tolist()]):
                        good = int(block.places()[0]) if block.rejected else len(block)
                        block = block.part(0, good) if block.rejected else block
                        taken = order[block.marks[:-1, 1] - first]
                        if isinstance(rows, SparseSamples):
                            block = rows.attach(block, taken)
                        scores.append(self._learn(block))
                        for letter in block.rejected:
                            _reject(letter, int(order[letter.offset - first]), len(rows))
                start += len(part)
            bar.show(start, len(order))
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

    def score(self, X: SamplesLike, y: object = None) -> NDArray[np.float64]:
        """Compute the outlier score of each sample without learning, shape=(n,).

        Args:
            X: The samples.
            y: Ignored.

        Raises:
            DataError: If a value cannot be read.
        """
        del y
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
        known, owner = self._reader.schema.fields, type(self).__name__
        rows, _ = read_samples(X, self._matrix, known, owner=owner)
        reader = RowReader(Columns(kinds=self._kinds), closed=True)
        reader.restore_state({**self._reader.export_state(), "records": 0})
        start = 0
        while start < len(rows):
            stop = min(start + BLOCK_SIZE, len(rows))
            if isinstance(rows, SparseSamples):
                stop = start + rows.count_fitting(np.arange(start, stop))
            block = reader.read(rows[start:stop])
            for letter in block.rejected:
                _reject(letter, letter.offset, len(rows))
            if isinstance(rows, SparseSamples):
                block = rows.attach(block, np.arange(start, stop))
            yield block
            start = stop

    # ------------------------------------------------------------------ state

    def export_state(self) -> dict[str, Any]:
        """Return everything needed to resume, bit for bit."""
        with self._lock:
            return {
                "encoder": self._encoder.export_state(),
                "reader": self._reader.export_state(),
                "matrix": self._matrix and list(self._matrix),
            }

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
                matrix = MatrixForm.restore(state["matrix"])
                self._reader.restore_state(state["reader"])
                self._encoder, self._matrix = encoder, matrix
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
            kinds = document["kinds"]
            coder = cls(kinds=kinds)
            coder.restore_state(document)
            coder._params |= coder._read_settings()
            return coder
        except (ModelFileError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ModelFileError(f"{path} is damaged: {error}") from error


def _reject(letter: DeadLetter, number: int, total: int) -> None:
    """Raise `DataError` for a sample that can't be read."""
    raise DataError(f"sample {number}: {letter.detail}" if total > 1 else letter.detail)
