"""Table: all runs as Markdown: the main measure at a glance, all figures, rare labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.benchmarks.peers.peer import BASELINES
from tests.benchmarks.peers.record import Record
from tests.benchmarks.peers.summary import Figure, Summary, summaries

__all__ = ("format_score", "format_table", "markdown")

_HEAD = (
    "stream",
    "peer",
    "accuracy % / MAE",
    "kappa %",
    "kappa-temporal %",
    "samples/s of CPU",
    "peak MiB",
    "runs",
)


def markdown(runs: Mapping[str, Sequence[Record]], peers: Sequence[str]) -> str:
    """All tables; that of rare labels where there are any.

    Args:
        runs: By stream, in the order of the columns and sections.
        peers: In the order of the rows of the first table.
    """
    by_stream = {stream: summaries(records) for stream, records in runs.items()}
    parts = _overview(by_stream, peers), _details(by_stream), _rare(by_stream), _notes(by_stream)
    return "\n\n".join(filter(None, parts)) + "\n"


def _overview(by_stream: Mapping[str, list[Summary]], peers: Sequence[str]) -> str:
    rows = []
    for peer in peers:
        cells = [_glance(peer, found) for found in by_stream.values()]
        if any(cells):
            rows.append((peer, *cells))
    return format_table(("peer", *by_stream), rows)


def _glance(peer: str, found: list[Summary]) -> str:
    for place, summary in enumerate(found):
        if summary.peer == peer:
            if not summary.runs:
                return summary.reason.partition(":")[0]
            text = format_score(summary.measure(summary.main)._replace(spread=0), summary.main)
            return f"**{text}**" if place == 0 else text
    return ""


def _details(by_stream: Mapping[str, list[Summary]]) -> str:
    rows = []
    for stream, found in by_stream.items():
        for place, summary in enumerate(found):
            if summary.runs:
                samples = summary.runs[0].samples
                name = f"{stream}, {samples:,}" if place == 0 else ""
                rows.append((name, summary.peer, *_figures(summary)))
            else:
                rows.append(("" if place else stream, summary.peer, summary.reason, *[""] * 5))
    return format_table(_HEAD, rows)


def _rare(by_stream: Mapping[str, list[Summary]]) -> str:
    """The measures for streams with rare labels, ordered like the details."""
    rows: list[tuple[str, ...]] = []
    for stream, found in by_stream.items():
        for summary in found:
            if summary.runs and "balanced_accuracy" in summary.runs[0].measures:
                name = stream if not rows or all(row[0] != stream for row in rows) else ""
                known = summary.runs[0].measures
                scores = [
                    format_score(summary.measure(measure), measure) if measure in known else ""
                    for measure in ("accuracy", "balanced_accuracy", "pr_auc")
                ]
                rows.append((name, summary.peer, *scores))
    head = ("stream", "peer", "accuracy %", "balanced accuracy %", "PR-AUC % of the rarest label")
    return format_table(head, rows) if rows else ""


def _notes(by_stream: Mapping[str, list[Summary]]) -> str:
    found = [run for of in by_stream.values() for summary in of for run in summary.runs]
    versions = ", ".join(sorted({run.version for run in found if run.version}))
    return (
        "Bold: the best of a stream. ±: half of the range over seeds. CPU time: test-then-train"
        f" alone, all threads. Memory: the highest of the whole process. {versions}".rstrip()
    )


def _figures(summary: Summary) -> tuple[str, ...]:
    rate = summary.figure(lambda run: run.rate)
    memory = summary.figure(lambda run: run.peak_mib)
    kappas = ("kappa", "kappa_temporal")
    known = summary.runs[0].measures
    runs = str(len(summary.runs)) + (f" ({summary.reason})" if summary.reason else "")
    return (
        format_score(summary.measure(summary.main), summary.main),
        *(format_score(summary.measure(name), name) if name in known else "" for name in kappas),
        "" if summary.peer in BASELINES else _whole(rate),
        _whole(memory),
        runs,
    )


def format_score(figure: Figure, measure: str) -> str:
    """A measure as it is shown, in % unless it is an error."""
    value, spread = figure
    if measure == "mae":
        digits = 1 if value >= 10 else 3
    else:
        value, spread, digits = 100 * value, 100 * spread, 1
    value = round(value, digits) + 0.0  # never -0.0
    return f"{value:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread else "")


def _whole(figure: Figure) -> str:
    return f"{figure.mean:,.0f}" + (f" ± {figure.spread:,.0f}" if figure.spread >= 0.5 else "")


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in lines)
