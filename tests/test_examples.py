"""Each example runs as a reader would run it, and what it prints makes its point."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import environment

REPOSITORY = Path(__file__).parent.parent
FOLDER = REPOSITORY / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))
MOST_LINES = 59
LONGEST = 240  # seconds; it takes a few, and more where kernels have to be compiled first

pytestmark = pytest.mark.timeout(LONGEST + 30)


def output_of(name: str, folder: Path) -> str:
    """What an example prints that is run in ``folder``, which it has to leave empty."""
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, str(FOLDER / name)],
        cwd=folder,
        env=environment(PYTHONPATH=path, PYTHONIOENCODING="utf-8"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=LONGEST,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in folder.iterdir()] == []
    return done.stdout


def number_at(pattern: str, text: str) -> float:
    """The one number that ``pattern`` finds, with thousands separated by commas."""
    (found,) = re.findall(pattern, text, re.MULTILINE)
    return float(found.replace(",", ""))


def test_each_example_has_a_test() -> None:
    tested = set(re.findall(r'"(\w+\.py)"', Path(__file__).read_text("utf-8")))
    assert EXAMPLES
    assert {path.name for path in EXAMPLES} == tested


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_says_how_to_run_it(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert f"Run it: python examples/{path.name}" in (ast.get_docstring(ast.parse(text)) or "")


def test_replaying_a_file_serves_better_than_both_baselines(tmp_path: Path) -> None:
    text = output_of("01_replay_a_file.py", tmp_path)
    served = number_at(r"^ +served +([\d.]+)$", text)
    baselines = [number_at(rf"^ +{name} +([\d.]+)$", text) for name in ("mean", "no_change")]
    assert 0 < served < 0.6 * min(baselines)
    assert number_at(r"^learned ([\d,]+) hours", text) == 17_379
    leaders = re.search(r"three best .*\n((?: +[\d.]+  .+\n){3})", text)
    assert leaders is not None
    assert re.search(r"^the champion at the end: \w+", text, re.MULTILINE)


def test_the_online_classifier_beats_the_majority_and_tells_spam(tmp_path: Path) -> None:
    text = output_of("02_online_classifier.py", tmp_path)
    counts = [int(count) for count in re.findall(r"^(\d),000 messages", text, re.MULTILINE)]
    assert counts == [1, 2, 3, 4, 5]
    shares = [float(share) for share in re.findall(r"messages, ([\d.]+)% named rightly", text)]
    majority = number_at(r"always answering ham .* ([\d.]+)%$", text)
    assert majority + 5 < shares[-1] <= 100
    spam, ham = (float(share) for share in re.findall(r"([\d.]+)% spam: ", text))
    assert spam > 5 * ham


def test_followed_champions_come_in_order_and_learn_the_change(tmp_path: Path) -> None:
    text = output_of("03_follow_champions.py", tmp_path)
    champions = re.findall(r"^sample +([\d,]+): (.+): load 55 is (\w+)$", text, re.MULTILINE)
    numbers = [int(number.replace(",", "")) for number, _, _ in champions]
    assert len(numbers) >= 3
    assert numbers == sorted(numbers)
    assert numbers[-1] == 12_000
    assert (champions[0][2], champions[-1][2]) == ("fine", "hot")
    assert number_at(r"^served accuracy ([\d.]+)%", text) > 95


def test_a_saved_model_answers_like_its_twin_in_json(tmp_path: Path) -> None:
    text = output_of("04_save_and_predict.py", tmp_path)
    sizes = [
        number_at(rf"^income\.{kind}: ([\d,]+) bytes$", text) for kind in ("safetensors", "json")
    ]
    assert 0 < sizes[0] < sizes[1]
    assert number_at(r"^learned ([\d,]+) people", text) == 32_561
    assert re.findall(r"^(\S+) +(\S+) +\d+% sure$", text, re.MULTILINE) == [
        ("Doctorate", ">50K"),
        ("HS-grad", "<=50K"),
    ]
    assert "to the bit: yes\n" in text


def test_sixteen_numbers_tell_spam_and_strange_words_are_unusual(tmp_path: Path) -> None:
    text = output_of("09_text_through_an_autoencoder.py", tmp_path)
    named = number_at(r"^([\d.]+)% named rightly from 16 numbers", text)
    assert named > number_at(r"^([\d.]+)% by always answering ham", text) + 8
    scores = [float(score) for score in re.findall(r"^([+-][\d.]+)  ", text, re.MULTILINE)]
    assert len(scores) == 5
    assert scores[:3] == sorted(scores[:3], reverse=True)
    assert scores[2] > 2
    assert scores[3] < 0 < scores[4]


def test_a_population_of_ones_own_is_ranked_and_serves_better_than_the_mean(tmp_path: Path) -> None:
    text = output_of("05_own_population.py", tmp_path)
    ranked = re.findall(r"^([\d.]+)  (.+ [\d.]+|.+ rehearsal \d+)$", text, re.MULTILINE)
    errors = [float(error) for error, _ in ranked]
    words = [settings for _, settings in ranked]
    assert len(set(words)) == len(words) == 11
    assert errors == sorted(errors)
    assert any(settings.startswith("linear, ") for settings in words)
    assert any("rehearsal 4" in settings for settings in words)
    served, mean = (
        number_at(rf"^([\d.]+)  {name}", text) for name in ("served", "always the mean")
    )
    assert 0 < served < 0.9 * mean
    assert served < errors[len(errors) // 2]


def test_a_network_made_by_hand_tells_what_is_alike(tmp_path: Path) -> None:
    text = output_of("06_network_by_hand.py", tmp_path)
    before = number_at(r"^error before learning: ([\d.]+)$", text)
    after = number_at(r"^error after 3,000 rounds: ([\d.]+)$", text)
    assert after < 0.01 < 0.2 < before
    found = re.findall(r"^(\d) and (\d) are (\w+) \(", text, re.MULTILINE)
    assert found == [
        ("0", "0", "alike"),
        ("0", "1", "different"),
        ("1", "0", "different"),
        ("1", "1", "alike"),
    ]
    assert "layers: 4 x 3, 2 x 4\n" in text
    assert "it answers the same: yes\n" in text


def test_sonar_is_told_from_rocks_on_echoes_that_nobody_has_seen(tmp_path: Path) -> None:
    text = output_of("07_sonar.py", tmp_path)
    honest = number_at(r"^on average: ([\d.]+)$", text)
    flattered = number_at(r"^by gopher's protocol: ([\d.]+)$", text)
    assert honest >= 0.80
    assert flattered >= 0.84
    assert len(re.findall(r"^  [RM](?: +\d+){2}$", text, re.MULTILINE)) == 2


def test_the_quality_of_wines_is_predicted_better_than_by_its_mean(tmp_path: Path) -> None:
    text = output_of("08_wine_quality.py", tmp_path)
    assert number_at(r"^  share of the variance explained ([\d.]+)$", text) >= 0.3
    assert number_at(r"^  root mean squared error ([\d.]+)$", text) <= 0.7
    assert 5 <= number_at(r"^a wine of which four numbers are known: ([\d.]+)$", text) <= 8


def test_sonar_is_learned_one_echo_at_a_time(tmp_path: Path) -> None:
    text = output_of("10_online_sonar.py", tmp_path)
    assert number_at(r"^named rightly before they were learned: ([\d.]+)", text) >= 0.72
    assert number_at(r"^of the last 100: ([\d.]+)$", text) >= 0.82
