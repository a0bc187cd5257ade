"""Any line is accepted or rejected: nothing is raised, lost or kept in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamnet.samples import Block
from streamnet.sources import Columns, Source, open_files
from tests.conftest import Counted
from tests.sources.harness import read
from tests.sources.hostile_lines import FORMS, Form, lines

LINES = 50_000
BATCH = 50
MEBIBYTES = 64
WITHOUT_SHRINKING = settings(
    max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example]
)


def source_of(path: Path, form: Form, chunk_bytes: int = 1 << 20) -> Source:
    target = "label" if form.suffix == "svm" else "y"
    columns = Columns(target=target, head=1, most_fields=40, labels_required=True)
    return open_files([path], columns=columns, chunk_bytes=chunk_bytes)


def records_in(data: bytes, form: Form) -> int:
    """How many records a text has: lines but blank ones, and for libSVM but comments.

    Of a CSV this holds only where no quoted field spans lines.
    """
    found = [line.strip(b" \r") for line in data.split(b"\n")]
    return sum(bool(line) and not (form.suffix == "svm" and line[:1] == b"#") for line in found)


def check(blocks: list[Block]) -> tuple[int, int]:
    """Samples and rejected records; every sample is what it should be."""
    accepted = rejected = 0
    end = 0
    for block in blocks:
        assert not np.isinf(block.numbers).any()
        assert block.target is not None
        assert all(isinstance(label, str) for label in block.target)
        for column in block.words:
            assert all(word is None or isinstance(word, str) for word in column)
        if block.sparse is not None:
            assert np.isfinite(block.sparse.value).all()
        assert all(len(letter.raw) <= 4096 and letter.detail for letter in block.rejected)
        assert int(block.marks[0, 1]) >= end
        end = block.end.record
        accepted += len(block)
        rejected += len(block.rejected)
    assert end == accepted + rejected
    return accepted, rejected


def checked(folder: Path, form: Form, body: list[bytes]) -> tuple[int, int]:
    """Read hostile lines between good ones: all of them are accounted for."""
    data = form.top + b"\n".join([form.good, *body, form.good])
    path = folder / f"f.{form.suffix}"
    path.write_bytes(data)
    accepted, rejected = check(read(source_of(path, form))[1])
    records = records_in(data[len(form.top) :], form)
    if form.suffix == "csv" and b'"' in data:
        assert accepted + rejected <= records  # a quoted field may span lines
    else:
        assert accepted + rejected == records
    assert accepted >= 1
    return accepted, rejected


@pytest.mark.parametrize("name", FORMS)
def test_each_line_of_the_corpus_costs_itself_alone(
    tmp_path: Path, counted: Counted, name: str
) -> None:
    form = FORMS[name]
    for line in form.corpus:
        accepted, rejected = checked(tmp_path, form, [form.good, line, form.good])
        assert (accepted, rejected) in ((4, 1), (5, 0)), line[:60]
    counted("hostile lines", len(form.corpus))


@pytest.mark.parametrize("name", FORMS)
@given(data=st.data())
@settings(WITHOUT_SHRINKING)
def test_hostile_lines_are_accepted_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: Any
) -> None:
    checked(tmp_path_factory.mktemp("hostile"), FORMS[name], data.draw(lines(FORMS[name], 100)))


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", FORMS)
def test_fifty_thousand_hostile_lines_are_accepted_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, counted: Counted, name: str
) -> None:
    form = FORMS[name]
    tried: list[tuple[int, int]] = []

    @given(lines(form, BATCH))
    @settings(WITHOUT_SHRINKING, max_examples=LINES // BATCH, database=None)
    def attempt(body: list[bytes]) -> None:
        tried.append((len(body), checked(folder, form, body)[1]))

    folder = tmp_path_factory.mktemp("hostile")
    attempt()
    count, rejected = map(sum, zip(*tried, strict=True))
    assert count >= LINES
    assert rejected > LINES // 20
    counted("hostile lines", count)


MEMORY = """
import resource, sys
from pathlib import Path
import anyio
from tests.sources.hostile_lines import FORMS
from tests.sources.test_hostile_lines import source_of
form, path = FORMS[sys.argv[1]], Path(sys.argv[2])

async def main(path, counts):
    source = source_of(path, form)
    await source.open()
    while (block := await source.receive()) is not None:
        counts[0] += len(block)
        counts[1] += len(block.rejected)
    await source.aclose()

small = path.with_name("small" + path.suffix)
small.write_bytes(form.top + b"\\n".join([form.good] * 20_000))
anyio.run(main, small, [0, 0])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
counts = [0, 0]
anyio.run(main, path, counts)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(*counts, (after - before) // 1024)
"""


@pytest.mark.parametrize("name", FORMS)
def test_hostile_lines_cost_no_memory(tmp_path: Path, repository: Path, name: str) -> None:
    form = FORMS[name]
    path = tmp_path / f"f.{form.suffix}"
    with path.open("wb") as file:
        file.write(form.top + form.good + b"\n")
        for _ in range(3):
            for line in form.corpus:
                file.write(line + b"\n" + form.good + b"\n")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, name, str(path)],
        capture_output=True,
        check=False,
        cwd=repository,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    accepted, rejected, grown = map(int, done.stdout.split())
    assert accepted + rejected == 1 + 6 * len(form.corpus)
    assert grown < MEBIBYTES
