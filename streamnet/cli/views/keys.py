"""The models of keys, shown to a person."""

from __future__ import annotations

from rich.text import Text

from streamnet.cli.terminal import Terminal, escape_text
from streamnet.cli.views.tables import format_count, new_grid
from streamnet.keyed import KeyScores
from streamnet.metrics.formulas import format_number
from streamnet.runs.keys import StoredKeys

_HEADINGS = "samples", "loss", "shared", "recent", "drifts"


def list_keys(keys: StoredKeys) -> None:
    """Print a line for each key: what was served for it, beside the shared model alone."""
    terminal, listed = Terminal(), list(keys.list_scores())
    heading = ", ".join(map(escape_text, keys.columns))
    names = [escape_text(scores.key) for scores in listed]
    width = max(map(len, (heading, *names)))
    terminal.say(_format_line(heading, width, _HEADINGS))
    for name, scores in zip(names, listed, strict=True):
        terminal.say(_format_line(name, width, _format_scores(scores)))


def _format_line(name: str, width: int, cells: tuple[str, ...]) -> str:
    return f"{name:{width}}" + "".join(f"{cell:>12}" for cell in cells)


def _format_scores(scores: KeyScores) -> tuple[str, ...]:
    losses = map(format_number, (scores.loss, scores.shared_loss, scores.recent_loss))
    return (f"{scores.samples:,}", *losses, f"{scores.drifts:,}")


def show_key(keys: StoredKeys, key: str) -> None:
    """Print everything that is known about a key."""
    scores = keys.describe(key)
    drifts = format_count(scores.drifts, "drift")
    if scores.drifted_at is not None:
        drifts += f", the last one after {format_count(scores.drifted_at, 'sample')} of the key"
    parts = (f"{name} {share:.0%}" for name, share in scores.experts.items())
    rows = [
        ("key", f"{key}, of {', '.join(keys.columns)}"),
        ("learned", f"{format_count(scores.samples, 'sample')}, {drifts}"),
        ("loss", _compare(scores.loss, scores.shared_loss)),
        ("recent loss", format_number(scores.recent_loss)),
        ("error", _compare(scores.error, scores.shared_error)),
        ("weights", ", ".join(parts)),
    ]
    for name, value in keys.read_targets(key).items():
        known = format_number(value) if isinstance(value, float) else str(value or "-")
        rows.append((name.strip("()"), known))
    Terminal().print(new_grid(*((name, Text(escape_text(text))) for name, text in rows)))


def _compare(own: float, shared: float) -> str:
    return f"{format_number(own)}, of the shared model alone {format_number(shared)}"
