"""``streamnet import`` and ``streamnet export``: models from and to gopher-neural."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from streamnet.modelfiles import Model
from tests.cli.invocation import Cli
from tests.networks import gopher


def before() -> Path:
    path = Path("gopher.json")
    path.write_text(json.dumps(gopher.golden()["before"]))
    return path


def test_a_network_is_imported_with_names_and_exported_to_the_last_digit(cli: Cli) -> None:
    outcome = cli("import", before(), "--model", "m.safetensors", "--names", "a, b,c,d,e,f,g,h")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    model = Model.load("m.safetensors")
    assert [field.name for field in model.fields] == list("abcdefgh")
    assert cli("export", "m.safetensors", "--to", "out.json").code == 0
    out = json.loads(Path("out.json").read_text())
    assert out["Weights"] == gopher.golden()["before"]["Weights"]


def test_a_replay_goes_on_from_what_was_imported(cli: Cli) -> None:
    X, Y = gopher.stream(8, 1, 300)
    rows = [",".join(map(repr, (*x, *y))) for x, y in zip(X, Y, strict=True)]
    Path("s.csv").write_text("\n".join(["a,b,c,d,e,f,g,h,y", *rows]) + "\n")
    names = "a,b,c,d,e,f,g,h"
    common = ("--model", "m.json", "--names", names, "--learning-rate", "0.5")
    assert cli("import", before(), *common).code == 0
    outcome = cli(
        "replay", "s.csv", "--target", "y", "--start", "m.json", "--serve", "champion",
        "--model", "after.json", "--quiet",
    )  # fmt: skip
    assert (outcome.code, outcome.err) == (0, "")
    reference = gopher.Gopher(gopher.golden()["before"]["Weights"])
    for x, y in zip(X, Y, strict=True):
        reference.learn(x, y, 0.5)
    after = Model.load("after.json").neural_network()
    for mine, theirs in zip(after.weights, reference.weights, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12)


def test_what_can_not_be_exported_is_told_with_all_reasons(cli: Cli, model: Path) -> None:
    outcome = cli("export", model, "--to", "out.json")
    assert outcome.code == 2
    assert "the model is more than one network: it has" in outcome.err
    assert "it scales its inputs" in outcome.err
    assert not Path("out.json").exists()


def test_a_damaged_file_is_told_with_its_place(cli: Cli) -> None:
    Path("bad.json").write_text('{"Enters":2,"Weights":[[[1]]]}')
    outcome = cli("import", "bad.json", "--model", "m.json")
    assert outcome.code == 1
    assert "bad.json: Weights[0][0] has 1 weights, but must have 2" in outcome.err
    assert not Path("m.json").exists()


def test_a_file_that_gopher_neural_can_not_have_written_is_told(cli: Cli, model: Path) -> None:
    Path("ok.csv").write_text("a,b\n1,2\n")
    Path("cut.json").write_text('{"Enters":2,"Weigh')
    for file in ("ok.csv", "cut.json", model):
        outcome = cli("import", file, "--model", "m.json")
        assert outcome.code == 1
        assert f"{file} is damaged or no JSON file of gopher-neural, go-neural" in outcome.complaint


def test_wrong_options_are_refused(cli: Cli) -> None:
    path = before()
    for options, message in (
        (("--model", "m.txt"), "must end in .safetensors or .json"),
        (("--model", path), "that is the file to import"),
        (("--model", "m.json", "--names", "a,b"), "names has 2 distinct names, but must have 8"),
        (("--model", "m.json", "--learning-rate", "-1"), "learning_rate is -1.0, but must be > 0"),
    ):
        outcome = cli("import", path, *options)
        assert outcome.code == 2
        assert message in outcome.err
    assert "that is the model" in cli("export", path, "--to", path).err
