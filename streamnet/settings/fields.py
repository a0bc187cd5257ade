"""Declared settings: dataclass fields that carry their type, rule, default and description.

Run file tables, command-line options, HTTP schemas, keyword arguments, validation and documentation
are derived from these declarations. Neither pydantic nor numba is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from enum import Enum
from functools import cache
from inspect import Parameter, Signature, cleandoc, signature
from math import isfinite
from textwrap import fill, indent
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    Self,
    TypeVar,
    Union,
    dataclass_transform,
    final,
    get_args,
    get_origin,
    get_type_hints,
)

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen

from streamnet.errors import ConfigurationError
from streamnet.validation import check_bool, check_integer, check_number, to_builtin

MAX_INTEGER = 1 << 31  # of whole numbers that kernels read

RULES = {
    "bool_type": "must be true or false",
    "dict_type": "must be a table",
    "enum": "must be {expected}",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "greater_than": "must be > {gt}",
    "greater_than_equal": "must be >= {ge}",
    "int_type": "must be a whole number",
    "less_than": "must be < {lt}",
    "less_than_equal": "must be <= {le}",
    "literal_error": "must be {expected}",
    "mapping_type": "must be a table",
    "model_type": "must be a table",
    "string_too_long": "must be a single character",
    "string_too_short": "must not be empty",
    "string_type": "must be text in quotes",
    "string_unicode": "must be text in UTF-8",
    "too_long": "must have at most {max_length} items",
    "tuple_type": "must be a list",
}
"""How each rule reads in an error message, by pydantic's name of the error."""


@final
@dataclass(frozen=True)
class Setting:
    """How a setting is used beyond the constructor."""

    grid: bool = False  # `[population]` may list values of it to try
    files: bool = False  # it names files, which is not possible over HTTP
    reloadable: bool = False  # a running process can take over a new value
    changeable: bool = False  # a resumed run may have another value; the order of samples stays


def call_schema(when: str, function: Callable[[Any], Any], schema: Any) -> dict[str, Any]:
    """Pydantic's schema of a value that a function converts before or after validation."""
    call = {"type": "no-info", "function": function}
    return {"type": f"function-{when}", "function": call, "schema": schema}


