"""JSON bodies of requests and replies, as structs that client and daemon share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from streamnet.reporting.report import HorizonScores, IntervalStatus, Scores
from streamnet.samples import MAX_WEIGHT, Task

# That of `streamnet.settings.daemon.MODEL_NAME`, which would import pydantic.
NAME_PATTERN = "^[a-z0-9][a-z0-9_-]{0,63}$"
Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
MAX_ID_LENGTH = 200  # characters of an id; a whole number stands for its digits
Identity = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)] | int
Count = Annotated[int, Meta(ge=0)]
# int besides float: an integer label keeps all its digits.
Label = Annotated[str, Meta(max_length=100_000)] | int | float | bool
Value = Label | None
Sample = dict[str, Any]
ModelState = Literal["starting", "learning", "following", "paused", "failed", "stopped"]
FeedState = Literal["reading", "paused", "ended", "failed"]
HealthStatus = Literal["ok", "starting", "compiling", "refusing", "failed", "stale", "stopping"]
TroubleKind = Literal[
    "failed",
    "disk",
    "queue",
    "target",
    "feed",
    "output",
    "checkpoint",
    "rejected",
    "score",
    "replica",
]
Predictor = Literal["model", "nothing"]


class Outcome(StrEnum):
    """What became of a label."""

    JOINED = "joined"  # scored, and the sample is learned
    EARLY = "early"  # it waits for its prediction
    UNKNOWN = "unknown"  # it waited, but its prediction never came; only counted
    EXPIRED = "expired"  # the prediction was too old, or too many were pending
    DUPLICATE = "duplicate"  # the same label came before; nothing is learned twice
    CONTRADICTORY = "contradictory"  # another label came before, which counts


class ShadowOutcome(StrEnum):
    """What became of a prediction of a shadow."""

    WAITING = "waiting"  # it is scored once the label of its ID comes
    LATE = "late"  # the label is known already; only counted
    EXPIRED = "expired"  # the sample of its ID expired; only counted
    DUPLICATE = "duplicate"  # the shadow has predicted the ID before, which counts


def _counter(description: str, label: str | None = None) -> Meta:
    return Meta(description=description, extra={"kind": "counter", "label": label})


def _gauge(description: str, label: str | None = None) -> Meta:
    return Meta(description=description, extra={"kind": "gauge", "label": label})


class _Request(Struct, forbid_unknown_fields=True):
    """A request body; unknown names are errors."""


class _Reply(Struct):
    """A response body; later versions may add names."""


# ------------------------------------------------------------------------------ requests


class _SamplesRequest(_Request):
    sample: Sample | None = None
    samples: list[Sample] | None = None

    def __post_init__(self) -> None:
        if (self.sample is None) == (self.samples is None):
            raise ValueError("exactly one of sample and samples must be given")

    def rows(self) -> list[Sample]:
        """The samples as a list."""
        return [self.sample] if self.sample is not None else self.samples or []


class LearnRequest(_SamplesRequest):
    """Samples to learn, with the label in the target column; exactly one of the two is given.

    Those without a label are used without supervision.

    >>> msgspec.json.decode(b'{"sample": {"x": 1, "label": "a"}}', type=LearnRequest).rows()
    [{'x': 1, 'label': 'a'}]
    """


class PredictRequest(_SamplesRequest):
    """Samples to predict: one with its ID, or many with theirs; labels are joined by ID.

    >>> request = msgspec.json.decode(b'{"samples": [{"x": 1}, {"x": 2}]}', type=PredictRequest)
    >>> request.rows(), request.identities()
    ([{'x': 1}, {'x': 2}], None)
    """

    id: Identity | None = None
    ids: list[Identity] | None = None
    explain: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.id is not None and self.sample is None:
            raise ValueError("id is given, but belongs to a single sample; samples have ids")
        if self.ids is not None and (self.samples is None or len(self.ids) != len(self.samples)):
            raise ValueError("ids are given, but there must be one for each of the samples")

    def identities(self) -> list[str] | None:
        """The IDs as a list, or None."""
        ids = [self.id] if self.id is not None else self.ids
        return None if ids is None else [str(identity) for identity in ids]


class LabelLine(_Request):
    """The label of a prediction, perhaps with the weight of the sample, in place of its own."""

    id: Identity
    label: Value
    weight: Annotated[float, Meta(ge=0, le=MAX_WEIGHT)] | None = None


class LabelsRequest(_Request):
    """Labels in any order."""

    labels: list[LabelLine]


Probability = Annotated[float, Meta(ge=0, le=1)]


class ShadowLine(_Request):
    """What a shadow predicts: a label or a number, or the probabilities of labels, or both."""

    id: Identity
    prediction: Value = None
    probabilities: Annotated[dict[str, Probability], Meta(min_length=1)] | None = None

    def __post_init__(self) -> None:
        if self.prediction is None and self.probabilities is None:
            raise ValueError("one of prediction and probabilities must be given")


class ShadowRequest(_Request):
    """Predictions of a shadow, by the IDs of the samples."""

    predictions: list[ShadowLine]


class RetireRequest(_Request):
    """The class to retire, by its label."""

    label: Label


class MergeRequest(_Request):
    """The class to merge, by its label, and that of the other one."""

    label: Label
    into: Label


class CreateRequest(_Request):
    """A new model: its name, and the tables of a run file (source, population...)."""

    name: Name
    settings: dict[str, Any] = msgspec.field(default_factory=dict)


# ----------------------------------------------------------------------------- responses


class Receipt(_Reply, gc=False):
    """What became of samples that were sent.

    Of the ``accepted`` samples, ``unlabeled`` ones have no target: they are used without
    supervision; in a stream of lines they are counted later, in `Status`. What is no sample, or
    can't be parsed, is ``rejected``. ``first`` and ``last`` are the numbers of the samples in the
    model's journal, from 0; null if there are none. ``duplicate``: the idempotency key is known,
    and nothing is learned twice.
    """

    accepted: Count
    rejected: Count = 0
    duplicate: bool = False
    first: int | None = None
    last: int | None = None
    unlabeled: Count = 0


class PredictionLine(_Reply, omit_defaults=True):
    """The prediction for one line: a label and its probability, or a number.

    With ``evaluation.interval``, a number has an ``interval``, its lower and upper bound, and a
    label a ``set`` of labels, either of which holds that fraction of the truths.
    """

    prediction: str | float | None
    probability: float | None = None
    interval: list[float] | None = None
    set: list[str] | None = None


class Predictions(_Reply, omit_defaults=True):
    """Predictions in the order of the samples.

    ``predictions`` holds labels or numbers, null where there is no finite one; ``generations`` the
    models that made them: a remembered prediction stays as it was. Before anything is learned,
    samples with an ID are remembered without a prediction, which is null then, of generation 0 and
    ``by`` nothing; without ``by``, all are by the model. ``probabilities`` has a row for each
    sample, in the order of ``labels``. ``intervals`` are prediction intervals of numbers: of the
    level ``evaluation.interval`` if it is set, else of 90 %, from recent residuals. ``sets`` are
    prediction sets of labels, only of the level ``evaluation.interval``; null without a prediction.
    ``explanations`` hold for each sample by how much the prediction would change if a column were
    missing: the probability of the predicted label, or the number. ``warnings`` say which columns
    of the samples the model does not know. ``age``, of a read replica only, is how many seconds ago
    its model was published.
    """

    predictions: list[str | float | None]
    generations: list[int]
    by: list[Predictor] | None = None
    labels: list[str] | None = None
    probabilities: list[list[float | None]] | None = None
    intervals: list[list[float | None]] | None = None
    sets: list[list[str] | None] | None = None
    explanations: list[dict[str, float]] | None = None
    warnings: list[str] | None = None
    age: float | None = None


class LabelsReply(_Reply):
    """What became of each label, in order."""

    outcomes: list[Outcome]


class ShadowReply(_Reply):
    """What became of each prediction of a shadow, in order."""

    outcomes: list[ShadowOutcome]


class ModelLine(_Reply, kw_only=True, rename={"metric": "measure"}):
    """A model in the list of all models.

    ``samples`` were learned; ``served`` is the prequential score (accuracy or mae) of what callers
    got, or of what was predicted right before a sample was learned that came with its label.
    ``version`` changes with the published model, also where a reset gives a ``generation`` again.
    """

    name: str
    state: ModelState
    task: Task | None = None
    target: str | None = None
    samples: int = 0
    metric: str | None = None
    served: Annotated[
        float | None, _gauge("Prequential score: accuracy, or mean absolute error.")
    ] = None
    generation: Annotated[int | None, _gauge("Generation of the published model.")] = None
    version: str | None = None
    model_age: Annotated[float | None, _gauge("Seconds since the model was published.")] = None


class Status(ModelLine, kw_only=True, rename={"metric": "measure"}):
    """The status of a model.

    ``troubles`` need attention, the oldest first; ``refusing`` says why samples to learn are
    refused now, if they are; ``last_error`` is the latest trouble, even if it has ended.
    ``served`` and ``baselines`` score the ``scored`` samples so far: ``requested`` ones were
    predicted with an ID, and count as their callers got them; the others came with their label, and
    count as predicted right before they were learned. ``intervals``, with ``evaluation.interval``
    only, says how many truths intervals or sets held, likewise as callers got them. ``sliding`` and
    ``fading`` are the scores of recent samples, in a window and with exponential forgetting.
    ``feeds`` are the files and streams of the run file, one for each partition, and ``outputs`` the
    streams and web addresses to which it sends what the model does. ``shadows`` are models of
    others whose predictions are compared with what is served. A read replica has the state
    following: it predicts with models of ``replica_of``, which it last found to be the newest
    ``replica_silence`` seconds ago.
    """

    failure: str | None = None
    refusing: str | None = None
    troubles: list[Trouble] = msgspec.field(default_factory=list)
    last_error: Trouble | None = None
    accepted: Annotated[int, _counter("Samples accepted into the journal.")] = 0
    learned: Annotated[int, _counter("Samples learned.")] = 0
    scored: Annotated[int, _counter("Samples scored.")] = 0
    requested: Annotated[int, _counter("Samples scored as their caller got the prediction.")] = 0
    unlabeled: Annotated[int, _counter("Samples learned without a label.")] = 0
    in_flight: Annotated[int, _gauge("Samples accepted and not yet learned.")] = 0
    max_queued: Annotated[int | None, _gauge("Limit of samples accepted and not yet learned.")] = (
        None
    )
    rejected: Annotated[dict[str, int], _counter("Records rejected, by reason.", "reason")] = (
        msgspec.field(default_factory=dict)
    )
    duplicates: Annotated[int, _counter("Requests with a known idempotency key.")] = 0
    predicted: Annotated[int, _counter("Samples predicted.")] = 0
    pending: Annotated[int, _gauge("Predictions waiting for their labels.")] = 0
    label_delay: Annotated[
        float | None, _gauge("Seconds between predictions and their labels, a fading mean.")
    ] = None
    keys: Annotated[int, _gauge("Keys with a model of their own.")] = 0
    early: Annotated[int, _gauge("Labels waiting for their predictions.")] = 0
    outcomes: Annotated[dict[str, int], _counter("Labels received, by outcome.", "outcome")] = (
        msgspec.field(default_factory=dict)
    )
    learned_per_second: Annotated[float | None, _gauge("Samples learned per second, recently.")] = (
        None
    )
    predicted_per_second: Annotated[
        float | None, _gauge("Samples predicted per second, recently.")
    ] = None
    checkpoint_age: Annotated[float | None, _gauge("Seconds since the last checkpoint.")] = None
    checkpoint_failures: Annotated[
        int, _gauge("Attempts to write a checkpoint that failed since the last one.")
    ] = 0
    unsaved: Annotated[int, _gauge("Samples learned since the last checkpoint.")] = 0
    uptime: float | None = None
    champion: str | None = None
    switches: Annotated[int, _counter("Changes of the champion.")] = 0
    drifts: Annotated[int, _counter("Concept drifts detected.")] = 0
    quarantined: Annotated[int, _counter("Candidates quarantined.")] = 0
    baselines: Annotated[Scores, _gauge("Prequential scores of the baselines.", "baseline")] = (
        msgspec.field(default_factory=dict)
    )
    intervals: IntervalStatus | None = None
    sliding: HorizonScores | None = None
    fading: HorizonScores | None = None
    feeds: list[Feed] = msgspec.field(default_factory=list)
    outputs: list[Output] = msgspec.field(default_factory=list)
    shadows: list[Shadow] = msgspec.field(default_factory=list)
    replica_of: str | None = None
    replica_silence: Annotated[
        float | None, _gauge("Seconds since a read replica last knew that its model is the newest.")
    ] = None


class Trouble(_Reply):
    """What needs attention, since when (seconds since 1970), and whether samples are refused.

    ``failed``: the model, until it is resumed or reset. ``disk``: the journal can't be written.
    ``queue``: it is full. ``target``: no sample has the target. ``feed``: a file or a stream can't
    be read. ``output``: a stream or a web address takes nothing. ``checkpoint``: none can be
    written. ``rejected``: of the recent records more than ``alerts.rejected`` allows. ``score``:
    over the sliding window it is worse than ``alerts.score``, or a baseline is better. ``replica``:
    what a read replica follows gives no answer, no model that can be used, or none that is younger
    than ``replica.max_age``.
    """

    kind: TroubleKind
    message: str
    since: float
    refuses: bool = False


class Overview(Status, kw_only=True, rename={"metric": "measure"}):
    """The status of a model in the overview of all models.

    ``curve`` is the score over equal stretches of the stream, from its start until now.
    """

    curve: list[float | None] = msgspec.field(default_factory=list)


class Permissions(_Reply):
    """What the caller's token allows: read, predict, learn, shadow and admin."""

    scopes: list[str]


