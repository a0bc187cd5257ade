"""Plot: score against CPU time per sample, a panel a stream, as SVG; needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.peers.peer import BASELINES
from tests.benchmarks.peers.record import Record
from tests.benchmarks.peers.summary import Summary, summaries

__all__ = ("draw",)

_COLUMNS = 3
_COLOURS = {
    "streamnet": "#d62728",
    "retrained": "#17becf",
    "capymoa": "#1f77b4",
    "river": "#2ca02c",
    "vw": "#9467bd",
    "samlb": "#ff7f0e",
    "sklearn": "#8c564b",
}
_MARKERS = "osD^vP"


def draw(runs: Mapping[str, Sequence[Record]], peers: Sequence[str], path: Path) -> None:
    """Draw all streams that have runs.

    Args:
        runs: By stream, in the order of the panels.
        peers: In the order of the legend.
        path: The file to write, SVG.
    """
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    # The same file from the same runs, and text that stays text.
    mpl.rcParams.update({"svg.hashsalt": "streamnet", "svg.fonttype": "none", "font.size": 8})
    by_stream = {
        stream: [summary for summary in summaries(records) if summary.runs]
        for stream, records in runs.items()
    }
    by_stream = {stream: found for stream, found in by_stream.items() if found}
    height = -(-len(by_stream) // _COLUMNS)
    figure, axes = plt.subplots(
        height, _COLUMNS, figsize=(9.5, 2.4 * height + 0.9), layout="constrained", squeeze=False
    )
    styles = _styles([peer for peer in peers if peer not in BASELINES])
    for axis, (stream, found) in zip(axes.flat, by_stream.items(), strict=False):
        _panel(axis, stream, found, styles)
    for axis in list(axes.flat)[len(by_stream) :]:
        axis.axis("off")
    seen = {summary.peer for found in by_stream.values() for summary in found}
    marks = [
        plt.Line2D([], [], linestyle="", label=peer, **style)
        for peer, style in styles.items()
        if peer in seen
    ]
    marks.append(plt.Line2D([], [], color="grey", linestyle=":", label="no-change"))
    figure.legend(handles=marks, loc="outside lower center", ncols=6, frameon=False)
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)


def _styles(peers: Sequence[str]) -> dict[str, dict[str, Any]]:
    counts: dict[str, int] = {}
    styles: dict[str, dict[str, Any]] = {}
    for peer in peers:
        family = peer.partition("-")[0]
        place = counts[family] = counts.get(family, -1) + 1
        star = family == "streamnet"
        styles[peer] = {
            "color": _COLOURS.get(family, "black"),
            "marker": "*" if star else _MARKERS[place % len(_MARKERS)],
            "markersize": 11 if star else 5,
        }
    return styles


def _microseconds(summary: Summary) -> float:
    return 1e6 / summary.figure(lambda run: run.rate).mean


def _panel(
    axis: Any, stream: str, found: list[Summary], styles: Mapping[str, dict[str, Any]]
) -> None:
    measure = found[0].main
    scale = 1 if measure == "mae" else 100
    ours = [summary for summary in found if summary.peer.partition("-")[0] == "streamnet"]
    front = sorted((_microseconds(one), one.measure(measure).mean * scale) for one in ours)
    if len(front) > 1:
        axis.plot(*zip(*front, strict=True), color=_COLOURS["streamnet"], linewidth=1)
    for summary in found:
        score = summary.measure(measure).mean * scale
        if summary.peer in styles:
            axis.plot(_microseconds(summary), score, linestyle="", **styles[summary.peer])
        elif summary.peer == "no-change":
            axis.axhline(score, color="grey", linestyle=":", linewidth=1)
    axis.set_xscale("log")
    if measure == "mae":
        axis.set_yscale("log")  # some are off by orders of magnitude
        axis.invert_yaxis()  # up is better in all panels
    axis.set_title(stream)
    axis.set_xlabel("µs of CPU per sample")
    axis.set_ylabel("MAE" if measure == "mae" else "accuracy %")
