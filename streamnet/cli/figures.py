"""Figures for people: measures, time spans, and curves of one line."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

__all__ = ("number", "plural", "remaining", "span", "spark")

BARS = "▁▂▃▄▅▆▇█"
PLAIN_BARS = "_.-~=*^#"


def number(value: float | None) -> str:
    """A measure with as many digits as it takes to compare it; a dash for none.

    >>> number(0.81234), number(-0.00001), number(1234.5), number(None)
    ('0.8123', '0.0000', '1,234.50', '-')
    """
    if value is None or not isfinite(value):
        return "-"
    if abs(value) >= 1e9:
        return f"{value:.3e}"
    if abs(value) >= 10:
        return f"{value:,.2f}"
    text = f"{value:.4f}"
    return text.removeprefix("-") if float(text) == 0.0 else text


def plural(count: int, thing: str) -> str:
    """A number of things.

    >>> plural(1, "switch"), plural(1200, "sample")
    ('1 switch', '1,200 samples')
    """
    ending = "" if count == 1 else "es" if thing.endswith(("tch", "s")) else "s"
    return f"{count:,} {thing}{ending}"


def remaining(seconds: float, progress: float, earlier: float = 0.0) -> float:
    """Seconds left if it goes on as it went, infinite if nothing tells.

    Args:
        seconds: Since it goes on.
        progress: Share that is done.
        earlier: Share that was done before these seconds.
    """
    if progress >= 1.0:
        return 0.0
    done = progress - earlier
    return seconds * (1.0 - progress) / done if done > 0 else float("inf")


def span(seconds: float) -> str:
    """A time span in two units at most.

    >>> span(3.2), span(75), span(4000), span(float("inf"))
    ('3 s', '1 min 15 s', '1 h 06 min', '-')
    """
    if not isfinite(seconds):
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02} min"


def spark(values: Sequence[float], *, plain: bool = False) -> str:
    """A curve of one line, from its lowest to its highest value; ``plain`` keeps to ASCII.

    >>> spark((0.0, 0.5, 1.0)), spark((0.0, 0.5, 1.0), plain=True)
    ('▁▄█', '_~#')
    """
    bars = PLAIN_BARS if plain else BARS
    finite = [value for value in values if isfinite(value)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    if not high > low:
        return "".join(bars[3] if isfinite(v) else " " for v in values)
    top = len(bars) - 1
    # Divided first: of the least differences there are, the reciprocal is infinite.
    return "".join(
        bars[int((v - low) / (high - low) * top)] if isfinite(v) else " " for v in values
    )