class Feed(_Reply, kw_only=True):
    """How far files, or a stream of messages, are read.

    ``records``, including rejected ones, are in the journal; ``stream`` is the last file, topic and
    partition, or stream, ``offset`` is where its next record starts, and ``line`` its line.
    ``failure`` is what stopped it until the model is resumed, or why it is not ``connected`` now,
    while it is tried again. ``lag`` are the records that wait there, ``progress`` is the fraction
    of all bytes of files, from 0 to 1; both if known.
    """

    name: str
    state: FeedState
    failure: str | None = None
    connected: Annotated[bool, _gauge("1 while files are read, or a broker is connected.")] = False
    records: Annotated[int, _counter("Records in the journal, including rejected ones.")] = 0
    stream: str | None = None
    offset: Annotated[int | None, _gauge("Where the next record starts.")] = None
    line: int | None = None
    lag: Annotated[int | None, _gauge("Records that wait to be read.")] = None
    progress: Annotated[float | None, _gauge("Fraction of the files that was read.")] = None


class Output(_Reply):
    """An output that is sent to a stream or a web address.

    ``waiting`` records are not held there yet; once too many are, learning waits. ``failure`` says
    why, while it is tried again.
    """

    name: str
    waiting: Annotated[int, _gauge("Records that wait to be sent.")] = 0
    failure: str | None = None