@final
@dataclass(frozen=True)
class Check:
    """A rule as a function that returns the value or raises `ConfigurationError`."""

    function: Callable[[Any], Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> dict[str, Any]:
        return call_schema("after", self.function, handler(source))


@final
@dataclass(frozen=True)
class Converted:
    """A function that converts the value of a run file before its type is checked."""

    function: Callable[[Any], Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> dict[str, Any]:
        return call_schema("before", self.function, handler(source))


@final
@dataclass(frozen=True)
class Listed:
    """A tuple for which a run file may give a list, or a single value for a list of one."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> dict[str, Any]:
        return call_schema("before", _as_tuple, handler(source))


@final
@dataclass(frozen=True)
class PerLayer:
    """One value for all layers, or a tuple of one for each; a run file may give a list."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> dict[str, Any]:
        each = handler.generate_schema(get_args(source)[1])
        inner = call_schema("before", _as_tuple, each)
        dump = {"type": "function-plain", "function": _to_json}
        outer = call_schema("after", lambda v: v[0] if len(v) == 1 else v, inner)
        return {**outer, "serialization": dump}


@final
@dataclass(frozen=True)
class Enumeration:
    """An enumeration whose members a run file names by their values."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> dict[str, Any]:
        members = {"cls": source, "members": list(source), "sub_type": "str"}
        return {"type": "enum", **members, "strict": False}


def _as_tuple(value: object) -> object:
    if isinstance(value, list):
        return tuple(value)
    return (value,) if isinstance(value, str | dict | int | float) else value


Count = Annotated[int, Ge(1)]
Size = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Le(2**64 - 1)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Probability = Annotated[float, Ge(0), Le(1)]
Text = Annotated[str, MinLen(1)]
Texts = Annotated[tuple[Text, ...], Listed()]
DType = Literal["float32", "float64"]


class Declaration(NamedTuple):
    """A declared setting."""

    name: str
    hint: Any
    default: Any
    doc: str
    setting: Setting = Setting()

    @property
    def summary(self) -> str:
        """First sentence of the description, without its period."""
        return self.doc.split(". ")[0].rstrip(".")


class Settings:
    """Base class of declared settings: every field is checked against its declaration."""

    def __post_init__(self) -> None:
        for name, declaration in list_settings(type(self)).items():
            value = check_value(name, getattr(self, name), declaration.hint)
            object.__setattr__(self, name, value)
        self.check_rules()

    def check_rules(self) -> None:
        """Check the rules between settings."""

    def as_dict(self) -> dict[str, Any]:
        """All settings by name, as JSON can hold them."""
        return {name: _to_json(getattr(self, name)) for name in list_settings(type(self))}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Settings from values by name; the others keep their defaults."""
        return build_settings(cls, values, cls.__name__)


T = TypeVar("T", bound=Settings)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def declare(cls: type[T]) -> type[T]:
    """Decorator of a class of settings: a frozen dataclass whose docstring describes its fields."""
    made = dataclass(frozen=True)(cls)
    parameters = [_make_parameter(declaration) for declaration in list_settings(made).values()]
    made.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return made


def list_settings(cls: type) -> dict[str, Declaration]:
    """The declared settings of a class by name, in their order."""
    return _list_settings(cls)


@cache
def _list_settings(cls: Any) -> dict[str, Declaration]:
    hints, found = get_type_hints(cls, include_extras=True), {}
    docs = {
        name: doc for base in reversed(cls.__mro__) for name, doc in parse_arguments(base).items()
    }
    for one in fields(cls):
        if one.name not in docs:
            raise TypeError(f"{cls.__name__}.{one.name} is not described in its docstring")
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        hint = hints[one.name]
        marks = (mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Setting))
        setting = next(marks, Setting())
        found[one.name] = Declaration(one.name, hint, default, docs[one.name], setting)
    return found


def parse_arguments(owner: Any) -> dict[str, str]:
    """The descriptions under ``Args:`` in a docstring, by name."""
    found: dict[str, str] = {}
    name = ""
    _, _, section = cleandoc(owner.__doc__ or "").partition("Args:\n")
    for line in section.split("\n"):
        if not line.startswith("    "):
            break
        if line[4] != " ":
            name, _, text = line.strip().partition(": ")
            found[name] = text
        else:
            found[name] += f" {line.strip()}"
    return found


# ------------------------------------------------------------------------------- validation


def check_value(name: str, value: Any, hint: Any) -> Any:
    """The value as its declared type, or an error that begins with ``name``."""
    if get_origin(hint) is not Annotated:
        return _check_type(name, to_builtin(value), hint)
    base, *marks = get_args(hint)
    if Listed() in marks and isinstance(value, str):
        value = (value,)
    value = check_value(name, value, base)
    if value is not None:
        for mark in marks:
            if isinstance(mark, Check):
                value = mark.function(value)
            elif broken := _find_broken_rule(mark, value):
                raise _error(name, value, broken)
    return value


def _find_broken_rule(mark: Any, value: Any) -> str:
    match mark:
        case Gt(gt=bound) if not value > bound:
            return RULES["greater_than"].format(gt=format_bound(bound))
        case Ge(ge=bound) if not value >= bound:
            return RULES["greater_than_equal"].format(ge=format_bound(bound))
        case Lt(lt=bound) if not value < bound:
            return RULES["less_than"].format(lt=format_bound(bound))
        case Le(le=bound) if not value <= bound:
            return RULES["less_than_equal"].format(le=format_bound(bound))
        case MinLen() if not value:
            return RULES["string_too_short"]
        case MaxLen(max_length=most) if len(value) > most:
            return RULES["too_long"].format(max_length=most)
    return ""


def _check_type(name: str, value: Any, hint: Any) -> Any:
    origin, options = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, UnionType):
        return _check_union(name, value, options)
    if origin is Literal:
        for option in options:
            if option == value:
                return option
        raise _error(name, value, f"must be {format_choices(options)}")
    if hint in _SCALARS:
        return _SCALARS[hint](name, value)
    if origin is tuple:
        if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
            raise _error(name, value, RULES["tuple_type"])
        return tuple(check_value(f"{name}[{i}]", v, options[0]) for i, v in enumerate(value))
    if issubclass(origin or hint, Enum):
        if value not in list(hint):
            raise _error(name, value, f"must be {format_choices([m.value for m in hint])}")
        return hint(value)
    return _check_table(name, value, hint)


