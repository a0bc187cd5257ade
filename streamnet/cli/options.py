"""Options of the commands by group, and the converters that parse their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, final

from cyclopts import Group, Parameter, Token

__all__ = (
    "DATA",
    "OUTPUT",
    "RUN",
    "STANDARD_INPUT",
    "DataOptions",
    "Drop",
    "EncoderOptions",
    "Files",
    "Kinds",
    "OutputOptions",
    "PopulationOptions",
    "ReadingOptions",
    "RunOptions",
    "SearchOptions",
    "SelectionOptions",
    "StateOptions",
    "convert_counts",
    "convert_numbers",
    "convert_pairs",
    "convert_text",
    "convert_texts",
    "integer_option",
    "list_option",
    "text_option",
    "value_option",
)


# Stands for "-", which cyclopts would take for an option; a path of it is that of a file named so.
STANDARD_INPUT = ".//-"


def convert_text(kind: Any, tokens: Sequence[Token]) -> str:  # noqa: ARG001 - cyclopts passes the type
    """A text that may be ``-``, such as the name of a file."""
    (token,) = tokens
    return _token_text(token)


def convert_texts(kind: Any, tokens: Sequence[Token]) -> tuple[str, ...]:  # noqa: ARG001
    """Values from texts with commas, such as ``--drop a,b --drop c``."""
    words = (word.strip() for token in tokens for word in _token_text(token).split(","))
    return tuple(word for word in words if word)


def convert_numbers(kind: Any, tokens: Sequence[Token]) -> tuple[float, ...]:
    """Numbers from texts with commas."""
    return tuple(_parse_number(text, float, "a number") for text in convert_texts(kind, tokens))


def convert_counts(kind: Any, tokens: Sequence[Token]) -> tuple[int, ...]:
    """Whole numbers from texts with commas."""
    return tuple(_parse_number(text, int, "a whole number") for text in convert_texts(kind, tokens))


def _token_text(token: Token) -> str:
    return "-" if token.value == STANDARD_INPUT else token.value


def _convert_integer(kind: Any, tokens: Sequence[Token]) -> int:  # noqa: ARG001
    """A whole number as it stands: cyclopts would cut 1.5 down to 1."""
    (token,) = tokens
    return _parse_number(token.value, int, "a whole number")  # type: ignore[no-any-return]


def _parse_number(text: str, kind: type, what: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{text!r} is not {what}") from None


def convert_pairs(kind: Any, tokens: Sequence[Token]) -> tuple[tuple[str, str], ...]:  # noqa: ARG001
    """Names and values from texts such as ``--kind column=category --kind other=text``.

    A tuple, since cyclopts refuses to repeat an option that is a dict.
    """
    result: dict[str, str] = {}
    for token in tokens:
        name, sign, value = token.value.rpartition("=")
        if not sign:
            raise ValueError(f"{token.value!r} must have the form COLUMN=KIND")
        if result.setdefault(name, value) != value:
            raise ValueError(f"{name!r} can't be both {result[name]} and {value}")
    return tuple(result.items())


def list_option(converter: Any, metavar: str, text: str, group: Group | None = None) -> Parameter:
    """An option that takes texts with commas, and may be repeated."""
    placed: dict[str, Any] = {} if group is None else {"group": group}  # None itself would hide it
    return Parameter(
        converter=converter, n_tokens=1, negative="", metavar=metavar, help=text, **placed
    )


def value_option(metavar: str, text: str, name: str | None = None) -> Parameter:
    """An option of one value."""
    return Parameter(name=name, metavar=metavar, help=text)


def text_option(metavar: str, text: str) -> Parameter:
    """An option of one text, which may be ``-``."""
    return Parameter(converter=convert_text, n_tokens=1, metavar=metavar, help=text)


def integer_option(text: str, name: str | None = None, *, metavar: str = "N") -> Parameter:
    """An option of one whole number."""
    return Parameter(name=name, converter=_convert_integer, n_tokens=1, metavar=metavar, help=text)


DATA = Group("Data", sort_key=1)
READING = Group("Reading", sort_key=2)
POPULATION = Group("Population", sort_key=3)
RUN = Group("Run", sort_key=4)
OUTPUT = Group("Output", sort_key=5)

Files = Annotated[
    str,
    Parameter(
        name="FILE",
        converter=convert_text,
        n_tokens=1,
        help="Files in the order given, glob patterns in quotes, or - for standard input; plain or "
        "packed with gzip, zstd or xz.",
    ),
]


Drop = Annotated[
    tuple[str, ...] | None, list_option(convert_texts, "A,B,C", "Columns to leave out.", group=DATA)
]
Kinds = Annotated[
    tuple[tuple[str, str], ...] | None,
    Parameter(
        name="--kind",
        group=DATA,
        converter=convert_pairs,
        n_tokens=1,
        negative="",
        metavar="COLUMN=KIND",
        help="What a column's values are, where what is found out from them is wrong: number, "
        "category, time (dates, or numbers of seconds, milli-, micro- or nanoseconds since 1970), "
        "day_first or month_first (dates like 3/4/2026) or text; may be repeated.",
    ),
]


class _Options:
    """A group of options; None is one that was not given."""

    def given(self) -> dict[str, Any]:
        """Values by name of the option's key."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]


