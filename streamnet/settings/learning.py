"""Settings of a population, its evaluation, selection and search."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, make_dataclass
from functools import partial
from itertools import product
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, final, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

from streamnet.errors import ConfigurationError
from streamnet.samples import Task
from streamnet.settings.candidate import MAX_LAYERS, MAX_UNITS, CandidateSettings
from streamnet.settings.fields import (
    Check,
    Count,
    Declaration,
    DType,
    Listed,
    Positive,
    Probability,
    Setting,
    Settings,
    Size,
    Text,
    Texts,
    call_schema,
    declare,
    list_settings,
)
from streamnet.settings.horizon import Horizons


@declare
class EffortSettings(Settings):
    """How much processor time learning may take.

    Args:
        effort: Processor time relative to the default, from 0.25 to 16. Below 1, fewer networks
            learn, the cheapest ones, and there are fewer trees; above 1, more networks, which
            rehearse more, and more trees from more samples. Other settings that are given stay as
            they are.
    """

    effort: Annotated[float, Ge(0.25), Le(16)] = 1.0


@declare
class PopulationSettings(EffortSettings):
    """How many candidates there are, and how they start.

    Args:
        candidate: Settings of single candidates. Without these and a grid, a default population
            learns that suits most streams.
        start: Model file to continue learning, instead of new networks.
        candidates: Number of networks that learn at once; by default 23, or 10 with a key.
        dtype: Data type of the networks.
    """

    candidate: Annotated[tuple[CandidateSettings, ...], Listed()] = ()
    start: Annotated[Text | None, Setting(files=True)] = None
    candidates: Count | None = None
    dtype: DType = "float32"


def parse_hidden(text: str) -> tuple[int, ...]:
    """Hidden layers from a text such as ``64-32``, or ``linear`` for none.

    >>> parse_hidden("64-32"), parse_hidden("linear")
    ((64, 32), ())
    """
    if text in ("linear", "none"):
        return ()
    units = text.split("-")
    if not all(part.isascii() and part.isdigit() for part in units):
        raise ConfigurationError(f"hidden is {text!r}, but must be like 20, 64-32 or linear")
    return tuple(int(part) for part in units)


def _check_hidden(text: str) -> str:
    layers = parse_hidden(text)
    if len(layers) > MAX_LAYERS or not all(1 <= units <= MAX_UNITS for units in layers):
        rule = f"must have at most {MAX_LAYERS} layers of 1 to {MAX_UNITS} units"
        raise ConfigurationError(f"hidden is {text!r}, but {rule}")
    return text


class _Units:
    """A list of texts, for which the units of a single layer may stand."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> dict[str, Any]:
        # Of several numbers it would be unclear whether they are networks, or layers of one.
        return call_schema("before", lambda v: str(v) if type(v) is int else v, handler(source))


