"""The API of scikit-learn without importing it: settings, tags, errors, checks of samples."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import signature
from reprlib import repr as shortened
from threading import RLock
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Never, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.errors import ConfigurationError, DataError, NotReadyError, SchemaError
from streamnet.html_tables import render_properties
from streamnet.online.forks import make_lock
from streamnet.samples import Field, Sample
from streamnet.settings.fields import Texts, check_names, check_value
from streamnet.sources.frames import (
    SamplesLike,
    is_matrix,
    to_array,
    to_matrix,
    to_rows,
    to_target_list,
)
from streamnet.sources.roles import check_weights
from streamnet.sources.sparse import SparseSamples, is_sparse_matrix

# ------------------------------------------------------------------------------- settings


class ScikitLearnEstimator:
    """What estimators share: settings as given, which are checked when they are first used.

    scikit-learn demands that constructors and `set_params` accept any value
    (https://scikit-learn.org/stable/developers/develop.html#instantiation), and copies estimators
    often. So `_begin`, which makes everything else of an estimator, is called by the first access
    to an attribute that it makes.
    """

    _made_by_begin: ClassVar[frozenset[str]]  # attributes; `_begin` sets them all or none
    _params: dict[str, Any]
    _lock: RLock

    def _keep_settings(self, given: Mapping[str, Any], more: Mapping[str, Any]) -> None:
        """Keep the settings of the constructor, of which ``more`` may have unknown names."""
        check_names(more, signature(type(self)).parameters, type(self).__name__)
        # An iterator can be read only once.
        values = {n: list(v) if isinstance(v, Iterator) else v for n, v in given.items()}
        self._params = {**self._read_defaults(), **values, **more}
        self._lock = make_lock()

    def _begin(self) -> None:
        """Check the present settings and start from scratch; an error changes nothing."""
        raise NotImplementedError

    def _has_learned(self) -> bool:
        raise NotImplementedError

    if not TYPE_CHECKING:  # a type checker would take any name for an attribute

        def __getattr__(self, name: str) -> Any:
            if name not in type(self)._made_by_begin or "_lock" not in self.__dict__:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            with self._lock:
                if name not in self.__dict__:
                    self._begin()
                return self.__dict__[name]

    @property
    def _has_begun(self) -> bool:
        return self._made_by_begin <= self.__dict__.keys()

    @classmethod
    def _read_defaults(cls) -> dict[str, Any]:
        return {name: known.default for name, known in signature(cls).parameters.items()}

    def _list_given(self) -> dict[str, Any]:
        """The settings that differ from their defaults."""
        defaults = self._read_defaults()
        return {n: v for n, v in self._params.items() if v is not defaults[n]}

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self._list_given().items())
        return f"{type(self).__name__}({given})"

    def _repr_html_(self) -> str:
        """What notebooks show: the given settings, and what was learned."""
        given = {name: shortened(value) for name, value in self._list_given().items()}
        learned = self._summarize() if self._has_learned() else {"samples": "none yet"}
        return render_properties(type(self).__name__, given | learned)

    def _summarize(self) -> dict[str, str]:
        """What was learned, by name."""
        raise NotImplementedError

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 - it has no parts
        """Return the settings as given.

        Args:
            deep: Ignored: there are no nested estimators.

        >>> from streamnet.online.estimators import OnlineRegressor
        >>> OnlineRegressor(seed=3).get_params()["seed"]
        3
        """
        return dict(self._params)

    def set_params(self, **params: Any) -> Self:
        """Change settings, at once if nothing was learned yet, else for the next `fit`.

        Classes declared before the first sample have to be declared again. Values are checked when
        they are first used, as those of the constructor.

        Args:
            params: Settings by name.

        Raises:
            ConfigurationError: If a setting is unknown; nothing is changed.
        """
        with self._lock:
            self._params = type(self)(**{**self._params, **params}).get_params()
            if not self._has_learned():
                for name in self._made_by_begin:
                    self.__dict__.pop(name, None)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return self._has_learned()


def make_tags(*, estimator_type: str | None) -> Any:
    """Tags of an estimator; only scikit-learn asks for them, so it is installed."""
    from sklearn.utils import (
        ClassifierTags,
        InputTags,
        RegressorTags,
        Tags,
        TargetTags,
        TransformerTags,
    )

    return Tags(
        estimator_type=estimator_type,
        target_tags=TargetTags(required=estimator_type is not None),
        classifier_tags=ClassifierTags() if estimator_type == "classifier" else None,
        regressor_tags=RegressorTags() if estimator_type == "regressor" else None,
        transformer_tags=None if estimator_type else TransformerTags(preserves_dtype=[]),
        input_tags=InputTags(sparse=True, string=True, dict=True, categorical=True, allow_nan=True),
    )


# --------------------------------------------------------------------------------- errors


def raise_not_fitted(estimator: object) -> Never:
    """Raise a `NotReadyError`, which is scikit-learn's ``NotFittedError`` if that is imported."""
    kind = type(estimator).__name__
    raise _find_class("NotFittedError", NotReadyError)(
        f"This {kind} instance is not fitted yet. Call 'fit', 'partial_fit' or 'learn_one' with "
        "samples before this method."
    )


def _find_class(name: str, own: type[Any]) -> type[Any]:
    """Our class, as a subclass of scikit-learn's too if anyone can know that one."""
    exceptions = sys.modules.get("sklearn.exceptions")
    if exceptions is None:
        return own
    theirs = getattr(exceptions, name)
    return theirs if issubclass(theirs, own) else _join(own, theirs)


def _join(own: type[Any], theirs: type[Any]) -> type[Any]:
    joined = type(own.__name__, (own, theirs), {"__reduce__": lambda self: (own, self.args)})
    joined.__module__ = own.__module__
    return joined


# -------------------------------------------------------------------------------- samples


class MatrixForm(NamedTuple):
    """What the matrices that an estimator learns have in common."""

    width: int
    sparse: bool  # whether its columns are numbered inputs rather than f0, f1, ...

    @classmethod
    def restore(cls, state: Sequence[Any] | None) -> MatrixForm | None:
        """Restore the form from a state."""
        return None if state is None else cls(int(state[0]), bool(state[1]))


def read_samples(
    X: SamplesLike, form: MatrixForm | None, known: Sequence[Field] = (), *, owner: str
) -> tuple[Sequence[Sample], MatrixForm | None]:
    """Convert samples to rows; a matrix has to have the ``form`` of those before.

    Returns the rows and the form, which the first matrix decides: the columns of a sparse one are
    numbered inputs, whose zeros cost nothing. Later matrices may be sparse or dense. The columns of
    a dense one may be as many as the ``known`` fields, which then are their names, with a warning.
    """
    X = to_array(X)
    sparse = is_sparse_matrix(X)
    if not sparse and not is_matrix(X):
        return to_rows(X, known), form
    matrix: Any = X if sparse else to_matrix(X)
    width = int(matrix.shape[1])
    if form is None and known and not sparse:
        return _name_columns(matrix, known, owner), None
    if form is None:
        form = MatrixForm(width, sparse)
    elif width != form.width:
        raise SchemaError(
            f"X has {width} features, but {owner} is expecting {form.width} features as input: "
            "those of a matrix have no names"
        )
    if form.sparse:
        return SparseSamples(matrix), form
    return to_rows(matrix.toarray() if sparse else matrix, known), form


def _name_columns(matrix: NDArray[Any], known: Sequence[Field], owner: str) -> Sequence[Sample]:
    """Rows of a matrix that is predicted by what was learned with names, as in scikit-learn."""
    rows, names = to_rows(matrix), [field.name for field in known]
    own = [f"f{column}" for column in range(matrix.shape[1])]
    if len(own) != len(names) or not set(own).isdisjoint(names):
        return to_rows(matrix, known)
    warnings.warn(
        f"X does not have valid feature names, but {owner} was fitted with feature names",
        UserWarning,
        stacklevel=5,
    )
    return [dict(zip(names, row.values(), strict=True)) for row in rows]


def check_fitted_samples(X: SamplesLike, rows: Sequence[Sample]) -> None:
    """Refuse what `fit` could learn nothing from."""
    shape = getattr(X, "shape", None)
    if shape is not None and len(shape) == 2 and shape[1] == 0:
        raise DataError(
            f"X has 0 feature(s) (shape={tuple(shape)}) while a minimum of 1 is required."
        )
    if not len(rows):
        raise DataError("X has 0 sample(s) while a minimum of 1 is required.")


def read_missing(given: Sequence[str] | str | None) -> dict[str, Any]:
    """The setting of `Columns` for texts that stand for missing values; none keeps its default."""
    if given is None:
        return {}
    texts = check_value("missing", given, Texts)
    return {"missing": ("", *texts)}


# -------------------------------------------------------------------------------- targets


def read_targets(y: Sequence[Any] | ArrayLike | None, count: int) -> list[Any]:
    """Convert the targets of ``count`` samples to a list; a single column is taken as one."""
    if y is None:
        raise DataError("This estimator requires y to be passed, but the target y is None")
    y = to_array(y)
    shape: tuple[int, ...] = getattr(y, "shape", ())
    if len(shape) == 2 and shape[1] == 1:
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected. Please change the shape of "
            "y to (n_samples, ), for example using ravel().",
            _find_class("DataConversionWarning", UserWarning),
            stacklevel=4,
        )
        y = np.asarray(y).ravel()
    targets = to_target_list(y)
    if len(targets) != count:
        raise DataError(f"X has {count} samples, but y has {len(targets)}")
    return targets