@final
@Parameter(name="*", group=DATA)
@dataclass(frozen=True, kw_only=True)
class DataOptions(_Options):
    """Which samples are learned, and what of them is predicted.

    >>> DataOptions(target="income").given()["target"]
    'income'
    """

    target: Annotated[
        str | None, text_option("COLUMN", "Column to predict; needed for all but libSVM.")
    ] = None
    task: Annotated[
        Literal["auto", "classification", "regression"],
        value_option("TASK", "What is predicted; auto looks at the target's values."),
    ] = "auto"
    drop: Drop = None
    kinds: Kinds = None
    epochs: Annotated[
        int | None, integer_option("Passes over the files; only the first is scored; default 1.")
    ] = None
    shuffle_buffer: Annotated[
        int | None, integer_option("Samples that wait, to come out in random order; default 0.")
    ] = None
    limit: Annotated[
        int | None, integer_option("Most samples to read, in each epoch; default all.")
    ] = None
    follow: Annotated[
        bool | None,
        Parameter(
            negative="",
            show_default=False,
            help="Never end: read on as the last file grows or is rotated, or as files appear in "
            "the one folder that is given.",
        ),
    ] = None
    on_gap: Annotated[
        Literal["stop", "go_on"] | None,
        value_option(
            "WHAT",
            "Where a followed file was cut and something is lost: stop (the default), or go on.",
        ),
    ] = None
    max_rejected: Annotated[
        float | None,
        value_option(
            "SHARE",
            "Largest share of bad records among the last 1,000, from the 1,000th on; default 0.1.",
        ),
    ] = None

    def given(self) -> dict[str, Any]:
        """Keys of a run file and what was given for them."""
        values = super().given()
        values["kinds"] = None if self.kinds is None else dict(self.kinds)
        return values


@final
@Parameter(name="*", group=READING)
@dataclass(frozen=True, kw_only=True)
class ReadingOptions(_Options):
    """How files are read, where their content does not tell.

    >>> ReadingOptions(header=False).given()["header"]
    False
    """

    format: Annotated[
        Literal["csv", "tsv", "jsonl", "libsvm", "parquet", "ipc"] | None,
        value_option(
            "FORMAT", "Format of the files, if neither name nor content tells; ipc is Arrow's."
        ),
    ] = None
    delimiter: Annotated[
        str | None, text_option("CHAR", "What stands between the fields of a CSV file.")
    ] = None
    header: Annotated[
        bool | None, Parameter(help="Whether the first record of a CSV file names its columns.")
    ] = None
    missing: Annotated[
        tuple[str, ...] | None,
        list_option(
            convert_texts,
            "A,B,C",
            "Words that mean missing, beside none at all; default ?, NA, N/A, n/a, NULL, null, "
            "None, \\N.",
        ),
    ] = None

    def given(self) -> dict[str, Any]:
        """Keys of a run file and what was given for them."""
        values = super().given()
        values["missing"] = None if self.missing is None else ("", *self.missing)
        return values


@final
@Parameter(name="*", group=DATA)
@dataclass(frozen=True, kw_only=True)
class EncoderOptions(_Options):
    """How columns become inputs of the networks.

    >>> EncoderOptions(scaling="rank").given()["scaling"]
    'rank'
    """

    scaling: Annotated[
        Literal["standard", "minmax", "robust", "rank", "none"] | None,
        value_option("HOW", "How numbers are scaled, by all of them so far; default standard."),
    ] = None
    text: Annotated[
        Literal["words", "tokens", "ngrams", "dictionary", "auto"] | None,
        value_option("HOW", "What is read from texts; auto looks at the first 100; default words."),
    ] = None
    duplicates: Annotated[
        Literal["keep", "drop"] | None,
        value_option(
            "WHAT", "What happens to columns that repeat others in other units; default keep."
        ),
    ] = None
    autoencoder: Annotated[
        int | None,
        integer_option(
            "Compress all inputs into N numbers, which are inputs too; predictions then tell how "
            "unusual a sample is."
        ),
    ] = None

    def given(self) -> dict[str, Any]:
        """Keys of a run file and what was given for them."""
        values = super().given()
        values["autoencoder.code"] = values.pop("autoencoder")
        return values