class Shadow(_Reply, kw_only=True):
    """A model of somebody else, whose predictions are scored but never learned from.

    Of its ``predictions``, those are ``scored`` that came before the label, on samples that the
    model predicted as well; ``unscored`` are those where one of both gave none. The main metric of
    both is over these samples: ``overall``, over the last ones (``sliding``), and ``fading``.
    """

    name: str
    predictions: Annotated[int, _counter("Predictions of a shadow that came in time.")] = 0
    waiting: Annotated[int, _gauge("Predictions of a shadow waiting for their labels.")] = 0
    scored: Annotated[int, _counter("Samples on which a shadow is compared.")] = 0
    unscored: Annotated[
        int, _counter("Samples on which a shadow, or the model, gave no prediction.")
    ] = 0
    late: Annotated[int, _counter("Predictions of a shadow that came after the label.")] = 0
    expired: Annotated[int, _counter("Predictions of a shadow whose label never came.")] = 0
    overall: ShadowScore
    sliding: ShadowScore
    fading: ShadowScore


class ShadowScore(_Reply):
    """The main metric of a shadow and of what was served, over the same samples."""

    samples: int
    shadow: float | None
    served: float | None


class FieldLine(_Reply):
    """A column that a model reads; ``values`` are examples of a category's values."""

    name: str
    kind: str
    values: list[str] | None = None


