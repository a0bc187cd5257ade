"""The tables of a run file: immutable, without unknown keys or silent conversions.

A run file never has to be complete: what it leaves out stays None, and the component concerned
uses its own default.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from streamnet.samples import Kind, Task
from streamnet.settings.autoencoder import AutoEncoderSettings
from streamnet.settings.criteria import check_criterion
from streamnet.settings.drift import DriftMethod
from streamnet.settings.encoder import validate_ranges

__all__ = (
    "AutoEncoderSection",
    "Count",
    "Counts",
    "DriftSection",
    "EncoderSection",
    "EvaluationSection",
    "Format",
    "Numbers",
    "OutputSection",
    "RunSection",
    "SearchSection",
    "Section",
    "SelectionSection",
    "SourceSection",
    "StateSection",
    "Text",
    "Texts",
    "as_tuple",
)


def as_tuple(value: object) -> object:
    """TOML's list as a tuple; one text, table or number may stand for a list of one."""
    if isinstance(value, list):
        return tuple(value)
    return (value,) if isinstance(value, str | dict | int | float) else value


Count = Annotated[int, Field(ge=1)]
Size = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, le=2**64 - 1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(as_tuple)]
AnyTexts = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
Counts = Annotated[tuple[int, ...], BeforeValidator(as_tuple)]
Numbers = Annotated[tuple[float, ...], BeforeValidator(as_tuple)]
AnyKind = Annotated[Kind, Field(strict=False)]
AnyTask = Annotated[Task, Field(strict=False)]
Format = Literal["csv", "tsv", "jsonl", "libsvm", "parquet", "ipc"]
ScalingName = Literal["standard", "minmax", "robust", "rank", "none"]
TextModeName = Literal["words", "tokens", "ngrams", "dictionary", "auto"]