@final
@Parameter(name="*", group=POPULATION)
@dataclass(frozen=True, kw_only=True)
class PopulationOptions(_Options):
    """Which networks learn.

    >>> PopulationOptions(candidates=8).given()["candidates"]
    8
    """

    start: Annotated[
        str | None,
        value_option("MODEL", "Model file to go on learning, instead of networks that start anew."),
    ] = None
    candidates: Annotated[
        int | None, integer_option("How many networks learn at once; default 23.")
    ] = None
    hidden: Annotated[
        tuple[str, ...] | None,
        list_option(convert_texts, "A,B,C", "Hidden layers to try: 20,64-32,linear."),
    ] = None
    activation: Annotated[
        tuple[str, ...] | None,
        list_option(convert_texts, "A,B,C", "Activations to try: tanh, relu, logistic, identity."),
    ] = None
    optimizer: Annotated[
        tuple[str, ...] | None,
        list_option(
            convert_texts, "A,B,C", "Optimizers to try: sgd, momentum, rmsprop, adagrad, adam."
        ),
    ] = None
    learning_rate: Annotated[
        tuple[float, ...] | None,
        list_option(convert_numbers, "A,B,C", "Learning rates to try: 0.1,0.01."),
    ] = None
    rehearsal: Annotated[
        tuple[int, ...] | None,
        list_option(
            convert_counts, "A,B,C", "Earlier samples to learn again with each new one: 0,4."
        ),
    ] = None
    knots: Annotated[
        tuple[int, ...] | None,
        list_option(convert_counts, "A,B,C", "Knots of a spline of each number to try: 0,9."),
    ] = None
    class_weight: Annotated[
        tuple[float, ...] | None,
        list_option(
            convert_numbers, "A,B,C", "How much more rare classes weigh, 0 to 1, to try: 0,0.5."
        ),
    ] = None
    target_transform: Annotated[
        tuple[str, ...] | None,
        list_option(convert_texts, "A,B", "What of a number to learn, to try: none (itself), log."),
    ] = None
    dtype: Annotated[
        Literal["float32", "float64"] | None,
        value_option("TYPE", "Numbers that networks are made of; default float32."),
    ] = None


@final
@Parameter(name="*", group=POPULATION)
@dataclass(frozen=True, kw_only=True)
class SelectionOptions(_Options):
    """Who answers.

    >>> SelectionOptions(serve="champion").given()["serve"]
    'champion'
    """

    serve: Annotated[
        Literal["ensemble", "champion"] | None,
        value_option("WHO", "Who answers: all together, or the best one alone; default ensemble."),
    ] = None
    criterion: Annotated[
        str | None,
        value_option(
            "CRITERION",
            "By what the best one is chosen: log_loss (in which no share is less than 0.0001), "
            "accuracy, balanced_accuracy (then all together answer as if classes were equally "
            "frequent), distance; of numbers mae, mse, distance; or gopher-neural's own, such as "
            "gopher.accuracy.",
        ),
    ] = None


@final
@Parameter(name="*", group=POPULATION)
@dataclass(frozen=True, kw_only=True)
class SearchOptions(_Options):
    """How better networks are looked for.

    >>> SearchOptions(every=8).given()["every"]
    8
    """

    every: Annotated[
        int | None,
        integer_option(
            "Rounds of 1,024 samples between two new networks; 0 for none; default 4, or 0 if you "
            "say which networks learn.",
            name="--search-every",
        ),
    ] = None
    budget: Annotated[
        float | None,
        value_option(
            "US",
            "Microseconds a sample that all networks together may take, by a model of their cost; "
            "default what those of the start take.",
            name="--search-budget",
        ),
    ] = None


@final
@Parameter(name="*", group=RUN)
@dataclass(frozen=True, kw_only=True)
class RunOptions(_Options):
    """How the run goes about it.

    >>> RunOptions(seed=1).given()["seed"]
    1
    """

    seed: Annotated[
        int | None,
        integer_option(
            "Start of all random numbers; the same gives the same, to the bit; default 0."
        ),
    ] = None
    block_size: Annotated[
        int | None,
        integer_option(
            "Most samples that travel together; changes speed, never results; default 1024."
        ),
    ] = None
    threads: Annotated[
        int | None,
        integer_option("Most threads that learn at once; changes speed, never results; default 2."),
    ] = None


@final
@Parameter(name="*", group=RUN)
@dataclass(frozen=True, kw_only=True)
class StateOptions(_Options):
    """What a run that died goes on from.

    >>> StateOptions(dir="state").given()["dir"]
    'state'
    """

    dir: Annotated[
        str | None,
        Parameter(
            name="--state",
            metavar="DIR",
            help="Folder for checkpoints and emitted models, to go on from after any end.",
        ),
    ] = None
    every_samples: Annotated[
        int | None,
        integer_option(
            "Samples after which a checkpoint is written, if time is not up yet; default none."
        ),
    ] = None
    every_seconds: Annotated[
        float | None, value_option("S", "Seconds after which a checkpoint is written; default 10.")
    ] = None


@final
@Parameter(name="*", group=OUTPUT)
@dataclass(frozen=True, kw_only=True)
class OutputOptions(_Options):
    """Which files are written.

    >>> OutputOptions(model="m.json").given()["model"]
    'm.json'
    """

    model: Annotated[
        str | None, value_option("FILE", "Write the model: .safetensors or .json.")
    ] = None
    predictions: Annotated[
        str | None, value_option("FILE", "Write every served answer: .csv or .jsonl.")
    ] = None
    report: Annotated[
        str | None,
        value_option("FILE", "Write all scores and settings: .json, or .html to look at."),
    ] = None
    dead_letters: Annotated[
        str | None,
        value_option(
            "FILE",
            "Where bad records go, if there are any; default rejected.jsonl, or dead-letters.jsonl "
            "in the folder of --state.",
        ),
    ] = None
