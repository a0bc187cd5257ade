"""The notebooks of examples/ run in a kernel of Jupyter, and show what a reader should see."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode, read, validate
from nbformat.v4 import new_code_cell

from tests.processes import environment
from tests.test_examples import FOLDER, REPOSITORY

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LONGEST = 200  # seconds; a few, and more where kernels have to be compiled first

pytestmark = [
    pytest.mark.timeout(LONGEST + 60),
    pytest.mark.filterwarnings("ignore"),  # of the clients of Jupyter
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[NotebookNode]]:
    """Outputs by notebook; all run in one kernel, where each starts without names."""
    cells: list[NotebookNode] = []
    ends = {}
    for path in NOTEBOOKS:
        cells.append(new_code_cell("%reset -f"))
        cells += read(path, as_version=4).cells
        ends[path.name] = len(cells)
    notebook = read(NOTEBOOKS[0], as_version=4)
    notebook.cells = cells
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    folder = str(tmp_path_factory.mktemp("jupyter"))
    folders = dict.fromkeys(("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"), folder)
    search = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    client = NotebookClient(
        notebook, timeout=LONGEST, resources={"metadata": {"path": str(FOLDER)}}
    )
    client.execute(env=environment(PYTHONPATH=search, **folders))
    outputs, start = {}, 0
    for name, end in ends.items():
        outputs[name] = [one for cell in cells[start:end] for one in cell.get("outputs", ())]
        start = end
    return outputs


def texts(outputs: list[NotebookNode]) -> str:
    """What is printed and shown as text."""
    return "\n".join(
        output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs
    )


def shown(outputs: list[NotebookNode], kind: str) -> list[Any]:
    """All that is shown in some form, such as ``text/html``."""
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


def test_each_notebook_has_a_test() -> None:
    tested = set(re.findall(r'"(\w+\.ipynb)"', Path(__file__).read_text("utf-8")))
    assert {path.name for path in NOTEBOOKS} == tested


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    notebook = read(path, as_version=4)
    validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(cells) >= 5
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
    assert notebook.cells[0].source.startswith("# ")


def test_the_first_steps_show_scores_plots_and_a_model(found: Any) -> None:
    outputs = found["11_first_steps.ipynb"]
    text = texts(outputs)
    assert "8000/8000" in text  # the bar
    assert "IProgress" not in text
    report = shown(outputs, "text/html")[0]
    assert "<svg" in report
    assert "leader board" in report
    assert len(shown(outputs, "image/png")) == 3
    probabilities = [float(p) for p in re.findall(r"K': ([\d.]+)", text)]
    assert sum(probabilities) == pytest.approx(1.0, abs=0.01)


def test_estimators_are_as_good_as_those_of_scikit_learn(found: Any) -> None:
    outputs = found["12_scikit_learn.ipynb"]
    text = texts(outputs)
    assert "6000/6000" in text
    served, majority = (float(x) for x in re.findall(r"\d\.\d+", text.split("\n(")[1])[:2])
    assert served > majority + 0.07
    linear, ours = (
        float(re.findall(rf"{name}: ([\d.]+)", text)[0])
        for name in ("SGDClassifier", "OnlineClassifier")
    )
    assert ours > linear - 0.01 > 0.95
    assert any("<svg" in html for html in shown(outputs, "text/html"))


def test_drift_is_noticed_and_late_labels_cost_what_is_said(found: Any) -> None:
    outputs = found["13_river_drift_and_late_labels.ipynb"]
    text = texts(outputs)
    lines = re.findall(r"^(.+): Accuracy: ([\d.]+)%", text, re.MULTILINE)
    scores = {name: float(score) for name, score in lines}
    assert max(scores, key=lambda name: scores[name]) == "streamnet"
    drift = re.findall(r"│ (\d+) +┆ (\d+) +┆ ([\d.]+) +┆ ([\d.]+)", text)
    assert any(1500 < int(number) < 1700 for number, *_ in drift)
    late = [float(x) for x in re.findall(r"samples late: accuracy ([\d.]+)", text)]
    assert late[0] > late[1] > late[2]


def test_explanations_and_models_in_mlflow(found: Any) -> None:
    outputs = found["14_explanations_and_tracking.ipynb"]
    text = texts(outputs)
    assert "the champion is" in text
    assert len(shown(outputs, "image/png")) == 2
    table = dict(re.findall(r"│ (\d+)\.0 +┆ [\d.]+ +┆ ([\d.]+)", text))
    assert float(table["17"]) > 2 * float(table["3"])  # more bicycles after work than at night
    assert re.search(r"array\(\[[\d., ]+\]\)", text)