def _check_table(name: str, value: Any, hint: Any) -> Any:
    """A mapping, or settings that a mapping may stand for."""
    origin = get_origin(hint)
    if origin is None and isinstance(value, hint):
        return value
    if origin is None:
        check_group(name, value, hint)
        return hint(**value)
    if not isinstance(value, Mapping):
        raise _error(name, value, "must be a dict")
    of = get_args(hint)[1]
    return {key: check_value(f"{name}.{key}", v, of) for key, v in value.items()}


def _check_union(name: str, value: Any, options: tuple[Any, ...]) -> Any:
    """None, a value of the first type, or one of the others; several values go to the last."""
    if value is None and NoneType in options:
        return None
    one, *others = (option for option in options if option is not NoneType)
    if not others or isinstance(value, str):
        return check_value(name, value, one)
    several = isinstance(value, Iterable) and not isinstance(value, Mapping)
    return check_value(name, value, others[-1] if several else others[0])


def _check_finite(name: str, value: Any) -> float:
    number = check_number(name, value)
    try:
        finite = isfinite(number)
    except OverflowError:
        finite = False
    if not finite:
        raise _error(name, value, RULES["finite_number"])
    return number


def _check_text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _error(name, value, RULES["string_type"])
    return value


_SCALARS: dict[Any, Callable[[str, Any], Any]] = {
    bool: check_bool,
    int: check_integer,
    float: _check_finite,
    str: _check_text,
}


def _error(name: str, value: Any, rule: str) -> ConfigurationError:
    return ConfigurationError(f"{name} is {value!r}, but {rule}")


def format_bound(bound: Any) -> Any:
    """A bound as people write it: 1 rather than 1.0, and all digits of an integer."""
    return f"{bound:g}" if isinstance(bound, float) else bound


def format_choices(options: Iterable[Any]) -> str:
    """Alternatives as text.

    >>> format_choices(["a", "b", "c"])
    "'a', 'b' or 'c'"
    """
    *others, last = map(repr, options)
    return f"{', '.join(others)} or {last}" if others else last


def build_settings(cls: type[T], values: Mapping[str, Any], owner: str) -> T:
    """Settings of ``owner`` from keyword arguments."""
    check_names(values, list_settings(cls), owner)
    return cls(**values)


def check_group(name: str, values: Any, cls: type, *without: str) -> None:
    """Reject values that are not a mapping of known names, ``without`` some; None is fine.

    >>> from streamnet.settings.learning import SearchSettings
    >>> check_group("evolution", {"evry": 3}, SearchSettings)
    Traceback (most recent call last):
    streamnet.errors.ConfigurationError: evolution.evry is not a known setting; did you mean
    'every'?
    """
    if values is not None and not isinstance(values, Mapping):
        raise _error(name, values, "must be a dict of settings by name")
    known = {n: d for n, d in list_settings(cls).items() if n not in without}
    check_names(values or {}, known, within=name)
    for inner, value in (values or {}).items():
        if group := _find_group(known[inner].hint):
            check_group(f"{name}.{inner}", value, group)


def _find_group(hint: Any) -> Any:
    """The class of settings that a type stands for."""
    if get_origin(hint) in (Annotated, Union, UnionType):
        return next(filter(None, map(_find_group, get_args(hint))), None)
    return hint if isinstance(hint, type) and issubclass(hint, Settings) else None


