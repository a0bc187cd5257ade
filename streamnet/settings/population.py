"""The tables of a run file that define the candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, final

from pydantic import BeforeValidator, field_validator, model_validator

from streamnet.errors import ConfigurationError
from streamnet.settings.sections import Count, Counts, Numbers, Section, Text, Texts, as_tuple

if TYPE_CHECKING:
    from streamnet.settings.candidate import CandidateSettings

__all__ = ("CandidateTable", "PopulationSection")


def _build_candidate(given: dict[str, Any]) -> CandidateSettings:
    # Imported late: it brings numba with it, for which a run file's errors should not wait.
    from streamnet.settings.candidate import CandidateSettings

    return CandidateSettings(**given)


def _parse_layers(text: str) -> tuple[int, ...]:
    from streamnet.settings.grid import parse_hidden

    return parse_hidden(text)


def _as_text(value: object) -> object:
    """The units of one layer as any other shape is written."""
    return str(value) if type(value) is int else value


# Of several numbers nobody could tell whether they are networks, or layers of one.
HiddenLayers = Annotated[Texts, BeforeValidator(_as_text)]


@final
class CandidateTable(Section):
    """One candidate; keys and rules are those of `CandidateSettings`.

    >>> CandidateTable(hidden=[20], learning_rate=0.1).candidate().describe()
    'tanh 20, rmsprop 0.1'
    """

    hidden: Counts | None = None
    activation: Texts | None = None
    output: str | None = None
    loss: str | None = None
    huber_delta: float | None = None
    optimizer: str | None = None
    learning_rate: float | None = None
    schedule: str | None = None
    decay: float | None = None
    decay_steps: int | None = None
    momentum: float | None = None
    second_momentum: float | None = None
    epsilon: float | None = None
    weight_decay: float | None = None
    clip: float | None = None
    batch_size: int | None = None
    rehearsal: int | None = None
    memory: int | None = None
    bias: bool | None = None
    lags: bool | None = None
    initialization: str | None = None
    score_limit: float | None = None
    knots: int | None = None
    early_rehearsal: int | None = None
    class_weight: float | None = None
    target_transform: str | None = None
    rehearsal_tolerance: float | None = None

    def candidate(self) -> CandidateSettings:
        """The candidate's settings, with the defaults of `CandidateSettings`."""
        return _build_candidate(self.given())

    def given(self) -> dict[str, Any]:
        """What was set; an activation alone is one for all layers."""
        given = super().given()
        if self.activation is not None and len(self.activation) == 1:
            given["activation"] = self.activation[0]
        return given

    @field_validator("*")
    @classmethod
    def _check_rule(cls, value: Any, info: Any) -> Any:
        # One by one, so that all keys that are wrong are named at once.
        alone = {info.field_name: value}
        if info.field_name == "activation" and value is not None:
            alone["hidden"] = (1,) * len(value)
        if value is not None:
            _build_candidate(alone)
        return value

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        self.candidate()
        return self


@final
class PopulationSection(Section):
    """How many candidates there are, and which.

    ``start`` is a model file to go on learning, which brings them. ``[[population.candidate]]``
    names them one by one. Or ``hidden``, ``activation``, ``optimizer``, ``learning_rate``,
    ``rehearsal``, ``knots``, ``class_weight`` and ``target_transform`` list values to try in every
    combination.

    >>> PopulationSection(hidden=20).hidden, PopulationSection(hidden=["20", "64-32"]).hidden
    (('20',), ('20', '64-32'))
    """

    start: Text | None = None
    candidates: Count | None = None
    dtype: Literal["float32", "float64"] | None = None
    hidden: HiddenLayers | None = None
    activation: Texts | None = None
    optimizer: Texts | None = None
    learning_rate: Numbers | None = None
    rehearsal: Counts | None = None
    knots: Counts | None = None
    class_weight: Numbers | None = None
    target_transform: Texts | None = None
    candidate: Annotated[tuple[CandidateTable, ...], BeforeValidator(as_tuple)] | None = None

    @field_validator(
        "hidden",
        "activation",
        "optimizer",
        "learning_rate",
        "rehearsal",
        "knots",
        "class_weight",
        "target_transform",
    )
    @classmethod
    def _check_rules(cls, values: Any, info: Any) -> Any:
        if values == ():
            # The default population would learn, and not what somebody may have meant by it.
            none = ", or 'linear' for none" if info.field_name == "hidden" else ""
            raise ConfigurationError(f"{info.field_name} is [], but must list what to try{none}")
        for value in values or ():
            _build_candidate(
                {info.field_name: _parse_layers(value) if info.field_name == "hidden" else value}
            )
        return values
