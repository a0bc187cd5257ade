"""Options of the commands, derived from the declared settings, and converters of their values."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from inspect import get_annotations
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, final, get_args, get_origin

from cyclopts import Group, Parameter, Token

from streamnet.cli import STANDARD_INPUT
from streamnet.settings.encoder import AutoEncoderSettings, EncoderSettings
from streamnet.settings.execution import ExecutionSettings, FleetSettings, SweepSettings
from streamnet.settings.fields import Declaration, list_settings
from streamnet.settings.inference import InferenceSettings
from streamnet.settings.learning import (
    EvaluationSettings,
    Grid,
    KeySettings,
    PopulationSettings,
    SearchSettings,
    SelectionSettings,
)
from streamnet.settings.run import OutputSettings, SourceSettings, StateSettings


def convert_text(kind: Any, tokens: Sequence[Token]) -> str:  # noqa: ARG001 - cyclopts passes the type
    """A text that may be ``-``, such as the name of a file."""
    (token,) = tokens
    return _token_text(token)


def convert_texts(kind: Any, tokens: Sequence[Token]) -> tuple[str, ...]:  # noqa: ARG001
    """Values from texts with commas, such as ``--drop a,b --drop c``."""
    words = (word.strip() for token in tokens for word in _token_text(token).split(","))
    return tuple(word for word in words if word)


def convert_numbers(kind: Any, tokens: Sequence[Token]) -> tuple[float, ...]:
    """Numbers from texts with commas."""
    return tuple(_parse_number(text, float, "a number") for text in convert_texts(kind, tokens))


def convert_counts(kind: Any, tokens: Sequence[Token]) -> tuple[int, ...]:
    """Integers from texts with commas."""
    return tuple(_parse_number(text, int, "a whole number") for text in convert_texts(kind, tokens))


def _token_text(token: Token) -> str:
    return "-" if token.value == STANDARD_INPUT else token.value


def _convert_integer(kind: Any, tokens: Sequence[Token]) -> int:  # noqa: ARG001
    """An integer as it is: cyclopts would truncate 1.5 to 1."""
    (token,) = tokens
    return _parse_number(token.value, int, "a whole number")  # type: ignore[no-any-return]


def _parse_number(text: str, kind: type, what: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{text!r} is not {what}") from None


def convert_pairs(kind: Any, tokens: Sequence[Token]) -> tuple[tuple[str, str], ...]:  # noqa: ARG001
    """Names and values from texts such as ``--kind column=category --kind other=text``.

    A tuple, since cyclopts does not allow an option that is a dict to be repeated.
    """
    result: dict[str, str] = {}
    for token in tokens:
        name, sign, value = token.value.rpartition("=")
        if not sign:
            raise ValueError(f"{token.value!r} must have the form COLUMN=KIND")
        if result.setdefault(name, value) != value:
            raise ValueError(f"{name!r} can't be both {result[name]} and {value}")
    return tuple(result.items())


DATA = Group("Data", sort_key=1)
READING = Group("Reading", sort_key=2)
POPULATION = Group("Population", sort_key=3)
RUN = Group("Run", sort_key=4)
OUTPUT = Group("Output", sort_key=5)


def integer_option(text: str, *, metavar: str = "N") -> Parameter:
    """An option with one integer."""
    return Parameter(converter=_convert_integer, n_tokens=1, metavar=metavar, help=text)


def flag(text: str, group: Group = OUTPUT) -> Parameter:
    """An option without a value."""
    return Parameter(group=group, negative="", show_default=False, help=text)


def output_option(text: str, metavar: str = "FILE") -> Parameter:
    """An option with one value that is about the output."""
    return Parameter(group=OUTPUT, metavar=metavar, help=text)


Quiet = Annotated[bool, flag("Print errors only.")]
ModelFile = Annotated[
    str, Parameter(help="A model file, .safetensors or .json, or its URL in a bucket.")
]


# ---------------------------------------------------------------- options of declared settings

# Options whose name is not that of their setting, and the other way round.
_FLAGS = {
    "kinds": "--kind",
    "dir": "--state",
    "every": "--search-every",
    "budget": "--search-budget",
}
_KEYS = {"autoencoder": "autoencoder.code"}
_MAX_CHOICES = 8  # that the help lists; others are checked with the settings
_LISTS: dict[Any, Callable[..., Any]] = {int: convert_counts, float: convert_numbers}


class Options:
    """A group of options; None is one that is not given."""

    section: ClassVar[str] = ""  # table of a run file that has the settings

    @classmethod
    def _list_keys(cls) -> dict[str, str]:
        """Dotted keys of a run file by name of the field."""
        names = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        return {name: f"{cls.section}.{_KEYS.get(name, name)}" for name in names}

    def to_overrides(self) -> dict[str, Any]:
        """Values by dotted key of a run file."""
        return {key: getattr(self, name) for name, key in self._list_keys().items()}

    def to_kwargs(self) -> dict[str, Any]:
        """What is given, by name of the setting."""
        given = {key.partition(".")[2]: value for key, value in self.to_overrides().items()}
        return {name: value for name, value in given.items() if value is not None}

    @classmethod
    def list_flags(cls) -> dict[str, str]:
        """Names of the options by dotted key of a run file."""
        return {key: _flag(name) for name, key in cls._list_keys().items()}


O = TypeVar("O", bound=Options)  # noqa: E741


def options(group: Group, *settings: type, **metavars: str) -> Callable[[type[O]], type[O]]:
    """Decorator of a group of options that are derived from declared settings.

    ``metavars`` are placeholders of the values by name of the setting, in the order of the help. An
    empty one stands for that of the setting's type.
    """
    declared = {d.name: d for cls in settings for d in list_settings(cls).values()}

    def decorate(cls: type[O]) -> type[O]:
        own = get_annotations(cls, eval_str=True)
        derived = {name: _annotate(declared[name], var) for name, var in metavars.items()}
        cls.__annotations__ = derived | own
        for name in derived.keys() - own.keys():
            setattr(cls, name, None)
        return Parameter(name="*", group=group)(dataclass(frozen=True, kw_only=True)(cls))

    return decorate


def _flag(name: str) -> str:
    return _FLAGS.get(name, f"--{name.replace('_', '-')}")


def _annotate(declaration: Declaration, metavar: str) -> Any:
    """Type and parameter of an option."""
    kind, text = _find_type(declaration.hint), describe(declaration)
    given: dict[str, Any] = {"name": _flag(declaration.name), "help": text}
    if metavar:
        given["metavar"] = metavar
    if get_origin(kind) is Literal and len(get_args(kind)) > _MAX_CHOICES:
        kind = str
    if kind is bool:
        plain = declaration.default is False
        given |= {"negative": "", "show_default": False} if plain else {}
    elif kind is int:
        given |= {"converter": _convert_integer, "n_tokens": 1, "metavar": metavar or "N"}
    elif kind is str:
        given |= {"converter": convert_text, "n_tokens": 1}
    elif get_origin(kind) is tuple:
        converter = _LISTS.get(_find_type(get_args(kind)[0]), convert_texts)
        given |= {"converter": converter, "n_tokens": 1, "negative": ""}
        given["metavar"] = metavar or "A,B,C"
        kind = tuple[str, ...] if converter is convert_texts else kind
    elif get_origin(kind) is Mapping:
        given |= {"converter": convert_pairs, "n_tokens": 1, "negative": ""}
        kind = tuple[tuple[str, str], ...]
    return Annotated[kind | None, Parameter(**given)]


def _find_type(hint: Any) -> Any:
    """A type without its rules and without None."""
    while get_origin(hint) in (Annotated, Union, UnionType):
        hint = next(option for option in get_args(hint) if option is not NoneType)
    if get_origin(hint) is tuple:
        return tuple[_find_type(get_args(hint)[0]), ...]  # type: ignore[misc]
    return hint


def convert_variations(kind: Any, tokens: Sequence[Token]) -> tuple[tuple[str, Any], ...]:  # noqa: ARG001
    """Values to try, from texts such as ``--vary search.every=0,4``, as a tuple of pairs.

    They are read as values of TOML, and as texts if they are none.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for token in tokens:
        name, sign, text = token.value.partition("=")
        if not sign or not name or not text:
            raise ValueError(f"{token.value!r} must have the form KEY=VALUE,VALUE")
        if name in found:
            raise ValueError(f"{name!r} is given twice")
        found[name] = tuple(_parse_values(text))
    return tuple(found.items())