def _check_not_empty(name: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:  # the default population would learn, instead of what was meant
        none = ", or 'linear' for none" if name == "hidden" else ""
        raise ConfigurationError(f"{name} is [], but must list what to try{none}")
    return values


def _declare_grid(declaration: Declaration) -> Declaration:
    """The declaration of a list of values for a setting of candidates."""
    name, hint = declaration.name, declaration.hint
    marks: list[Any] = [Listed(), Check(partial(_check_not_empty, name))]
    if name == "hidden":
        declaration = declaration._replace(doc="Hidden layers, such as 20,64-32,linear.")
        hint, marks = Annotated[Text, Check(_check_hidden)], [*marks, _Units()]
    elif get_origin(get_args(hint)[0]) in (Union, UnionType):
        hint = get_args(get_args(hint)[0])[0]
    hint = Annotated[(tuple[hint, ...] | None, *marks)]  # type: ignore[valid-type]
    doc = f"{declaration.summary} (values to try, in every combination)."
    return Declaration(name, hint, None, doc)


GRID = {
    d.name: _declare_grid(d) for d in list_settings(CandidateSettings).values() if d.setting.grid
}
"""Settings of candidates that `[population]` may list values for, by name."""

if TYPE_CHECKING:

    class Grid(Settings):
        """Values of some settings of candidates, to be tried in every combination."""

        def __getattr__(self, name: str) -> Any: ...

else:
    _DOC = "\n".join(("Grid.", "Args:", *(f"    {d.name}: {d.doc}" for d in GRID.values())))
    Grid = make_dataclass(
        "Grid",
        [(d.name, d.hint, field(default=None)) for d in GRID.values()],
        bases=(Settings,),
        namespace={"__module__": __name__, "__doc__": _DOC},
        frozen=True,
    )


def check_candidates(given: Any) -> tuple[CandidateSettings, ...] | None:
    """Settings of each candidate as a tuple; None stays None."""
    if given is None:
        return None
    found: tuple[Any, ...] = tuple(given) if isinstance(given, Iterable) else (given,)
    for settings in found:
        if not isinstance(settings, CandidateSettings):
            raise ConfigurationError(
                f"candidates has {settings!r}, but must be a list of CandidateSettings"
            )
    return found


def expand_grid(candidates: int | None = None, **values: Sequence[Any]) -> list[CandidateSettings]:
    """Every combination of the values given for some settings; the others keep their defaults.

    Fewer ``candidates`` take the first combinations, more repeat them with other initial weights.

    >>> [c.describe() for c in expand_grid(optimizer=["sgd"], learning_rate=[0.1, 0.2])]
    ['tanh 32, sgd 0.1', 'tanh 32, sgd 0.2']
    """
    combinations = [
        CandidateSettings(**dict(zip(values, combination, strict=True)))
        for combination in product(*values.values())
    ]
    count = len(combinations) if candidates is None else candidates
    return [combinations[i % len(combinations)] for i in range(count)]


DriftMethod = Literal["adwin", "page_hinkley", "ddm", "hddm_a", "hddm_w", "none"]
Serving = Literal["ensemble", "champion"]
Criterion = Literal[
    "accuracy",
    "balanced_accuracy",
    "f1",
    "f_measure",
    "simple",
    "distance",
    "log_loss",
    "kappa",
    "mse",
    "mae",
    "gopher.accuracy",
    "gopher.balanced_accuracy",
    "gopher.f_measure",
    "gopher.simple",
    "gopher.distance",
]

_LABELS, _NUMBERS = (Task.CLASSIFICATION,), (Task.REGRESSION,)
_BOTH = (*_LABELS, *_NUMBERS)
_ALIASES = {"f_measure": "f1"}

CRITERION_TASKS: dict[str, tuple[Task, ...]] = {
    "accuracy": _LABELS,
    "balanced_accuracy": _LABELS,
    "f1": _LABELS,
    "simple": _BOTH,
    "distance": _BOTH,
    "log_loss": _LABELS,
    "kappa": _LABELS,
    "mse": _NUMBERS,
    "mae": _NUMBERS,
    "gopher.accuracy": _LABELS,
    "gopher.balanced_accuracy": _LABELS,
    "gopher.f_measure": _LABELS,
    "gopher.simple": _BOTH,
    "gopher.distance": _BOTH,
}
"""The tasks that each criterion is defined for; `streamnet.selection.criteria` computes them."""


MAX_SEASON = 2048  # samples


def check_season(season: int) -> int:
    """The samples of a season; 0 finds it.

    Raises:
        ConfigurationError: If they are out of range.
    """
    if season and not 2 <= season <= MAX_SEASON:
        raise ConfigurationError(
            f"season is {season}, but must be from 2 to {MAX_SEASON}, or 0 to find it"
        )
    return season


def check_criterion(name: str, task: Task | str | None = None) -> str:
    """The name of a criterion in `CRITERION_TASKS`; ``f_measure`` is an alias of ``f1``.

    >>> check_criterion("accuracy", "regression")
    Traceback (most recent call last):
        ...
    streamnet.errors.ConfigurationError: criterion is 'accuracy', but for a regression must be one
    of distance, gopher.distance, gopher.simple, mae, mse, simple
    """
    known = _ALIASES.get(name, name)
    fitting = [one for one, tasks in CRITERION_TASKS.items() if task is None or task in tasks]
    if known not in fitting:
        whose = "" if task is None else f"for a {Task(task)} "
        names = ", ".join(sorted(fitting))
        raise ConfigurationError(f"criterion is {name!r}, but {whose}must be one of {names}")
    return known


@declare
class EvaluationSettings(Settings):
    """Horizons of the metrics, and the drift detector.

    Args:
        window: Samples in the sliding window of the metrics.
        fading: Fading factor: weight of a sample after each further one, in the fading metrics and
            in the choice of the champion.
        drift: Detector of drift in the loss of the served predictions, or none.
        label_delay: How late labels arrive: a number of samples that are predicted first, or a
            duration such as 30min, 2h or 7d, which needs `time`. Each prediction is scored when its
            label arrives, and nothing depends on a label before.
        time: Column with the time of each sample.
        label_time: Column with the time at which the label of a sample arrives, instead of
            `label_delay`; needs `time`. It is no feature.
        interval: Level of prediction intervals of numbers, or of prediction sets of labels, such as
            0.9: the fraction of the truths that they hold, also through drift. Without it there are
            none, unless the start model has them: then its level.
        horizon: Forecast the target this many samples ahead, or a duration such as 24h, which needs
            `time`: from the sample's features and the targets known by then, its own included.
            Scored when that target comes. Several horizons, such as 1,24,168, have a model each.
        season: Samples of a season, such as 24 for hourly samples with a daily one. Networks with
            lags then also see targets a season ago, and the ensemble forecasts from the known
            targets alone. By default it is found from the autocorrelation of the known targets,
            where labels arrive late; otherwise numbers of a stream have the forecasts alone.
    """

    window: Count = 1000
    fading: Annotated[float, Gt(0), Le(1)] = 0.999
    drift: DriftMethod = "adwin"
    label_delay: Text | int = 0
    time: Text | None = None
    label_time: Text | None = None
    interval: Annotated[float, Gt(0), Lt(1)] | None = None
    horizon: Horizons | None = None
    season: Annotated[int | None, Check(check_season)] = None


MAX_NEIGHBORS = 16_384  # stored samples


def check_neighbors(samples: int) -> int:
    """The number of stored samples; 0 for none.

    Raises:
        ConfigurationError: If it is out of range.
    """
    if not 0 <= samples <= MAX_NEIGHBORS:
        raise ConfigurationError(f"neighbors is {samples}, but must be from 0 to {MAX_NEIGHBORS}")
    return samples


TREE_SAMPLES = 8_192  # from which boosted trees are grown
SERIES = 16_384  # values of a column
FACTORS = 8  # of the vectors of a factorization machine


@declare
class SelectionSettings(Settings):
    """What serves predictions, what makes a challenger champion, and candidates without networks.

    Args:
        serve: What serves predictions: the ensemble or the champion.
        criterion: Criterion of the champion: for labels log_loss (probabilities clipped at 0.0001),
            accuracy, balanced_accuracy (the ensemble then predicts the label with the largest ratio
            of probability to frequency; probabilities stay as they are) or distance; for numbers
            mae, mse or distance; or one of gopher-neural's, such as gopher.accuracy; by default
            log_loss, for numbers mae.
        margin: Fraction by which a challenger must be better at the start of the stream.
        alpha: Level of the test by which a challenger becomes champion later on.
        neighbors: Samples that are stored, so that labels are also predicted by the nearest ones,
            in a metric that is learned online; 0 for none; by default 16,384, or 0 if the
            candidates are given. They are a candidate of the ensemble, but not part of a model.
        factors: Length of the vectors of a factorization machine, which predicts by categories,
            binned numbers and pairs of them; 0 for none; by default 8, or 0 if the candidates are
            given. It is a candidate of the ensemble, but not part of a model.
        trees: Samples from which gradient boosted trees are grown, anew as the stream grows; 0 for
            none; by default 8,192, or 0 if the candidates are given. They are a candidate of the
            ensemble, but not part of a model.
        series: Most values of a column, such as store, by whose last targets numbers are also
            predicted; 0 for none; by default 16,384, or 0 if the candidates are given. They are a
            candidate of the ensemble, but not part of a model.
    """

    serve: Serving = "ensemble"
    criterion: Annotated[Criterion | None, Check(check_criterion)] = None
    margin: Probability = 0.02
    alpha: Annotated[float, Gt(0), Le(1)] = 0.05
    neighbors: Annotated[int | None, Check(check_neighbors)] = None
    factors: Annotated[int | None, Ge(0), Le(64)] = None
    trees: Annotated[int | None, Ge(0), Le(1_000_000)] = None
    series: Annotated[int | None, Ge(0), Le(1_000_000)] = None

    def neighbors_for(self, *, given: bool) -> int:
        """Number of stored samples, by default none if the candidates are given."""
        if self.neighbors is None:
            return 0 if given else MAX_NEIGHBORS
        return self.neighbors

    def factors_for(self, *, given: bool) -> int:
        """Length of the vectors, by default 0 if the candidates are given."""
        if self.factors is None:
            return 0 if given else FACTORS
        return self.factors

    def trees_for(self, *, given: bool, effort: float = 1.0) -> int:
        """Number of samples for trees, by default none if the candidates are given."""
        if self.trees is None:
            return 0 if given else int(max(effort, 1.0) * TREE_SAMPLES)
        return self.trees

    def series_for(self, *, given: bool) -> int:
        """Most values of a column, by default 0 if the candidates are given."""
        if self.series is None:
            return 0 if given else SERIES
        return self.series


def _check_key(columns: tuple[str, ...]) -> tuple[str, ...]:
    for column in columns:
        if columns.count(column) > 1:
            raise ConfigurationError(
                f"key has {column!r} twice, but each column must be there once"
            )
    return columns


@declare
class KeySettings(Settings):
    """A small model for every key, such as a device, over one shared model.

    Args:
        key: Columns whose values together are the key of a sample, such as device, or store and
            product. Each key then has a small model of its own over the prediction of the shared
            one, which sees the last targets of the key. `season` counts samples of a key.
        resident_keys: Keys in memory at a time; the least recently used ones are on disk. Results
            do not depend on it.
    """

    key: Annotated[Texts, Check(_check_key)] = ()
    resident_keys: Count = 100_000


@declare
class SearchSettings(Settings):
    """The search for better candidates.

    Args:
        every: Rounds of 1,024 samples between two new networks; 0 for none; by default 4, or 0 if
            the candidates are given. Unless it is 0, networks of little weight in the ensemble
            rest: they rehearse nothing.
        grace: Rounds in which a new network is neither replaced nor rests.
        budget: Microseconds a sample that all networks together may take, by a model of their cost;
            by default that of the initial networks.
    """

    every: Size = 4
    grace: Size = 8
    budget: Positive | None = None


@final
@declare
class LearningSettings(EvaluationSettings, SelectionSettings, KeySettings, EffortSettings):
    """Settings of evaluation, selection, keys and effort together."""


def build_learning_settings(given: Mapping[str, Any]) -> LearningSettings:
    """Settings from keyword arguments, in which a single column may stand for a key.

    >>> build_learning_settings({"key": "device"}).key
    ('device',)
    """
    key = given.get("key")
    return LearningSettings(**{**given, **({"key": (key,)} if isinstance(key, str) else {})})


def check_effort(effort: float, *, given: bool, trees: int) -> None:
    """Refuse an effort that would change nothing.

    Args:
        effort: Processor time relative to the default.
        given: Whether the candidates are given.
        trees: Samples from which trees are grown.

    Raises:
        ConfigurationError: If it is not 1, candidates are given, and there are no trees.
    """
    if effort != 1.0 and given and not trees:
        raise ConfigurationError(
            f"effort is {effort:g}, but must be 1 where the candidates are given and there are no "
            "trees: it has an effect on the default candidates and on trees only"
        )
