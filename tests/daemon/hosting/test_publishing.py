"""What answers requests follows each label, and its answers are those that are scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.predictions import predict_nothing
from streamnet.samples import Kind, Task
from streamnet.sources.columns import Columns
from streamnet.sources.rows import RowReader
from tests.conftest import Runner
from tests.daemon.hosted_models import hosting, settings_of, until

CANDIDATES = [{"hidden": 4}, {"hidden": 4, "lags": True}]
COUNT = 200
SAMPLES = [{"w": "uv"[i * i % 5 % 2]} for i in range(COUNT)]  # which say nothing
PATTERN = "aab"


async def is_settled(hosted: HostedModel) -> None:
    """Wait until all that was accepted answers requests."""
    run = hosted.model_run
    assert run is not None

    def is_published() -> bool:
        if run.queued or run.learner is None:
            return False
        trainer = run.learner.trainer
        return run.publisher.rows == trainer.rows + trainer.labels

    await until(is_published)


@pytest.mark.parametrize("delay", [1, 5])
def test_an_answer_knows_the_labels_before_it_and_its_score_is_what_the_client_counts(
    run: Runner, tmp_path: Path, delay: int
) -> None:
    """The last labels tell the next one, where they are known; nothing else does."""
    labels = [PATTERN[i % 3] for i in range(COUNT)]
    settings = settings_of(
        source={"target": "y", "task": "classification"},
        population={"candidate": CANDIDATES},
        selection={"neighbors": 500, "factors": 2},
        intake={"publish_seconds": 3600.0},  # models to take home are rare
    )
    hits: list[bool] = []

    async def main() -> None:
        async with hosting(tmp_path, settings) as hosted:
            reader = RowReader(Columns(kinds={"w": Kind.CATEGORY}))
            for i, sample in enumerate(SAMPLES):
                has_model = i >= delay  # a label has come
                if has_model:
                    await is_settled(hosted)
                answer = hosted.predict([sample]) if has_model else predict_nothing(1)
                if has_model:
                    assert hosted.model_run is not None
                    assert hosted.model_run.learner is not None
                    wanted = hosted.model_run.learner.predict(reader.read([sample]))
                    np.testing.assert_array_equal(answer.probabilities, wanted)
                (kept,) = await hosted.remember([str(i)], [sample], answer)
                hits.append(kept.value == labels[i])
                if i + 1 >= delay:
                    late = i + 1 - delay
                    await hosted.label([(str(late), labels[late])])
            await until(lambda: hosted.status().scored == len(SAMPLES) + 1 - delay)
            scored = hits[: len(SAMPLES) + 1 - delay]
            status = hosted.status()
            assert status.requested == len(scored)
            assert status.served == pytest.approx(np.mean(scored), abs=1e-12)
            assert hosted.measures()["accuracy"] == pytest.approx(np.mean(scored), abs=1e-12)
            champion = hosted.champion()
            assert champion is not None
            assert (champion.generation, champion.task) == (1, Task.CLASSIFICATION)

    run(main)
    if delay == 1:
        assert np.mean(hits[100:]) > 0.9  # nothing else tells more than two of three