class Champion(_Reply):
    """The published model: its networks in words, and the columns that it reads."""

    generation: int
    settings: str
    networks: int
    task: Task
    target: str | None
    labels: list[str]
    fields: list[FieldLine]
    since: int | None = None


class ClassLine(_Reply):
    """A class, and how many scored samples it had: what was scored stays as it was.

    ``merged_into`` is the label of the class that it is read as since it was merged.
    """

    label: str
    samples: int
    merged_into: str | None = None
    retired: bool = False


class ClassChangeReply(_Reply):
    """A change of the classes: ``label`` is merged ``into`` another class, or retired if null.

    It takes effect behind ``record`` lines of the journal; null if it was made before.
    """

    label: str
    into: str | None
    record: int | None


class KeyRemovalReply(_Reply):
    """A key that is forgotten behind ``record`` lines of the journal."""

    key: str
    record: int


class RejectedLine(_Reply):
    """A record that was not learned; ``raw`` is its text, cut to a bounded length.

    ``time`` is when it was rejected, in seconds since 1970. ``message`` says of a broker's message
    which stream it is from, its place and its key.
    """

    source: str
    line: int | None
    reason: str
    detail: str
    raw: str
    time: float | None = None
    message: dict[str, Any] | None = None


class Rejected(_Reply):
    """How many records were rejected, why, and the latest of them."""

    total: int
    by_reason: dict[str, int]
    last: list[RejectedLine]