def check_discrete(labels: Sequence[Any]) -> None:
    """Refuse labels that are numbers with fractions, as scikit-learn's classifiers do."""
    kinds = set(map(type, labels))
    if kinds and kinds <= {float} and not all(map(float.is_integer, labels)):
        wrong = next(label for label in labels if not label.is_integer())
        raise DataError(
            f"Unknown label type: continuous. y has {wrong!r}, so it may be meant for a regressor; "
            "`partial_fit` learns such labels as well"
        )


def read_weights(given: ArrayLike | None, n: int) -> NDArray[np.float64] | None:
    """Weights of n samples; None if all are 1."""
    return None if given is None else check_weights(given, n)


def check_some_weight(weights: NDArray[np.float64] | None) -> None:
    """Refuse weights that are all zero."""
    if weights is not None and weights.size and not weights.any():
        raise ConfigurationError("sample_weight has no weight other than zero")


# --------------------------------------------------------------------------------- output


class FrameOutput:
    """``set_output`` of transformers: what they return may be a data frame."""

    _output: str | None = None  # as set; None: as scikit-learn's configuration says
    get_feature_names_out: Callable[..., NDArray[Any]]

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose what `transform` returns.

        Args:
            transform: "default" is a matrix, "polars" and "pandas" are data frames; None changes
                nothing.

        Raises:
            ConfigurationError: If it is anything else.
        """
        known = ("default", "pandas", "polars", None)
        if transform not in known:
            raise ConfigurationError(f"transform is {transform!r}, but must be one of {known}")
        if transform is not None:
            self._output = transform
        return self

    def _wrap_output(self, matrix: NDArray[Any], given: Any) -> Any:
        """The matrix, or a data frame, with the index of the given one."""
        sklearn = sys.modules.get("sklearn")
        container = self._output
        if container is None and sklearn is not None:
            container = sklearn.get_config()["transform_output"]
        if container not in ("pandas", "polars"):
            return matrix
        names = list(self.get_feature_names_out())
        if container == "polars":
            import polars as pl

            return pl.DataFrame(matrix, schema=names, orient="row")
        import pandas as pd

        return pd.DataFrame(matrix, columns=names, index=getattr(given, "index", None))
