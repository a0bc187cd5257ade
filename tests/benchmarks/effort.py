"""Measures what effort buys: score against processor time a sample, by stream.

    python -m tests.benchmarks.effort [STREAM ...] [--json FILE] [--markdown FILE] [--plot FILE.svg]

Efforts run in turn, each run in a process of its own, as `tests.benchmarks.peers` does it. The
file of runs may be the one of the comparison with peers: then they are in the table and in the
picture, too. Runs that it holds are not repeated. Figures are worth something only if the
efforts of a stream ran on the same machine at about the same time.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from math import exp, log
from pathlib import Path
from statistics import mean
from typing import Annotated

from cyclopts import App, Parameter

from streamnet.errors import StreamnetError
from tests.benchmarks.peers.__main__ import run_seeds
from tests.benchmarks.peers.adapters.ours import EFFORTS, name_effort
from tests.benchmarks.peers.child import Order
from tests.benchmarks.peers.peer import BASELINES
from tests.benchmarks.peers.plot import draw
from tests.benchmarks.peers.record import Record, Records
from tests.benchmarks.peers.registry import PEERS, peers_of
from tests.benchmarks.peers.streams import data_folder, stream_of
from tests.benchmarks.peers.summary import Summary, summaries
from tests.benchmarks.peers.table import format_score, format_table

STREAMS = (
    *("electricity", "letter", "adult", "covertype", "rbf_drift", "bike_hourly", "segment"),
    *("usenet1", "taxis", "ai4i"),
)

app = App(name="python -m tests.benchmarks.effort", help=__doc__, help_format="plaintext")


@app.default
def measure(
    *streams: str,
    efforts: tuple[float, ...] = EFFORTS[:5],
    limit: int | None = None,
    seeds: int = 1,
    data: Path | None = None,
    seconds: Annotated[int, Parameter(name="--time-limit")] = 3600,
    json: Path | None = None,
    markdown_file: Annotated[Path | None, Parameter(name="--markdown")] = None,
    plot: Path | None = None,
) -> None:
    """Run streamnet with several efforts on streams, and write the table.

    Args:
        streams: Names of streams, as those of the comparison; by default ten of them.
        efforts: Efforts, of those that take part.
        limit: Most samples of each stream.
        seeds: Runs of each.
        data: Folder of the files.
        seconds: Most CPU time of a run.
        json: Keeps the runs, those of peers as well; runs that it holds are not repeated.
        markdown_file: Where to write the table.
        plot: Where to draw score against CPU time, as SVG.
    """
    chosen = [stream_of(name) for name in streams or STREAMS]
    names = [name_effort(effort) for effort in efforts]
    records, folder = Records(json), str(data_folder(data))
    for stream in chosen:
        for peer in peers_of(",".join((BASELINES[0], *names))):
            order = Order(stream.name, limit, peer.name, 0, folder, seconds)
            run_seeds(peer, order, seeds, records)
    found = {stream.name: records.of(stream.name, limit) for stream in chosen}
    text = write_tables(found, efforts)
    print(f"\n{text}")
    if markdown_file is not None:
        markdown_file.write_text(text, encoding="utf-8")
    if plot is not None:
        draw(found, [*names, *(peer.name for peer in PEERS if peer.name not in names)], plot)


def write_tables(runs: Mapping[str, Sequence[Record]], efforts: Sequence[float]) -> str:
    """Scores and times by effort, then what is on the Pareto front of each stream.

    The lead of an effort is that over no-change, as a fraction of the default's, on the streams
    on which the default is ahead.

    Args:
        runs: By stream, those of peers as well.
        efforts: Those to be shown.
    """
    by_stream = {
        name: {one.peer: one for one in summaries(found) if one.runs}
        for name, found in runs.items()
    }
    scores, times = [], []
    for effort in efforts:
        name, ratios, leads = name_effort(effort), [], []
        scored, timed = [f"{effort:g}"], [f"{effort:g}"]
        for found in by_stream.values():
            if name not in found:
                scored.append("")
                timed.append("")
                continue
            own, usual = found[name], found.get(name_effort(1.0))
            scored.append(format_score(own.measure(own.main), own.main))
            timed.append(f"{_microseconds(own):.1f}")
            if usual is not None:
                ratios.append(_microseconds(own) / _microseconds(usual))
                baseline = found[BASELINES[0]]
                if (lead := _lead(usual, baseline)) > 0.0:
                    leads.append(_lead(own, baseline) / lead)
        ratio = f"{exp(mean(map(log, ratios))):.2f}" if ratios else ""
        span = f" ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else ""
        scores.append((*scored, f"{min(leads):.2f}, {mean(leads):.2f}" if leads else ""))
        times.append((*timed, ratio + span))
    fronts = [(name, ", ".join(_front(found))) for name, found in by_stream.items()]
    parts = (
        "Accuracy % or MAE, and the least and the mean lead:",
        format_table(("effort", *by_stream, "lead"), scores),
        "µs of CPU a sample, and their geometric mean relative to the default:",
        format_table(("effort", *by_stream, "ratio"), times),
        "Not beaten in both score and CPU time, the quickest first:",
        format_table(("stream", "Pareto front"), fronts),
    )
    return "\n\n".join(parts) + "\n"


def _microseconds(summary: Summary) -> float:
    return 1e6 / summary.figure(lambda run: run.rate).mean


def _value(summary: Summary) -> float:
    """The main measure, the more the better."""
    value = summary.measure(summary.main).mean
    return -value if summary.main == "mae" else value


def _lead(summary: Summary, baseline: Summary) -> float:
    return _value(summary) - _value(baseline)


def _front(found: Mapping[str, Summary]) -> list[str]:
    learners = [one for one in found.values() if one.peer not in BASELINES]
    front: list[Summary] = []
    for one in sorted(learners, key=lambda one: (_microseconds(one), -_value(one))):
        if not front or _value(one) > _value(front[-1]):
            front.append(one)
    return [one.peer for one in front]


def main() -> int:
    """Run the command; a mistake is one line."""
    try:
        app()
    except StreamnetError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