def check_names(
    given: Iterable[str], known: Iterable[str], owner: str = "", *, within: str = ""
) -> None:
    """Reject the first name that is not known; the message suggests the closest known one.

    >>> check_names(["sed"], ["seed", "window"], "Learner")
    Traceback (most recent call last):
    streamnet.errors.ConfigurationError: sed is not a known setting of Learner; did you mean 'seed'?
    """
    names = list(known)
    for name in given:
        if name not in names:
            path = f"{within}.{name}" if within else name
            whose = f" of {owner}" if owner else ""
            raise ConfigurationError(
                f"{path} is not a known setting{whose}; {suggest_name(name, names)}"
            )


def suggest_name(name: str, known: Iterable[str]) -> str:
    """The closest known name as a question, or else all known names."""
    names = list(known)
    if close := get_close_matches(name, names, 1):
        return f"did you mean {close[0]!r}?"
    return f"known here: {', '.join(names)}"


def _to_json(value: Any) -> Any:
    if isinstance(value, Settings):
        return value.as_dict()
    if isinstance(value, Mapping):
        return {key: _to_json(v) for key, v in value.items()}
    return [_to_json(v) for v in value] if isinstance(value, tuple) else value


# ---------------------------------------------------------------- keyword arguments and docs

F = TypeVar("F", bound=Callable[..., Any])


def with_settings(
    *groups: type, more: Iterable[Declaration] = (), without: Iterable[str] = ()
) -> Callable[[F], F]:
    """Decorator of a function or class that takes declared settings as ``**settings``.

    In its signature and its docstring each setting stands by itself, with type and default.
    """
    excluded = set(without)
    declared = {d.name: d for group in groups for d in list_settings(group).values()}
    declared |= {d.name: d for d in more}

    def decorate(owner: F) -> F:
        own = signature(owner)
        parameters = [p for p in own.parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
        names = {p.name for p in parameters} | excluded
        chosen = [d for d in declared.values() if d.name not in names]
        parameters += [_make_parameter(d) for d in chosen]
        owner.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        described = parse_arguments(owner).keys() | excluded
        missing = [d for d in declared.values() if d.name not in described]
        owner.__doc__ = _insert_arguments(owner.__doc__ or "", missing)
        return owner

    return decorate


def _bare(hint: Any) -> Any:
    """A type without rules and descriptions."""
    if get_origin(hint) is Annotated:
        return _bare(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return Union[tuple(_bare(option) for option in get_args(hint))]  # noqa: UP007
    if get_origin(hint) is tuple:
        return tuple[_bare(get_args(hint)[0]), ...]  # type: ignore[misc]
    if get_origin(hint) is Mapping:
        return Mapping[tuple(_bare(part) for part in get_args(hint))]  # type: ignore[misc]
    return hint


def _make_parameter(d: Declaration) -> Parameter:
    return Parameter(d.name, Parameter.KEYWORD_ONLY, default=d.default, annotation=_bare(d.hint))


def _insert_arguments(doc: str, declared: Iterable[Declaration]) -> str:
    """A Google-style docstring with further entries at the end of its ``Args:``."""
    lines = cleandoc(doc).splitlines()
    entries = [line for d in declared for line in _format_argument(d)]
    if "Args:" in lines:
        end = lines.index("Args:") + 1
        while end < len(lines) and lines[end].startswith("    "):
            end += 1
    else:
        sections = (i for i, line in enumerate(lines) if line in ("Raises:", "Returns:"))
        examples = (i for i, line in enumerate(lines) if line.startswith(">>>"))
        end = min(next(sections, len(lines)), next(examples, len(lines)))
        entries = ["Args:", *entries, ""]
        if end == len(lines):
            entries = ["", *entries[:-1]]
    return "\n".join([*lines[:end], *entries, *lines[end:]])


def _format_argument(d: Declaration) -> list[str]:
    text = fill(f"{d.name}: {d.doc}", 92, subsequent_indent="    ", break_on_hyphens=False)
    return indent(text, "    ").split("\n")
