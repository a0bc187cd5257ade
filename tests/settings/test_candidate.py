"""Settings of a candidate: their rules and their messages."""

from __future__ import annotations

import pytest

from streamnet.errors import ConfigurationError
from streamnet.samples import Task
from streamnet.settings.candidate import CandidateSettings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden": 8}, "hidden is 8, but must be a list"),
        ({"hidden": (0,)}, r"hidden\[0\] is 0, but must be >= 1"),
        ({"hidden": (4,) * 9}, "but must have at most 8 items"),
        ({"activation": "sine"}, "activation is 'sine', but must be 'identity', 'logistic'"),
        ({"activation": ("tanh", "relu")}, "activation has 2 layers, but hidden has 1"),
        ({"optimizer": "lbfgs"}, "optimizer is 'lbfgs', but must be 'sgd'"),
        ({"schedule": "cosine"}, "schedule is 'cosine'"),
        ({"loss": "hinge"}, "loss is 'hinge'"),
        ({"output": "step"}, "output is 'step'"),
        ({"loss": "cross_entropy", "output": "tanh"}, "needs softmax or logistic"),
        ({"loss": "squared", "output": "softmax"}, "needs cross_entropy"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0, but must be > 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan, but must be a finite number"),
        ({"momentum": 1.0}, "momentum is 1.0, but must be < 1"),
        ({"clip": -1.0}, "clip is -1.0, but must be >= 0"),
        ({"epsilon": 1e-19}, "epsilon is 1e-19, but must be >= 1e-18"),
        ({"epsilon": 1e20}, r"epsilon is 1e\+20, but must be <= 1e\+18"),
        ({"target_transform": "root"}, "target_transform is 'root', but must be 'none' or 'log'"),
        ({"class_weight": 1.5}, "class_weight is 1.5, but must be <= 1"),
        ({"rehearsal": -1}, "rehearsal is -1, but must be >= 0"),
        ({"rehearsal": 10**20}, "rehearsal is 1[0]+, but must be <= 2147483648"),
        ({"early_rehearsal": 10**400}, "early_rehearsal is 1[0]+, but must be <= 2147483648"),
        ({"early_rehearsal": 1.5}, "early_rehearsal is 1.5, but must be a whole number"),
        ({"rehearsal_tolerance": -0.1}, "rehearsal_tolerance is -0.1, but must be >= 0"),
        ({"rehearsal_tolerance": "0"}, "rehearsal_tolerance is '0', but must be a number"),
        ({"hidden": (8.0,)}, r"hidden\[0\] is 8.0, but must be a whole number"),
        ({"knots": 5.0}, "knots is 5.0, but must be a whole number"),
        ({"knots": "5"}, "knots is '5', but must be a whole number"),
        ({"class_weight": None}, "class_weight is None, but must be a number"),
        ({"class_weight": True}, "class_weight is True, but must be a number"),
    ],
)
def test_an_error_names_setting_value_and_rule(values, message) -> None:
    with pytest.raises(ConfigurationError, match=message.replace("(", r"\(")):
        CandidateSettings(**values)


def test_settings_can_be_restored_from_a_dict() -> None:
    settings = CandidateSettings(hidden=(5, 3), activation=("relu", "tanh"), clip=2.0)
    assert CandidateSettings.from_dict(settings.as_dict()) == settings


def test_an_unknown_setting_in_a_dict_is_named() -> None:
    with pytest.raises(ConfigurationError, match="rate is not a known setting"):
        CandidateSettings.from_dict({"rate": 1})


def test_loss_and_output_follow_the_task_unless_given() -> None:
    plain = CandidateSettings()
    assert (plain.loss_for(Task.CLASSIFICATION), plain.output_for(Task.CLASSIFICATION)) == (
        "cross_entropy",
        "softmax",
    )
    assert (plain.loss_for(Task.REGRESSION), plain.output_for(Task.REGRESSION)) == (
        "huber",
        "identity",
    )
    assert CandidateSettings(loss="squared").output_for(Task.CLASSIFICATION) == "logistic"
    assert CandidateSettings(output="tanh").output_for(Task.REGRESSION) == "tanh"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"loss": "cross_entropy"},
            (
                "loss is 'cross_entropy', but for a regression must be "
                "'squared', 'absolute' or 'huber'"
            ),
        ),
        (
            {"output": "softmax"},
            "output is 'softmax', but for a regression must be 'identity', 'logistic', 'tanh' ",
        ),
    ],
)
def test_loss_and_output_for_labels_are_rejected_for_a_regression(values, message) -> None:
    settings = CandidateSettings(**values)
    assert settings.for_task(Task.CLASSIFICATION) == settings
    with pytest.raises(ConfigurationError, match=message):
        settings.for_task(Task.REGRESSION)


@pytest.mark.parametrize("task", Task)
def test_gopher_neurals_networks_suit_every_task(task: Task) -> None:
    assert CandidateSettings.gopher().for_task(task) == CandidateSettings.gopher()


def test_the_description_shows_settings_that_differ_from_the_defaults() -> None:
    settings = CandidateSettings(
        hidden=(64, 32), activation=("relu", "tanh"), schedule="step", decay=0.5, rehearsal=4
    )
    assert settings.describe() == "relu/tanh 64-32, rmsprop 0.01, step 0.5, rehearsal 4"
    assert CandidateSettings(hidden=()).describe() == "linear, rmsprop 0.01"
    others = CandidateSettings(class_weight=0.5, target_transform="log")
    assert others.describe() == "tanh 32, rmsprop 0.01, class weight 0.5, log of target"
