"""Declared settings: everything derived from them has the same names, types, defaults and texts."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from inspect import signature
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from annotated_types import Ge

from streamnet import KeyedClassifier, KeyedRegressor, OnlineClassifier, OnlineRegressor, replay
from streamnet.cli.options import PopulationOptions
from streamnet.engine import Engine
from streamnet.errors import ConfigurationError
from streamnet.features import Encoder
from streamnet.learning import Learner
from streamnet.online import AutoEncoder
from streamnet.pipeline import Pipeline, State
from streamnet.settings import keywords
from streamnet.settings.brokers import (
    KafkaSettings,
    LoginSettings,
    MessageSettings,
    MqttSettings,
    NatsSettings,
    RedisSettings,
)
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.encoder import AutoEncoderSettings, EncoderSettings, Scaling, TextMode
from streamnet.settings.engine import EngineSettings
from streamnet.settings.execution import ExecutionSettings, FleetSettings, SweepSettings
from streamnet.settings.fields import Settings, declare, list_settings, parse_arguments
from streamnet.settings.learning import (
    CRITERION_TASKS,
    GRID,
    Criterion,
    EvaluationSettings,
    Grid,
    KeySettings,
    LearningSettings,
    PopulationSettings,
    SearchSettings,
    SelectionSettings,
    check_criterion,
)
from streamnet.settings.run import (
    CandidateTable,
    OutputSettings,
    PopulationSection,
    SourceSettings,
    StateSettings,
)
from streamnet.sources import Columns
from streamnet.sources.text.records import MAX_RECORD_BYTES
from tests.conftest import REPOSITORY

RUN_FILE = (
    SourceSettings,
    ExecutionSettings,
    FleetSettings,
    EncoderSettings,
    PopulationSettings,
    Grid,
    KeySettings,
    LearningSettings,
    SearchSettings,
    OutputSettings,
    StateSettings,
)
OF_OWNERS = {"owners", "owner_executor"}
OWNERS: list[tuple[Callable[..., Any], tuple[type, ...], set[str]]] = [
    (Encoder, (EncoderSettings,), set()),
    (Learner, (LearningSettings,), set()),
    (Pipeline, (LearningSettings,), set()),
    (OnlineClassifier, (LearningSettings,), {"label_delay", *list_settings(KeySettings)}),
    (OnlineRegressor, (LearningSettings,), {"label_delay", *list_settings(KeySettings)}),
    (KeyedClassifier, (LearningSettings,), {"label_delay"}),
    (KeyedRegressor, (LearningSettings,), {"label_delay"}),
    (AutoEncoder, (AutoEncoderSettings,), {"inputs"}),
    (Engine, (EngineSettings,), set()),
    (replay, RUN_FILE, {"files", "dir", "target", *OF_OWNERS}),
]


@pytest.mark.parametrize(
    ("owner", "groups", "without"), OWNERS, ids=[owner.__name__ for owner, *_ in OWNERS]
)
def test_keyword_arguments_have_the_declared_defaults_and_descriptions(
    owner: Callable[..., Any], groups: tuple[type, ...], without: set[str]
) -> None:
    parameters, docs = signature(owner).parameters, parse_arguments(owner)
    assert not [p for p in parameters.values() if p.kind is p.VAR_KEYWORD]
    declared = {d.name: d for group in groups for d in list_settings(group).values()}
    for name in declared.keys() - without:
        assert parameters[name].default == declared[name].default
        assert docs[name] == declared[name].doc


def as_argument(hint: Any, *, listed: bool = False) -> Any:
    """The type of an argument that a declared type stands for."""
    origin, options = get_origin(hint), get_args(hint)
    if origin is Annotated:
        marks = [type(mark).__name__ for mark in options[1:]]
        return as_argument(options[0], listed=listed or "Listed" in marks)
    if origin in (Union, UnionType):
        return Union[tuple(as_argument(option, listed=listed) for option in options)]  # noqa: UP007
    if origin is tuple:
        item = as_argument(options[0])
        return Sequence[item] | item if listed else Sequence[item]  # type: ignore[valid-type]
    if origin is Mapping:
        return Mapping[str, as_argument(options[1])]  # type: ignore[misc]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint | str
    if hint is CandidateSettings:
        return Mapping[str, Any]
    if isinstance(hint, type) and issubclass(hint, Settings):
        return getattr(keywords, hint.__name__.replace("Settings", "Keywords"))
    return hint


UNSPECIFIED = {"missing", "drop", "kinds", "drift"}  # whose declared default is None
PATHS = {"model", "predictions", "report", "dead_letters", "start"}


@pytest.mark.parametrize(
    ("written", "groups", "without"),
    [
        (keywords.AutoEncoderKeywords, (AutoEncoderSettings,), set()),
        (keywords.EncoderKeywords, (EncoderSettings,), set()),
        (keywords.LearningKeywords, (LearningSettings,), set()),
        (keywords.SearchKeywords, (SearchSettings,), set()),
        (keywords.EngineKeywords, (EngineSettings,), {"encoder"}),
        (keywords.MessageKeywords, (MessageSettings,), set()),
        (keywords.LoginKeywords, (LoginSettings,), set()),
        (keywords.KafkaKeywords, (KafkaSettings,), set()),
        (keywords.RedisKeywords, (RedisSettings,), set()),
        (keywords.NatsKeywords, (NatsSettings,), set()),
        (keywords.MqttKeywords, (MqttSettings,), set()),
        (keywords.SweepKeywords, (SweepSettings,), set()),
        (keywords.ReplayKeywords, RUN_FILE, {"files", "dir", "target", *OF_OWNERS}),
        (keywords.FleetKeywords, RUN_FILE, {"files", "dir", "target"}),
    ],
)
def test_keywords_for_type_checkers_equal_the_declarations(
    written: type, groups: tuple[type, ...], without: set[str]
) -> None:
    hints = get_type_hints(written)
    declared = {d.name: d for group in groups for d in list_settings(group).values()}
    assert hints.keys() - {"encoder"} == declared.keys() - without
    for name in declared.keys() - without - PATHS:
        assert hints[name] == as_argument(declared[name].hint), name


def test_a_grid_and_its_options_follow_the_settings_of_candidates() -> None:
    marked = [d.name for d in list_settings(CandidateSettings).values() if d.setting.grid]
    assert list(GRID) == marked
    assert set(marked) <= set(PopulationSection.model_fields)
    assert {f"population.{name}" for name in marked} <= PopulationOptions.list_flags().keys()
    assert list(CandidateTable.model_fields) == list(list_settings(CandidateSettings))


def test_names_of_enumerations_are_those_of_the_settings() -> None:
    hints = get_type_hints(EncoderSettings)
    assert get_args(hints["scaling"]) == tuple(Scaling)
    assert get_args(hints["text"]) == (*TextMode, "auto")
    assert {check_criterion(name) for name in get_args(Criterion)} == set(CRITERION_TASKS)


def test_a_declared_setting_is_checked_and_documented() -> None:
    @declare
    class Toy(Settings):
        """Settings of a toy.

        Args:
            size: Size of
                the toy.
            color: Its color.
        """

        size: Annotated[int, Ge(1)] = 3
        color: Literal["red", "blue"] = "red"

    declaration = Toy.__annotations__, parse_arguments(Toy)
    assert declaration[1] == {"size": "Size of the toy.", "color": "Its color."}


def test_a_setting_without_a_description_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"Undescribed\.size is not described in its docstring"):

        @declare
        class Undescribed(Settings):
            """Settings without Args."""

            size: int = 3


TABLES: dict[str, type] = {
    "[run]": ExecutionSettings,
    "[encoder]": EncoderSettings,
    "[encoder.autoencoder]": AutoEncoderSettings,
    "[[population.candidate]]": CandidateSettings,
    "[evaluation]": EvaluationSettings,
    "[selection]": SelectionSettings,
    "[search]": SearchSettings,
    "[state]": StateSettings,
}
TEXT = (REPOSITORY / "config" / "replay.toml").read_text()


def comment_above(key: str, table: str) -> str:
    """The comment that a key shares with the keys between it and the key."""
    lines = table[: re.search(rf"^{key} = ", table, re.MULTILINE).start()].splitlines()  # type: ignore[union-attr]
    while lines and not lines[-1].startswith("#"):
        lines.pop()
    return "".join(lines[-4:])


@pytest.mark.parametrize("name", TABLES)
def test_the_example_of_all_keys_states_each_default_that_it_does_not_show(name: str) -> None:
    table = TEXT.partition(f"\n{name}\n")[2].partition("\n[")[0]
    declared = list_settings(TABLES[name])
    for key, shown in tomllib.loads(table).items():
        default = declared[key].default
        if key != "dir" and default != (tuple(shown) if isinstance(shown, list) else shown):
            stated = "default" in comment_above(key, table)
            assert stated or (default, shown) == (None, {}), key


@pytest.mark.parametrize(
    ("component", "declared"),
    [(State, StateSettings), (Pipeline, ExecutionSettings), (Columns, SourceSettings)],
)
def test_components_have_the_declared_defaults(
    component: Callable[..., Any], declared: type
) -> None:
    parameters = signature(component).parameters
    common = parameters.keys() & list_settings(declared).keys() - UNSPECIFIED
    assert common
    for name in common:
        assert parameters[name].default == list_settings(declared)[name].default, name


def test_records_of_text_have_the_declared_size() -> None:
    assert list_settings(SourceSettings)["max_record_bytes"].default == MAX_RECORD_BYTES


def test_rules_read_the_same_in_constructors_and_run_files() -> None:
    with pytest.raises(ConfigurationError, match=r"^window is 0, but must be >= 1$"):
        LearningSettings(window=0)
    with pytest.raises(ConfigurationError, match=r"^replay\(\): window is 0, but must be >= 1$"):
        replay("absent.csv", **{"evaluation.window": 0})  # type: ignore[arg-type]
