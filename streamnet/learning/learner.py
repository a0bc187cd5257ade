"""The learner: encoder, trainer, evaluator and serving stage run in sequence in one thread.

The pipeline runs the same four stages concurrently; the results are bit-identical.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from streamnet.errors import ConfigurationError, NoCandidateError, StateError
from streamnet.features.encoder import Encoder
from streamnet.learning.drift_watch import DriftWatch
from streamnet.learning.evaluator import (
    LARGE_BLOCK,
    DeferredScoring,
    Evaluator,
    build_scoring_batch,
)
from streamnet.learning.search.default_population import default_population
from streamnet.learning.search.evolution import Evolution
from streamnet.learning.serving import Served, ServingStage
from streamnet.learning.trainer import Snapshot, Trainer
from streamnet.learning.validation import check_candidates, check_part
from streamnet.metrics.formulas import nan_to_none
from streamnet.modelfiles.model import Model
from streamnet.samples import Block, Task
from streamnet.selection.champion import Selector
from streamnet.selection.criteria import SampleLoss
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.encoder import SINCE, has_raw_target
from streamnet.validation import check_seed

__all__ = ("ROUND", "Learner", "build_model", "check_transforms")

ROUND = 1024
LAGS = {Task.CLASSIFICATION: 2, Task.REGRESSION: 3}  # last targets that candidates may look at
_NO_CANDIDATE = "no sample was learned by a candidate with a finite network"


@final
class Learner:
    """The four parts that turn blocks into a champion.

    Args:
        task: Classification or regression.
        candidates: Settings of each; None is `default_population`.
        seed: Key of all random numbers.
        dtype: float32 or float64, of the networks.
        window: Samples that the sliding measures look at.
        fading: Factor of all earlier samples in the fading measures and in the champion's choice.
        margin: Share by which a challenger must be better at the start of the stream.
        alpha: Level of the test by which one becomes champion later on, see `Selector`.
        serve: "ensemble" answers with all candidates together, "champion" with the best one alone.
        criterion: By what the champion is chosen; None: log_loss, of numbers mae. See `SampleLoss`.
            One that is balanced makes the ensemble answer as if classes were equally frequent.
        drift: Detector of drift in the loss of what is served, see `DriftWatch`, or "none".
        encoder: Settings of the encoder.
        evolution: Settings of the search for better candidates; None is no search among
            ``candidates`` that were given.
        start: Model to go on learning: its networks are the candidates, with their weights and
            dtype, its encoder and its ensemble go on. Optimizers and scores begin anew.

    Raises:
        ConfigurationError: If a setting breaks its rule.

    >>> from streamnet.sources.columns import Columns
    >>> from streamnet.sources.rows import RowReader
    >>> rows = [{"x": i % 2, "y": "ab"[i % 2]} for i in range(300)]
    >>> learner = Learner(task=Task.CLASSIFICATION)
    >>> served = learner.learn(RowReader(Columns(target="y")).read(rows))
    >>> served.answers.shape, learner.model().predict({"x": 1}).tolist()
    ((300, 2), ['b'])
    """

    def __init__(
        self,
        *,
        task: Task,
        candidates: Sequence[CandidateSettings] | None = None,
        seed: int = 0,
        dtype: DTypeLike = "float32",
        window: int = 1000,
        fading: float = 0.999,
        margin: float = 0.02,
        alpha: float = 0.05,
        serve: str = "ensemble",
        criterion: str | None = None,
        drift: str = "adwin",
        encoder: dict[str, Any] | None = None,
        evolution: dict[str, Any] | None = None,
        start: Model | None = None,
    ) -> None:
        check_part("encoder", encoder)
        check_part("evolution", evolution)
        candidates = check_candidates(candidates)
        if start is not None:
            _check_start(start, task, {"candidates": candidates, "encoder": encoder})
            candidates = [network.settings for network in start.networks]
            dtype = start.networks[0].dtype
        found = default_population(encoder=encoder) if candidates is None else candidates
        settings = [given.for_task(Task(task)) for given in found]
        if evolution is None:
            evolution = {} if candidates is None else {"every": 0}
        self.task = Task(task)
        self._regression = self.task is Task.REGRESSION
        self.seed = seed = check_seed(seed)
        lags = LAGS[self.task] if any(given.lags for given in settings) else 0
        if start is None:
            given = {"lags": lags, **(encoder or {})}
            if given.get("autoencoder") is not None:
                given["autoencoder"] = {"seed": seed, **given["autoencoder"]}
            self.encoder = Encoder(task=self.task, **given)
        else:
            self.encoder = start.encoder()
            self.encoder.inherit()
        check_transforms(settings, self.encoder)
        self.trainer = Trainer(settings, task=self.task, seed=seed, dtype=dtype)
        if start is not None:
            self.trainer.start_from([network.weights for network in start.networks], self.encoder)
        count = len(settings)
        self._evaluator = Evaluator(count, task=self.task, window=window, fading=fading)
        balanced = SampleLoss(self.task, criterion).balanced
        self._server = ServingStage(
            self.trainer.population.members,
            task=self.task,
            selector=Selector(count, fading=fading, margin=margin, alpha=alpha),
            evolution=Evolution(
                settings,
                seed=seed,
                balanced=balanced,
                **evolution,
            ),
            drift=DriftWatch(drift),
            serve=serve,
            criterion=criterion,
            window=window,
            fading=fading,
        )
        if start is not None:
            self._server.alternatives.start_from(start.together)
        self._deferred = DeferredScoring()

    @property
    def evaluator(self) -> Evaluator:
        """The evaluator, after it has scored all that was learned."""
        self.judge()
        return self._evaluator

    @property
    def server(self) -> ServingStage:
        """The server, after it has judged all that was learned."""
        self.judge()
        return self._server

    def learn(self, block: Block, *, ends_round: bool = False) -> Served:
        """Take a block, of which no sample lies beyond the round's end, through all four parts."""
        encoded = self.encoder.encode(block)
        ending = self.encoder.snapshot() if ends_round else None
        served = self.server.serve(self.evaluator.evaluate(self.trainer.learn(encoded, ending)))
        if served.decision is not None:
            self.trainer.decide(served.decision)
        return served

    def take(self, block: Block, *, ends_round: bool = False) -> None:
        """Learn a block as `learn` does; if it is small and can wait, judge it later, with others.

        The ensemble has learned it at once. `judge` makes up for the rest before anything that
        depends on it: whoever asks for the evaluator or the server gets them up to date. So asking
        changes the learner, too: one thread at a time may, and after an exception nobody.
        """
        plain = block.scored and not ends_round and not self.trainer.at_start
        if not plain or not self._server.ensemble or len(block) >= LARGE_BLOCK:
            self.learn(block, ends_round=ends_round)
            return
        answered = build_scoring_batch(
            self.trainer.learn(self.encoder.encode(block), None), self.task
        )
        if not self._deferred.fits(answered):
            self.judge()
        if self._deferred.add(answered, self._server.alternatives.say(answered)):
            self.judge()

    def judge(self) -> None:
        """Judge what `take` has put off."""
        if self._deferred:
            answered, said = self._deferred.taken()
            self._server.judge(answered, self._evaluator.losses(answered), said)

    def model(self) -> Model:
        """What is served, as it is now, but for what only helps while targets are told.

        The champion alone, or the ensemble of all that need no last targets, the champion first.

        Raises:
            NoCandidateError: If nothing was learned, or no candidate has a finite network.
        """
        slot, snapshot = self.leader()
        return build_model(snapshot, self.about(slot))

    @property
    def ready(self) -> bool:
        """Whether there are networks to ask: of samples that were learned, or of a start."""
        return self.trainer.population.capacity.outputs > 0

    def best(self) -> int:
        """Slot of the champion, or of the best that is healthy.

        Raises:
            NoCandidateError: If there is none.
        """
        for slot in self._ranked():
            return slot
        raise NoCandidateError(_NO_CANDIDATE)

    def leader(self) -> tuple[int, Snapshot]:
        """Like `best`, but surely with a finite network, of which this is a copy.

        The last sample may have broken a network without anybody having asked it since.

        Raises:
            NoCandidateError: If there is none.
        """
        finite = self.trainer.population.find_finite_slots()
        for slot in self._ranked():
            if slot in finite:
                emission = self.server.emission(slot, finite)
                return slot, self.trainer.snapshot(emission, self.encoder.snapshot())
        raise NoCandidateError(_NO_CANDIDATE)

    def answer(self, block: Block, *, alone: bool = False) -> NDArray[Any]:
        """What would be served for samples of which each might be the next; nothing changes.

        Args:
            block: The samples.
            alone: Answer like the model to take home, which does not look at the last targets:
                the samples may come from anywhere.

        Returns:
            Shares (n, labels), or numbers (n,); NaN where there is no finite answer.

        Raises:
            SchemaError: If a column's kind is not the one it had when it first came.
            NoCandidateError: If the champion alone is served, and there is none.
        """
        inputs = self.encoder.transform(block)
        # The ensemble has learned what is yet to be judged; the model has not.
        server, population = self.server if alone else self._server, self.trainer.population
        known = len(self.encoder.labels)
        slot = None if server.ensemble else self.best()
        said = population.answer(slot, self.trainer.number, inputs, max(known, 1))
        answers: NDArray[Any] = said.outputs
        scale = None
        if self._regression:
            answers = self.encoder.units.numbers(answers[:, :, 0], said.logarithmic)
            scale = self.encoder.scale
        if server.ensemble:
            found = server.alternatives.combine(
                answers, said.alive, known=known, scale=scale, alone=alone
            )
        else:
            found = answers[0]
            found[said.alive[0] == 0] = np.nan
        return found if self._regression else found[:, : max(known, 1)]

    def _ranked(self) -> Iterator[int]:
        """Slots that may be champion, healthy and not new: the champion, then by faded loss.

        Before the first sample, those of the model that was started from, in its order.
        """
        if self.trainer.number == 0 and self.ready:
            yield from range(len(self.trainer.population.members))
        yield from self.server.ranked(self.trainer.population.healthy)

    def about(self, slot: int) -> dict[str, Any]:
        """What a model says of itself besides its network."""
        member = self.server.members[slot]
        scores = self.evaluator.candidates.measures(slot)
        return {
            "candidate": member.serial,
            "born": member.born,
            "samples": self.trainer.number,
            "seed": self.seed,
            "scores": nan_to_none(scores),
            "served": nan_to_none(self.server.measures()),
        }

    def export_state(self) -> dict[str, Any]:
        """Everything needed to go on, to the bit."""
        return {
            "encoder": self.encoder.export_state(),
            "trainer": self.trainer.export_state(),
            "evaluator": self.evaluator.export_state(),
            "server": self.server.export_state(),
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on as the learner did whose state this is, which had the same settings.

        Raises:
            StateError: If a setting of the encoder is not as it was.
        """
        encoder = Encoder.restore_state(state["encoder"])
        _check_unchanged(encoder.settings, self.encoder.settings)
        self._deferred.clear()
        self.encoder = encoder
        self.trainer.restore_state(state["trainer"], self.encoder.snapshot())
        self._evaluator.restore_state(state["evaluator"])
        self._server.restore_state(state["server"])


def _check_start(start: Any, task: Task, others: Mapping[str, object]) -> None:
    """Refuse a model that is for something else, and settings that it brings itself."""
    if not isinstance(start, Model):
        raise ConfigurationError(f"start is {start!r}, but must be a Model")
    if start.task is not Task(task):
        raise ConfigurationError(f"start is for {start.task}, but the task is {Task(task)}")
    for name, value in others.items():
        if value is not None:
            raise ConfigurationError(f"{name} is given, but start has its own")


def check_transforms(candidates: Sequence[CandidateSettings], encoder: Encoder) -> None:
    """Refuse to transform targets that are to be learned as they are.

    Raises:
        ConfigurationError: If a candidate does.
    """
    for settings in candidates:
        if settings.target_transform != "none" and has_raw_target(encoder.settings):
            raise ConfigurationError(
                f"target_transform is {settings.target_transform!r}, but must be 'none' where "
                "target_scaling is"
            )


def _check_unchanged(before: dict[str, Any], now: dict[str, Any]) -> None:
    for name in before | now:
        old, new = before.get(name), now.get(name)
        if old is None and new == SINCE.get(name):
            continue
        if old != new:
            raise StateError(f"{name} of the encoder is {new}, but was {old}")


def build_model(snapshot: Snapshot, about: dict[str, Any]) -> Model:
    """The model that a snapshot is."""
    networks = snapshot.networks()
    _, weights = networks[0]
    return Model(
        encoder=snapshot.encoder.materialize(),
        networks=networks,
        ensemble=snapshot.ensemble,
        dtype=weights["first"].dtype.name,
        about=about,
    )