class Section(BaseModel):
    """A table of the run file: no unknown keys, no silent conversions, never changed.

    >>> EvaluationSection(window=500).given()
    {'window': 500}
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def given(self) -> dict[str, Any]:
        """What was set, as keyword arguments for the part that it is meant for."""
        return {name: value for name, value in self if value is not None}


@final
class DriftSection(Section):
    """What to do when columns change; see `streamnet.sources.SchemaDrift`.

    >>> DriftSection(new="ignore").given()
    {'new': 'ignore'}
    """

    new: Literal["adapt", "ignore", "reject", "stop"] | None = None
    missing: Literal["adapt", "reject", "stop"] | None = None
    changed: Literal["reject", "stop"] | None = None


@final
class SourceSection(Section):
    """Where samples come from, and what their columns mean.

    ``files`` are names, glob patterns or ``-``, relative to the working directory; ``target``,
    ``task``, ``drop``, ``kinds`` describe columns; ``format``, ``delimiter``, ``header`` and
    ``missing`` override what is found out from the content; longer records of text than
    ``max_record_bytes`` (1 MiB) are rejected. ``follow`` waits for more, and
    ``on_gap`` says what happens where something was lost in it. ``max_rejected`` is the largest
    share of bad records among the last ``rejected_window``; above it the run ends, but not before
    so many records were read.

    >>> SourceSection(files="a.csv", target="label").files
    ('a.csv',)
    """

    files: Texts = ()
    format: Format | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    header: bool | None = None
    missing: AnyTexts | None = None
    max_record_bytes: Count | None = None
    target: Text | None = None
    task: AnyTask | None = None
    drop: Texts | None = None
    kinds: dict[str, AnyKind] | None = None
    shuffle_buffer: Size | None = None
    epochs: Count | None = None
    limit: Count | None = None
    follow: bool | None = None
    on_gap: Literal["stop", "go_on"] | None = None
    most_fields: Count | None = None
    drift: DriftSection | None = None
    max_rejected: Fraction = 0.10
    rejected_window: Count = 1000


@final
class RunSection(Section):
    """How the run goes about it; only ``seed`` and ``round_size`` may change a result.

    >>> RunSection(seed=7).given()
    {'seed': 7}
    """

    seed: Seed | None = None
    block_size: Count | None = None
    threads: Count | None = None
    round_size: Count | None = None


@final
class AutoEncoderSection(Section):
    """An auto-encoder of the inputs; keys and rules are those of `AutoEncoderSettings`.

    >>> AutoEncoderSection(code=8, hidden=64).given()
    {'code': 8, 'hidden': (64,)}
    """

    code: int | None = None
    hidden: Counts | None = None
    noise: float | None = None
    activation: str | None = None
    optimizer: str | None = None
    learning_rate: float | None = None
    negatives: int | None = None
    fading: float | None = None
    inputs: str | None = None
    dtype: str | None = None

    @field_validator("*")
    @classmethod
    def _check_rule(cls, value: Any, info: Any) -> Any:
        if value is not None:
            AutoEncoderSettings(**{info.field_name: value})
        return value


@final
class EncoderSection(Section):
    """How columns become inputs; keys and rules are those of `Encoder`.

    >>> EncoderSection(scaling="rank", scalings={"age": "none"}).given()
    {'scaling': 'rank', 'scalings': {'age': 'none'}}
    """

    scaling: ScalingName | None = None
    scalings: dict[str, ScalingName] | None = None
    text: TextModeName | None = None
    texts: dict[str, TextModeName] | None = None
    duplicates: Literal["keep", "drop"] | None = None
    target_scaling: Literal["standard", "none"] | None = None
    clip: float | None = None
    max_rows: int | None = None
    category_limit: int | None = None
    max_categories: int | None = None
    text_buckets: int | None = None
    max_words: int | None = None
    text_digits: int | None = None
    max_classes: int | None = None
    autoencoder: AutoEncoderSection | None = None

    @field_validator("*")
    @classmethod
    def _check_rule(cls, value: Any, info: Any) -> Any:
        if value is not None:
            validate_ranges({info.field_name: value})
        return value


@final
class EvaluationSection(Section):
    """Horizons of the scores: the last ``window`` samples, and weights faded by ``fading`` each.

    ``drift`` is the detector that watches the loss of what is served.

    >>> EvaluationSection(fading=0.99).given()
    {'fading': 0.99}
    """

    window: Count | None = None
    fading: Annotated[float, Field(gt=0, le=1)] | None = None
    drift: DriftMethod | None = None


@final
class SelectionSection(Section):
    """What answers: the ensemble or the champion alone, and what makes another one champion.

    ``find_criterion`` says by what a champion is chosen, ``margin`` is the share by which a loss
    has to be lower at the start of the stream, ``alpha`` the level of the test later on.

    >>> SelectionSection(serve="champion").given()
    {'serve': 'champion'}
    """

    serve: Literal["ensemble", "champion"] | None = None
    criterion: Text | None = None
    margin: Fraction | None = None
    alpha: Annotated[float, Field(gt=0, le=1)] | None = None

    @field_validator("criterion")
    @classmethod
    def _check_criterion(cls, value: str | None) -> str | None:
        # Whether it fits the task is checked when that is known.
        return value if value is None else check_criterion(value)


@final
class SearchSection(Section):
    """The search for better candidates: a newcomer ``every`` so many rounds, 0 for none.

    ``grace`` rounds it is safe; all candidates together may take ``budget`` microseconds a sample.

    >>> SearchSection(every=0).given()
    {'every': 0}
    """

    every: Annotated[int, Field(ge=0)] | None = None
    grace: Annotated[int, Field(ge=0)] | None = None
    budget: Annotated[float, Field(gt=0)] | None = None


@final
class OutputSection(Section):
    """Files to write, relative to the working directory.

    ``dead_letters_bytes`` is the size that the file of rejected records may grow to; those beyond
    it are counted alone.

    >>> OutputSection(model="best.json").given()
    {'model': 'best.json'}
    """

    model: Text | None = None
    predictions: Text | None = None
    report: Text | None = None
    dead_letters: Text | None = None
    dead_letters_bytes: Annotated[int, Field(ge=0)] | None = None


@final
class StateSection(Section):
    """The state directory, from which a run goes on, and how often it is written.

    >>> StateSection(dir="state", every_seconds=1.0).given()
    {'dir': 'state', 'every_seconds': 1.0}
    """

    dir: Text | None = None
    every_samples: Count | None = None
    every_seconds: Annotated[float, Field(gt=0)] | None = None
    generations: Annotated[int, Field(ge=3)] | None = None
    models: Count | None = None
