"""Settings of a run besides its learning: source, execution, outputs and state directory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from annotated_types import Ge, MaxLen, MinLen

from streamnet.samples import Kind, Task
from streamnet.settings.fields import (
    Count,
    Enumeration,
    Listed,
    Positive,
    Probability,
    Seed,
    Setting,
    Settings,
    Size,
    Text,
    Texts,
    declare,
)

Format = Literal["csv", "tsv", "jsonl", "libsvm", "parquet", "ipc"]


@declare
class SchemaDriftSettings(Settings):
    """What to do when columns change, see `streamnet.sources.SchemaDrift`.

    Args:
        new: A new column. By default JSON lines adapt, and later files of a table stop.
        missing: A JSON record without a column.
        changed: A value that is not of its column's kind.
    """

    new: Literal["adapt", "ignore", "reject", "stop"] | None = None
    missing: Literal["adapt", "reject", "stop"] | None = None
    changed: Literal["reject", "stop"] | None = None


@declare
class SourceSettings(Settings):
    r"""Where samples come from, and what their columns mean.

    Args:
        files: Files in this order, glob patterns, or - for standard input; compressed with gzip,
            zstd or xz, or not. Paths are relative to the working directory.
        format: Format of the files, if neither name nor content tells; ipc is Arrow's.
        delimiter: Character between the fields of a CSV file; by default inferred.
        header: Whether the first record of a CSV file names its columns; by default inferred.
        missing: Texts that stand for a missing value, like an empty one; by default ?, NA, N/A,
            n/a, NULL, null, None, \N.
        max_record_bytes: Largest record of a text file in bytes; longer ones are rejected.
        target: Column to predict; required for all formats but libSVM.
        task: What is predicted; auto infers it from the target's values.
        drop: Columns to leave out.
        kinds: Kind of a column whose values are misread: number, category, time (dates, or seconds,
            milli-, micro- or nanoseconds since 1970), day_first or month_first (dates such as
            3/4/2026) or text; may be repeated.
        shuffle_buffer: Samples in a buffer from which they come out in random order.
        epochs: Passes over the files; only the first is scored.
        limit: Most samples to read in each epoch; by default all.
        follow: Keep reading as the last file grows or is rotated, or as files appear in the one
            folder that is given.
        on_gap: What to do where a followed file was truncated and data is lost: stop, or go on.
        most_fields: Most features that may appear by name; records with more are rejected.
        drift: What to do when columns change.
        max_rejected: Largest fraction of rejected records among the last 1,000, from the 1,000th
            on. Above it the run ends. `rejected_window` sets another number than 1,000.
        rejected_window: Records that `max_rejected` looks at.
    """

    files: Annotated[Texts, Setting(files=True)] = ()
    format: Format | None = None
    delimiter: Annotated[str, MinLen(1), MaxLen(1)] | None = None
    header: bool | None = None
    missing: Annotated[tuple[str, ...], Listed()] | None = None
    max_record_bytes: Count = 1 << 20
    target: Text | None = None
    task: Annotated[Task, Enumeration()] | None = None
    drop: Texts | None = None
    kinds: Mapping[str, Annotated[Kind, Enumeration()]] | None = None
    shuffle_buffer: Size = 0
    epochs: Count = 1
    limit: Count | None = None
    follow: bool = False
    on_gap: Literal["stop", "go_on"] = "stop"
    most_fields: Count = 4096
    drift: SchemaDriftSettings | None = None
    max_rejected: Annotated[Probability, Setting(reloadable=True)] = 0.1
    rejected_window: Count = 1000


@declare
class ExecutionSettings(Settings):
    """How a run is executed; only ``seed`` and ``round_size`` may change a result.

    Args:
        seed: Seed of all random numbers; equal seeds give equal results, to the bit.
        block_size: Most samples in a block; changes speed, never results.
        threads: Most threads that learn at once; changes speed, never results.
        round_size: Samples between two decisions about the population.
    """

    seed: Seed = 0
    block_size: Count = 1024
    threads: Count = 2
    round_size: Count = 1024


@declare
class OutputSettings(Settings):
    """Files to write, relative to the working directory.

    Args:
        model: Write the model: .safetensors or .json.
        predictions: Write every served prediction: .csv or .jsonl.
        report: Write all metrics and settings: .json, or .html to look at.
        dead_letters: File of rejected records; by default rejected.jsonl, or dead-letters.jsonl in
            the state directory.
        dead_letters_bytes: Largest size of the file of rejected records; further ones are counted
            only.
    """

    model: Text | None = None
    predictions: Text | None = None
    report: Text | None = None
    dead_letters: Text | None = None
    dead_letters_bytes: Size = 1 << 30


@declare
class StateSettings(Settings):
    """The state directory, from which a run can resume, and how often it is written.

    Args:
        dir: Directory for checkpoints and emitted models, from which a run can resume.
        every_samples: Samples after which a checkpoint is written; by default none.
        every_seconds: Seconds after which a checkpoint is written.
        generations: Checkpoints to keep.
        models: Emitted models to keep.
    """

    dir: Text | None = None
    every_samples: Annotated[Count | None, Setting(reloadable=True)] = None
    every_seconds: Annotated[Positive, Setting(reloadable=True)] = 10.0
    generations: Annotated[int, Ge(3), Setting(reloadable=True)] = 3
    models: Annotated[Count, Setting(reloadable=True)] = 8
