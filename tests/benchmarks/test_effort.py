"""The tables of what effort buys."""

from __future__ import annotations

from tests.benchmarks.effort import write_tables
from tests.benchmarks.peers.record import Record


def record(peer: str, accuracy: float, seconds: float) -> Record:
    return Record(
        stream="s",
        limit=None,
        peer=peer,
        seed=0,
        status="done",
        samples=1000,
        measures={"accuracy": accuracy},
        cpu_seconds=seconds,
    )


def test_tables_show_scores_times_leads_and_what_is_not_beaten() -> None:
    runs = [
        record("no-change", 0.5, 1e-6),
        record("streamnet-0.25", 0.7, 0.01),
        record("streamnet", 0.9, 0.04),
        record("streamnet-2", 0.95, 0.08),
        record("slow", 0.93, 0.5),
        record("poor", 0.69, 0.02),
        record("quick", 0.6, 0.001),
    ]
    lines = write_tables({"s": runs}, [0.25, 1.0, 2.0, 4.0]).splitlines()
    assert [line for line in lines if line.startswith("|") and "---" not in line] == [
        "| effort | s | lead |",
        "| 0.25 | 70.0 | 0.50, 0.50 |",
        "| 1 | 90.0 | 1.00, 1.00 |",
        "| 2 | 95.0 | 1.12, 1.12 |",
        "| 4 |  |  |",
        "| effort | s | ratio |",
        "| 0.25 | 10.0 | 0.25 (0.25 to 0.25) |",
        "| 1 | 40.0 | 1.00 (1.00 to 1.00) |",
        "| 2 | 80.0 | 2.00 (2.00 to 2.00) |",
        "| 4 |  |  |",
        "| stream | Pareto front |",
        "| s | quick, streamnet-0.25, streamnet, streamnet-2 |",
    ]


def test_where_the_default_is_not_ahead_there_is_no_lead() -> None:
    runs = [record("no-change", 0.5, 1e-6), record("streamnet", 0.5, 0.04)]
    assert "| 1 | 50.0 |  |" in write_tables({"s": runs}, [1.0]).splitlines()
