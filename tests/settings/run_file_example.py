"""The comments of the examples of run files, which are the descriptions of the settings.

    python -m tests.settings.run_file_example

writes them anew; values stay as they are.
"""

from __future__ import annotations

import re
import textwrap
import tomllib
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from streamnet.settings.brokers import BROKERS
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.encoder import AutoEncoderSettings, EncoderSettings
from streamnet.settings.execution import ExecutionSettings, FleetSettings
from streamnet.settings.fields import Declaration, list_settings
from streamnet.settings.learning import (
    EvaluationSettings,
    Grid,
    KeySettings,
    PopulationSettings,
    SearchSettings,
    SelectionSettings,
)
from streamnet.settings.run import (
    OutputSettings,
    SchemaDriftSettings,
    SourceSettings,
    StateSettings,
)

CONFIG = Path(__file__).parents[2] / "config"
TABLES: dict[str, tuple[type, ...]] = {
    "source": (SourceSettings,),
    "source.drift": (SchemaDriftSettings,),
    **{f"source.{broker}": (settings,) for broker, settings in BROKERS.items()},
    "run": (ExecutionSettings,),
    "fleet": (FleetSettings,),
    "encoder": (EncoderSettings,),
    "encoder.autoencoder": (AutoEncoderSettings,),
    "population": (PopulationSettings, Grid),
    "population.candidate": (CandidateSettings,),
    "evaluation": (EvaluationSettings,),
    "selection": (SelectionSettings,),
    "keys": (KeySettings,),
    "search": (SearchSettings,),
    "output": (OutputSettings,),
    "state": (StateSettings,),
}
PATHS = [CONFIG / "replay.toml", *(CONFIG / f"{broker}.toml" for broker in BROKERS)]
_TABLE = re.compile(r"\[+([a-z_.]+)\]+")
_KEY = re.compile(r"(# )?([a-z_]+) = (.*)")
_WIDTH = 98


def list_declarations(table: str) -> dict[str, Declaration]:
    """The settings of a table by name."""
    return {name: d for cls in TABLES[table] for name, d in list_settings(cls).items()}


def format_default(default: Any) -> str:
    """A default as the comment of another value says it."""
    if default in (None, (), {}):
        return "none"
    if isinstance(default, tuple):
        return str(list(default))
    return str(default).lower() if isinstance(default, bool) else str(default)


def list_choices(hint: Any) -> tuple[str, ...]:
    """The texts that a setting may be, if they are few."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    options = get_args(hint) if get_origin(hint) in (Annotated, Union, UnionType) else ()
    return next(filter(None, map(list_choices, options)), ())


def describe(declaration: Declaration, shown: str) -> str:
    """The comment of a key."""
    text = " ".join(declaration.doc.replace("``", "").replace("`", "").split())
    text = re.sub(r" See [A-Z]\w+\.", "", text)
    choices = list_choices(declaration.hint)
    if choices and not all(choice in text for choice in choices):
        text += f" One of {', '.join(choices)}."
    default = declaration.default
    value = tomllib.loads(f"value = {shown}")["value"]
    same = value == (list(default) if isinstance(default, tuple) else default)
    if not same and "default" not in text:
        text += f" By default {format_default(default)}."
    return textwrap.fill(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")


def render(text: str) -> str:
    """The file with the comments that its keys should have."""
    table, keys = "", dict[str, Declaration]()
    head = text.partition("\n\n")[0]
    parts = [f"{head}\n"]
    for line in text.removeprefix(head).splitlines():
        if found := _TABLE.fullmatch(line):
            table = found[1]
            keys = list_declarations(table)
            parts.append(f"\n{line}\n")
        elif (found := _KEY.fullmatch(line)) and found[2] in keys:
            parts.append(f"{describe(keys[found[2]], found[3])}\n{line}\n")
    return "".join(parts)


if __name__ == "__main__":
    for path in PATHS:
        path.write_text(render(path.read_text("utf-8")), "utf-8")
