from __future__ import annotations

from typing import Any

import pytest

from streamnet.errors import ConfigurationError, SchemaError
from streamnet.samples import Field, Kind, Schema, Task
from streamnet.sources.columns import Columns


def schema(columns: Columns, *names: str) -> Schema:
    return columns.build_schema("f.csv", names, lambda _: Kind.NUMBER)


def test_every_column_but_the_target_is_a_feature_unless_dropped() -> None:
    found = schema(Columns(target="y", drop=("b",), kinds={"c": Kind.CATEGORY}), *"abcy")
    assert found.fields == (Field("a", Kind.NUMBER), Field("c", Kind.CATEGORY))
    assert (found.target, found.task) == ("y", Task.CLASSIFICATION)


@pytest.mark.parametrize(
    ("columns", "asked"),
    [
        (Columns(target="ag"), "--target or source.target"),
        (Columns(drop=("ag",)), "--drop or source.drop"),
        (Columns(kinds={"ag": Kind.TEXT}), "--kind or source.kinds"),
    ],
)
def test_an_unknown_column_is_named_with_those_that_exist(columns: Columns, asked: str) -> None:
    with pytest.raises(SchemaError) as caught:
        schema(columns, "age", "job")
    message = str(caught.value)
    assert message == (
        f"f.csv has no column 'ag' (asked for by {asked}), but only 'age', 'job'. "
        "Did you mean 'age'?"
    )


def test_a_name_that_differs_in_capitals_is_suggested() -> None:
    with pytest.raises(SchemaError, match=r"Did you mean 'y'\?"):
        schema(Columns(target="Y"), "a", "y")
    with pytest.raises(SchemaError, match=r"Did you mean 'INCOME'\?"):
        schema(Columns(target="incom"), "age", "INCOME")


def test_an_optional_target_may_be_absent() -> None:
    assert schema(Columns(target="y", target_optional=True), "a").target is None
    assert schema(Columns(target="y", target_optional=True), "a", "y").target == "y"
    assert schema(Columns(), "a", "y").target is None


def test_a_known_schema_is_kept_whatever_the_values_suggest() -> None:
    known = Schema((Field("b", Kind.CATEGORY), Field("a", Kind.TEXT)), "y", Task.REGRESSION)
    columns = Columns(schema=known, target_optional=True)
    assert schema(columns, "a", "b", "c", "y") == known
    assert schema(columns, "a", "b").fields == known.fields
    with pytest.raises(SchemaError, match="no column 'b'"):
        schema(columns, "a")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": 0}, "head is 0, but must be >= 1"),
        ({"most_fields": 0}, "most_fields is 0, but must be >= 1"),
        ({"target": "y", "drop": ("y",)}, "drop has 'y', but that is the target"),
        ({"target": "y", "kinds": {"y": Kind.TEXT}}, "kinds has 'y', but that is the target"),
        ({"drop": ("a",), "kinds": {"a": Kind.TEXT}}, "kinds has 'a', but that is dropped"),
        ({"task": "zz"}, "task is 'zz', but must be one of classification, regression"),
        ({"kinds": {"a": "color"}}, "kinds has 'color' for 'a', but must be one of"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Columns(**settings)


@pytest.mark.parametrize("target", ["b", "last"])
def test_an_input_of_a_model_can_not_be_its_target(target: str) -> None:
    known = Schema((Field("a", Kind.NUMBER), Field("b", Kind.CATEGORY)), target, Task.REGRESSION)
    with pytest.raises(ConfigurationError, match="target is 'b', but that is an input of the mod"):
        Columns(schema=known).with_target("b")


def test_a_task_may_be_given_as_text() -> None:
    text: Any = "regression"
    assert Columns(task=text).task is Task.REGRESSION


def test_many_columns_are_not_all_listed() -> None:
    with pytest.raises(SchemaError, match="and 60 more"):
        schema(Columns(target="y"), *(f"c{n}" for n in range(100)))
