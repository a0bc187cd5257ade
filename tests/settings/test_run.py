"""Run files: values, overrides and error messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.errors import ConfigurationError
from streamnet.samples import Kind, Task
from streamnet.settings.brokers import BROKERS
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.fields import list_settings
from streamnet.settings.run import Format, RunSettings, Section, apply_overrides, load, parse
from streamnet.sources.files.registry import FORMATS
from tests.settings import run_file_example

CONFIG = Path(__file__).parents[2] / "config"
WHOLE = CONFIG / "replay.toml"
KINDS = "'number', 'id', 'time', 'day_first', 'month_first', 'category' or 'text'"


def error_of(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "run.toml")
    return str(caught.value)


RUN_FILES = sorted(set(CONFIG.glob("*.toml")) - set(CONFIG.glob("serve*.toml")))  # of a daemon


@pytest.mark.parametrize("path", RUN_FILES, ids=lambda path: path.name)
def test_an_example_run_file_loads_and_its_data_exists(path: Path) -> None:
    settings = load(path)
    assert settings.source.files or settings.source.broker == path.stem
    assert all((CONFIG.parent / file).is_file() for file in settings.source.files)


def test_the_example_of_all_keys_has_every_key() -> None:
    def unset(section: Section) -> list[str]:
        return [name for name in type(section).model_fields if name not in section.model_fields_set]

    settings = load(WHOLE)
    candidates = settings.population.candidate
    assert candidates
    sections = [section for _, section in settings] + [settings, candidates[0]]
    left_out = [name for section in sections for name in unset(section)]
    # A query stands in place of files; streams of messages have examples of their own, and sinks
    # must be there; beside a start no network may be described; times, weights, ids and keys
    # must be columns of the data, and only keys have partitions; and the example is no forecast.
    without_value = ["start", "time", "label_time", "horizon", "key", "partition"]
    sent = ["champions", "send_models", "events"]
    names = ["query", "order_by", *BROKERS, "weight", "id", *without_value, *sent]
    assert left_out == names
    assert all(f"\n# {name} = " in WHOLE.read_text() for name in left_out)


@pytest.mark.parametrize("broker", BROKERS)
def test_the_example_of_a_broker_has_every_key(broker: str) -> None:
    text = (CONFIG / f"{broker}.toml").read_text()
    table = text.partition(f"[source.{broker}]\n")[2].partition("\n[")[0]
    lines = table.splitlines()
    for name in list_settings(BROKERS[broker]):
        assert sum(line.startswith((f"{name} = ", f"# {name} = ")) for line in lines) == 1, name


def test_the_example_of_all_keys_has_a_comment_for_each() -> None:
    lines = WHOLE.read_text().splitlines()
    blocks = "\n".join(lines).split("[[population.candidate]]")
    for block in (*blocks[:2], blocks[2].split("[evaluation]")[1]):
        explained = False
        for line in block.splitlines():
            if line.startswith("#"):
                explained = True
            elif not line.strip() or line.startswith("["):
                explained = False
            else:
                assert explained, line


@pytest.mark.parametrize("path", run_file_example.PATHS, ids=lambda path: path.name)
def test_the_comments_of_the_examples_are_the_descriptions_of_the_settings(path: Path) -> None:
    text = path.read_text()
    assert text == run_file_example.render(text), "python -m tests.settings.run_file_example"


def test_an_empty_file_sets_nothing() -> None:
    settings = parse("")
    assert settings == RunSettings()
    assert [section.to_kwargs() for _, section in settings] == [{}] * 11


def test_values_arrive_as_the_types_of_the_package() -> None:
    settings = parse(
        """
        [source]
        files = "a.csv"
        task = "regression"
        kinds = { "zip code" = "category" }
        max_rejected = 1
        """
    )
    assert settings.source.files == ("a.csv",)
    assert settings.source.task is Task.REGRESSION
    assert settings.source.kinds == {"zip code": Kind.CATEGORY}
    assert isinstance(settings.source.max_rejected, float)


def test_a_single_value_stands_for_a_list_of_one() -> None:
    population = parse(
        "[population]\nhidden = '64-32'\nlearning_rate = 1\nrehearsal = 2\nknots = 9"
        "\nclass_weight = 0.5\ntarget_transform = 'log'"
    ).population
    assert population.to_kwargs() == {
        "hidden": ("64-32",),
        "learning_rate": (1.0,),
        "rehearsal": (2,),
        "knots": (9,),
        "class_weight": (0.5,),
        "target_transform": ("log",),
    }


def test_settings_cannot_be_changed() -> None:
    settings = parse("run.seed = 1")
    with pytest.raises(ValueError, match="frozen"):
        settings.run.seed = 2  # type: ignore[misc]


def test_a_candidate_table_keeps_the_defaults_of_candidate_settings() -> None:
    (table,) = parse("population.candidate = {}").population.candidate or ()
    assert table.build() == CandidateSettings()
    (table,) = parse("[[population.candidate]]\nhidden = [3, 4]").population.candidate or ()
    assert table.build() == CandidateSettings(hidden=(3, 4))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip = 0.5", "encoder.clip is 0.5, but must be >= 1"),
        ("max_words = 0", "encoder.max_words is 0, but must be >= 1"),
        ("max_words = 2.5", "encoder.max_words is 2.5, but must be a whole number"),
        ("text = 'word'", "encoder.text is 'word', but must be 'words', 'tokens'"),
        ("scalings = { 'a b' = 'all' }", "encoder.scalings.\"a b\" is 'all', but must be"),
        ("scalings = 'rank'", "encoder.scalings is 'rank', but must be a table"),
        ("scale = 'rank'", "encoder.scale is not a known key; did you mean 'scaling'?"),
    ],
)
def test_a_wrong_encoder_setting_is_an_error(text: str, message: str) -> None:
    assert error_of(f"[encoder]\n{text}").startswith(f"run.toml:2: {message}")


def test_one_activation_applies_to_all_layers() -> None:
    text = "[[population.candidate]]\nhidden = [3, 4]\nactivation = {}"
    for activation in ('"relu"', '["relu"]', '["relu", "relu"]'):
        (table,) = parse(text.format(activation)).population.candidate or ()
        assert table.build().activations == ("relu", "relu")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("evaluation.window = 0", "evaluation.window is 0, but must be >= 1"),
        ("evaluation.fading = 0", "evaluation.fading is 0, but must be > 0"),
        ("evaluation.fading = nan", "evaluation.fading is nan, but must be a finite number"),
        ("source.max_rejected = 1.5", "source.max_rejected is 1.5, but must be <= 1"),
        ("source.delimiter = ';;'", "source.delimiter is ';;', but must be a single character"),
        (
            "source.target = ''",
            "source.target is '', but must be the name of a column, or a list of names",
        ),
        (
            "source.target = 3",
            "source.target is 3, but must be the name of a column, or a list of names",
        ),
        ("source.header = 'no'", "source.header is 'no', but must be true or false"),
        ("source.files = 1979-05-27", "source.files is 1979-05-27, but must be a list"),
        ("source.files = ['a', 3]", "source.files[1] is 3, but must be text in quotes"),
        ("source.kinds = 'text'", "source.kinds is 'text', but must be a table"),
        ("source = 3", "source is 3, but must be a table"),
        ("run.seed = 1.0", "run.seed is 1.0, but must be a whole number"),
        ("run.seed = true", "run.seed is true, but must be a whole number"),
        ("run.seed = -1", "run.seed is -1, but must be >= 0"),
        (f"run.seed = {2**64}", f"run.seed is {2**64}, but must be <= {2**64 - 1}"),
        ("selection.margin = '1'", "selection.margin is '1', but must be a number"),
        (
            "source.task = 'regresion'",
            "source.task is 'regresion', but must be 'classification' or 'regression'",
        ),
        (
            "source.kinds.'zip code' = 'txt'",
            f"source.kinds.\"zip code\" is 'txt', but must be {KINDS}",
        ),
        (
            "population.dtype = 'float16'",
            "population.dtype is 'float16', but must be 'float32' or 'float64'",
        ),
        (
            "population.candidate = [{}, { learning_rate = 0 }]",
            "population.candidate[1].learning_rate is 0, but must be > 0",
        ),
        (
            "population.learning_rate = [0.1, -1]",
            "population.learning_rate[1] is -1, but must be > 0",
        ),
        (
            "population.hidden = '20x'",
            "population.hidden is '20x', but must be like 20, 64-32 or linear",
        ),
        ("run.sed = 1", "run.sed is not a known key; did you mean 'seed'?"),
        ("source.seed = 1", "source.seed is not a known key; did you mean run.seed?"),
        (
            "source.hidden = '20'",
            "source.hidden is not a known key; did you mean population.hidden?",
        ),
        ("windw = 1", "windw is not a known key; did you mean evaluation.window?"),
        (
            "run.zzz = 1",
            (
                "run.zzz is not a known key; known here: seed, block_size, threads, shards, "
                "shard_executor, round_size"
            ),
        ),
        (
            "population.candidate = { hiden = [3] }",
            "population.candidate.hiden is not a known key; did you mean 'hidden'?",
        ),
    ],
)
def test_an_error_names_line_key_value_and_rule(text: str, message: str) -> None:
    assert error_of(f"# a comment\n{text}") == f"run.toml:2: {message}"


def test_all_errors_are_reported_at_once_in_the_order_of_the_file() -> None:
    text = """
        [output]
        model = ""

        [[population.candidate]]
        [[population.candidate]]
        hidden = [
            32,
            0,
        ]
        optimizer = "adamm"
        momentum = 1.0

        [run] # hidden = [] is not a header
        seed = "a # b [source]"
        threads = 0
        """
    lines = error_of(text).splitlines()
    assert [line.split(" ")[0] + line.split(" ")[1] for line in lines] == [
        "run.toml:3:output.model",
        "run.toml:7:population.candidate[1].hidden[1]",
        "run.toml:11:population.candidate[1].optimizer",
        "run.toml:12:population.candidate[1].momentum",
        "run.toml:15:run.seed",
        "run.toml:16:run.threads",
    ]


def test_contradictory_keys_of_a_candidate_are_an_error() -> None:
    text = "[[population.candidate]]\nloss = 'huber'\noutput = 'softmax'"
    assert error_of(text) == (
        "run.toml:2: population.candidate[0].loss is 'huber', but output 'softmax' needs "
        "cross_entropy"
    )


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[run]\nseed 1", "run.toml:2:6: not valid TOML: "),
        ("run.seed = 1\nrun.seed = 2", "run.toml:2:13: not valid TOML: "),
        ("[run]\nseed = ", "run.toml:2:8: not valid TOML: "),
        ("a = " + "[" * 5000, "run.toml: lists or tables are nested too deeply"),
        ("a = " + "9" * 5000, "run.toml: not valid TOML: "),
    ],
    ids=["syntax", "twice", "end", "deep", "long"],
)
def test_a_syntax_error_names_line_and_column(text: str, place: str) -> None:
    assert error_of(text).startswith(place)


def test_a_very_large_number_is_not_printed() -> None:
    assert "is a very large number, but" in error_of(f"run.seed = 0x{'f' * 5000}")


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"a = 1\n\xff")
    for path in (tmp_path / "absent.toml", tmp_path, binary):
        with pytest.raises(ConfigurationError) as caught:
            load(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(b"\xef\xbb\xbf[run]\r\nseed = 3\r\n")
    assert load(path).run.seed == 3


def test_the_command_line_overrides_the_file() -> None:
    settings = parse("[run]\nseed = 1\nthreads = 2\n[source]\nfiles = ['a']\nkinds = {x = 'text'}")
    changed = apply_overrides(
        settings,
        {"run.seed": 5, "run.threads": None, "source.files": ["b"], "source.kinds.y": "number"},
    )
    assert (changed.run.seed, changed.run.threads) == (5, 2)
    assert changed.source.files == ("b",)
    assert changed.source.kinds == {"x": Kind.TEXT, "y": Kind.NUMBER}
    assert settings.run.seed == 1
    assert settings.source.kinds == {"x": Kind.TEXT}


def test_overriding_nothing_changes_nothing() -> None:
    settings = load(WHOLE)
    same = apply_overrides(settings, {})
    assert same == settings
    assert same.model_fields_set == settings.model_fields_set


def test_an_error_in_an_override_names_its_origin() -> None:
    with pytest.raises(ConfigurationError) as caught:
        apply_overrides(parse(""), {"run.seed": -1, "evaluation.windw": 3}, "test")
    assert str(caught.value).splitlines() == [
        "test: evaluation.windw is not a known key; did you mean 'window'?",
        "test: run.seed is -1, but must be >= 0",
    ]
    with pytest.raises(ConfigurationError, match=r"^run\.seed\.x is not a known key"):
        apply_overrides(parse("run.seed = 1"), {"run.seed.x": 1})


def test_an_error_in_an_override_uses_its_display_name() -> None:
    called = {"run.seed": "--seed", "source.kinds": "--kind", "population.hidden": "--hidden"}
    overrides = {"run.seed": -1, "source.kinds.a": "x", "population.hidden": ["1", "y"]}
    with pytest.raises(ConfigurationError) as caught:
        apply_overrides(parse(""), overrides, called=called)
    assert str(caught.value).splitlines() == [
        "--hidden is 'y', but must be like 20, 64-32 or linear",
        f"--kind (a) is 'x', but must be {KINDS}",
        "--seed is -1, but must be >= 0",
    ]


def test_the_formats_of_a_run_file_are_those_that_can_be_read() -> None:
    assert get_args(Format) == tuple(FORMATS)


SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.dates()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)
KEYS = st.sampled_from(
    [
        f"{name}.{key}"
        for name, field in RunSettings.model_fields.items()
        for key in type(field.default).model_fields
    ]
)


@given(st.dictionaries(KEYS | st.text(max_size=6), VALUES, max_size=4))
def test_any_values_are_settings_or_one_clear_error(overrides: dict[str, Any]) -> None:
    settings, message = RunSettings(), ""
    try:
        settings = apply_overrides(settings, overrides, "command line")
    except ConfigurationError as error:
        message = str(error)
    if message:
        assert all(line.startswith("command line: ") for line in message.split("\n"))
    else:
        assert apply_overrides(settings, {}) == settings


@given(st.text(st.sampled_from("a.=[]{}\"'#\n ,1\\"), max_size=40))
def test_any_text_is_settings_or_one_clear_error(text: str) -> None:
    try:
        settings, message = parse(text, "run.toml"), "run.toml:"
    except ConfigurationError as error:
        settings, message = RunSettings(), str(error)
    assert settings == RunSettings()
    assert message.startswith("run.toml:")