class Event(_Reply):
    """An event; IDs increase, and a client resumes after the last one it has seen."""

    id: int
    kind: (
        str  # champion, checkpoint, classes, drift, feed, gap, quarantine, rejected, state, trouble
    )
    time: float  # seconds since 1970
    data: dict[str, Any] = msgspec.field(default_factory=dict)


class Health(_Reply, omit_defaults=True):
    """Health of the daemon.

    While ``refusing`` it accepts no samples until a disk recovers. ``starting``: a model is being
    restored; ``compiling``: its first predictions and samples would wait for kernels. ``failed``:
    every model has. ``stale``: a read replica has a model that is older than ``replica.max_age``,
    or has not known for ``replica.max_silence`` whether it is the newest. ``model_age`` is the age
    of the oldest model of a replica in seconds, and ``silence`` the longest such time.
    """

    status: HealthStatus
    model_age: float | None = None
    silence: float | None = None


class SampleProblem(_Reply):
    """The refused sample of a request, numbered from 0, and why it is refused."""

    number: Count
    detail: str


class Problem(_Reply, omit_defaults=True):
    """An error as in RFC 9457, of type about:blank, so ``title`` is the name of the status.

    ``receipt`` is what was accepted of a stream of lines before the error; ``sample`` is the
    refused sample of a request, if there is one.
    """

    title: str
    status: int
    detail: str
    receipt: Receipt | None = None
    sample: SampleProblem | None = None