def _parse_values(text: str) -> list[Any]:
    """Values of TOML, separated by commas; each one that is none is a text."""
    try:
        values: list[Any] = tomllib.loads(f"values = [{text}]")["values"]
    except tomllib.TOMLDecodeError:
        parts = text.split(",")
        return parts if len(parts) == 1 else [v for part in parts for v in _parse_values(part)]
    return values


def describe(declaration: Declaration) -> str:
    """Help of an option: the first sentence of the setting's description, and its default."""
    default = declaration.default
    stated = (
        default is None or default is False or default == () or "default" in declaration.summary
    )
    shown = f"{default:g}" if isinstance(default, float) else default
    return f"{declaration.summary}." if stated else f"{declaration.summary}; default {shown}."


_SOURCE = list_settings(SourceSettings)
Files = Annotated[
    str,
    Parameter(name="FILE", converter=convert_text, n_tokens=1, help=f"{_SOURCE['files'].summary}."),
]
TaskName = Annotated[
    Literal["auto", "classification", "regression"],
    Parameter(group=DATA, metavar="TASK", help=describe(_SOURCE["task"])),
]


class SourceOptions(Options):
    """Options of the source, whose values have another form in a run file."""

    section = "source"

    def to_overrides(self) -> dict[str, Any]:
        """Values by dotted key of a run file."""
        values = super().to_overrides()
        if kinds := values.get("source.kinds"):
            values["source.kinds"] = dict(kinds)
        if missing := values.get("source.missing"):
            values["source.missing"] = ("", *missing)
        if values.get("source.task") == "auto":
            values["source.task"] = None
        return values


