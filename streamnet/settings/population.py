"""Settings of the population: candidates one by one, or a grid of values to try."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field, make_dataclass
from functools import partial
from itertools import product
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from streamnet.errors import ConfigurationError
from streamnet.settings.candidate import MAX_LAYERS, MAX_UNITS, CandidateSettings
from streamnet.settings.fields import (
    Check,
    Count,
    Declaration,
    DType,
    Listed,
    Setting,
    Settings,
    Text,
    declare,
    list_settings,
)


@declare
class PopulationSettings(Settings):
    """How many candidates there are, and how they start.

    Args:
        candidate: Settings of single candidates. Without these and a grid, a default population
            learns that suits most streams.
        start: Model file to continue learning, instead of new networks.
        candidates: Number of networks that learn at once; by default 23.
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

    Raises:
        ConfigurationError: If the text has another form.
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
        call = {"type": "no-info", "function": lambda v: str(v) if type(v) is int else v}
        return {"type": "function-before", "function": call, "schema": handler(source)}


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
    Grid = make_dataclass(
        "Grid",
        [(d.name, d.hint, field(default=None)) for d in GRID.values()],
        bases=(Settings,),
        namespace={
            "__module__": __name__,
            "__doc__": "\n".join(
                ("Grid.", "Args:", *(f"    {d.name}: {d.doc}" for d in GRID.values()))
            ),
        },
        frozen=True,
    )


def check_candidates(given: Any) -> tuple[CandidateSettings, ...] | None:
    """Settings of each candidate as a tuple; None stays None.

    Raises:
        ConfigurationError: If they are something else, such as their number.
    """
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

    Args:
        candidates: How many to return: fewer take the first combinations, more repeat them with
            other initial weights. None returns each combination once.
        values: Lists of values by name of the setting.

    >>> [c.describe() for c in expand_grid(optimizer=["sgd"], learning_rate=[0.1, 0.2])]
    ['tanh 32, sgd 0.1', 'tanh 32, sgd 0.2']
    """
    combinations = [
        CandidateSettings(**dict(zip(values, combination, strict=True)))
        for combination in product(*values.values())
    ]
    count = len(combinations) if candidates is None else candidates
    return [combinations[i % len(combinations)] for i in range(count)]
