"""Compares streamnet with its peers: same files, same order, test-then-train.

    pip install river lightgbm catboost capymoa vowpalwabbit scikit-learn samlb matplotlib
    python -m tests.benchmarks.peers [STREAM ...] [--limit N] [--markdown FILE] [--plot FILE.svg]

Run it in the repository's folder. CapyMOA needs Java (Debian: default-jre-headless). None of these
packages belongs to streamnet's own: peers of one that is absent are named as missing.

What is done to be fair:

- Each run is a process of its own. CPU time is that of all threads, of test-then-train alone, after
  a warm-up; memory is the highest of the whole process.
- Peers get their samples ready-made in memory (CapyMOA: a file in its own format, for its own
  loop), encoded as they need them: categories one-hot or nominal, scaled, texts as hashed words.
  They are told what columns mean. streamnet reads and encodes the file itself, within its time.
- Linear models, Vowpal Wabbit and scikit-learn are tuned in hindsight on the stream's head, beside
  the clock. Ensembles and SAMLB have their own defaults; so has streamnet.
- Learners that are fitted anew at every 1 % of the stream know all that came, and the last targets
  where targets resemble them.
- What has a random part runs with several seeds; once a run took long, the rest are left out.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from streamnet.errors import StreamnetError
from tests.benchmarks.peers.child import Order
from tests.benchmarks.peers.peer import Peer
from tests.benchmarks.peers.plot import draw
from tests.benchmarks.peers.process import run
from tests.benchmarks.peers.record import Record, Records
from tests.benchmarks.peers.registry import PEERS, peers_of
from tests.benchmarks.peers.streams import STREAMS, data_folder, stream_of
from tests.benchmarks.peers.table import markdown

_LONG = 180  # seconds of CPU time after which a run has no further seed

app = App(name="python -m tests.benchmarks.peers", help=__doc__, help_format="plaintext")


@app.default
def compare(
    *streams: str,
    limit: int | None = None,
    seeds: int = 3,
    peers: str = "",
    again: str = "",
    data: Path | None = None,
    seconds: Annotated[int, Parameter(name="--time-limit")] = 900,
    json: Path | None = None,
    markdown_file: Annotated[Path | None, Parameter(name="--markdown")] = None,
    plot: Path | None = None,
) -> None:
    """Run peers on streams and write the table.

    Args:
        streams: Names of streams; all if none is given. FILE:TARGET[:TASK[:MEANING=COLUMN,...]]
            is a CSV file of one's own, whose MEANING is codes, dates or texts.
        limit: Most samples of each stream.
        seeds: Runs of what has a random part.
        peers: Names, separated by commas; `river` stands for all of River's.
        again: Names of peers to run again even if the JSON file holds their runs.
        data: Folder of the files; else $STREAMNET_DATA or ../shared/data beside the repository.
        seconds: Most CPU time of a run.
        json: Keeps the runs; those that it holds are not run again, unless they failed.
        markdown_file: Where to write the table.
        plot: Where to draw score against CPU time, as SVG.
    """
    chosen = [stream_of(name) for name in streams] or list(STREAMS)
    taking_part = peers_of(peers)
    repeated = {peer.name for peer in peers_of(again)} if again else set()
    records = Records(json)
    folder = str(data_folder(data))
    present = [peer for peer in taking_part if not peer.missing]
    for stream in chosen:
        for peer in present:
            if stream.task in peer.tasks:
                order = Order(stream.name, limit, peer.name, 0, folder, seconds)
                run_seeds(peer, order, seeds, records, afresh=peer.name in repeated)
    shown = dict.fromkeys((*STREAMS, *chosen))
    found = {stream.name: records.of(stream.name, limit) for stream in shown}
    found = {name: runs for name, runs in found.items() if runs}
    names = [peer.name for peer in PEERS]
    text = markdown(found, names)
    absent = [f"{peer.name} ({peer.missing})" for peer in taking_part if peer.missing]
    if absent:
        text += f"\nNot run here, since something is missing: {', '.join(absent)}.\n"
    print(f"\n{text}")
    if markdown_file is not None:
        markdown_file.write_text(text, encoding="utf-8")
    if plot is not None:
        draw(found, names, plot)


def run_seeds(
    peer: Peer, first: Order, seeds: int, records: Records, *, afresh: bool = False
) -> None:
    """Run a peer with each seed, unless the run is among the records already."""
    for seed in range(seeds if peer.random else 1):
        order = Order(first.stream, first.limit, peer.name, seed, first.folder, first.seconds)
        record = None if afresh else records.find(order.stream, order.limit, peer.name, seed)
        if record is None:
            record = run(order)
            records.add(record)
            print(_line(record), flush=True)
        if record.status != "done" or record.cpu_seconds > _LONG:
            return


def _line(record: Record) -> str:
    begin = f"{record.stream:15} {record.peer:22} seed {record.seed}"
    if record.status != "done":
        return f"{begin} {record.status}: {record.reason}"
    measures = " ".join(f"{name} {value:.4f}" for name, value in record.measures.items())
    return f"{begin} {measures} {record.rate:,.0f}/s {record.peak_mib:.0f} MiB {record.setting}"


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