@final
@options(
    DATA,
    SourceSettings,
    target="COLUMN",
    query="SELECT",
    order_by="COLUMN",
    weight="COLUMN",
    id="COLUMN",
    drop="",
    kinds="COLUMN=KIND",
    epochs="",
    shuffle_buffer="",
    limit="",
    follow="",
    on_gap="WHAT",
    max_rejected="FRACTION",
)
class DataOptions(SourceOptions):
    """Samples to learn, and the target to predict."""

    task: TaskName = "auto"


@final
@options(
    READING,
    SourceSettings,
    format="FORMAT",
    encoding="NAME",
    delimiter="CHAR",
    header="",
    missing="",
    thousands="CHAR",
)
class ReadingOptions(SourceOptions):
    """How files are read, where their content does not tell."""


@final
@options(READING, InferenceSettings, on_unknown="WHAT")
class InferenceOptions(Options):
    """How samples are predicted."""

    section = "inference"


@final
@options(DATA, EncoderSettings, scaling="HOW", text="HOW", duplicates="WHAT", classes="LABEL,LABEL")
class EncoderOptions(Options):
    """How columns become inputs of the networks."""

    section = "encoder"
    autoencoder: Annotated[
        int | None, integer_option(f"{list_settings(AutoEncoderSettings)['code'].summary}.")
    ] = None


@final
@options(
    POPULATION,
    PopulationSettings,
    Grid,
    start="MODEL",
    candidates="",
    effort="TIMES",
    **dict.fromkeys(list_settings(Grid), ""),
    dtype="TYPE",
)
class PopulationOptions(Options):
    """The networks that learn."""

    section = "population"


@final
@options(DATA, KeySettings, key="COLUMN,COLUMN", resident_keys="")
class KeyOptions(Options):
    """Models of keys."""

    section = "keys"


@final
@options(OUTPUT, EvaluationSettings, interval="LEVEL")
class IntervalOptions(Options):
    """Prediction intervals."""

    section = "evaluation"


@final
@options(
    DATA,
    EvaluationSettings,
    label_delay="DELAY",
    time="COLUMN",
    label_time="COLUMN",
    horizon="N",
    season="N",
)
class DelayOptions(Options):
    """How late labels arrive."""

    section = "evaluation"


@final
@options(
    POPULATION,
    SelectionSettings,
    serve="WHAT",
    criterion="CRITERION",
    neighbors="N",
    factors="N",
    trees="N",
    series="N",
)
class SelectionOptions(Options):
    """What serves predictions."""

    section = "selection"


@final
@options(POPULATION, SearchSettings, every="", budget="MICROSECONDS")
class SearchOptions(Options):
    """The search for better networks."""

    section = "search"


@final
@options(
    RUN, ExecutionSettings, seed="", block_size="", threads="", shards="N", shard_executor="WHERE"
)
class RunOptions(Options):
    """How the run is executed."""

    section = "run"


@final
@options(RUN, FleetSettings, owners="N", owner_executor="WHERE", partitions="N", partition="NUMBER")
class FleetOptions(Options):
    """Owners of partitions of the keys."""

    section = "fleet"


@final
@options(RUN, StateSettings, dir="DIR", every_samples="", every_seconds="S")
class StateOptions(Options):
    """The state directory."""

    section = "state"


@final
@options(RUN, SweepSettings, results="DIR", seeds="N,N", workers="", executor="WHERE")
class SweepOptions(Options):
    """The runs of a sweep."""

    section = "sweep"
    vary: Annotated[
        tuple[tuple[str, Any], ...],
        Parameter(
            name="--vary",
            converter=convert_variations,
            n_tokens=1,
            negative="",
            metavar="KEY=VALUE,VALUE",
            help="Values to try of the setting with that key in a run file: search.every=0,4.",
        ),
    ] = ()


@final
@options(
    OUTPUT,
    OutputSettings,
    model="FILE",
    predictions="FILE",
    report="FILE",
    dead_letters="FILE",
    champions="URL",
    events="URL",
)
class OutputOptions(Options):
    """Files to write."""

    section = "output"
