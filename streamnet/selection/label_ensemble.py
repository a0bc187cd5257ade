"""LabelEnsemble: the shares that many networks give to labels, combined into one answer."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any
from typing import Self
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.repeated import repeated
from streamnet.selection.label_mixers import MIXERS
from streamnet.selection.label_pool import LabelPool
from streamnet.selection.mixing import Mixing

__all__ = ("LabelEnsemble", "go_together")

_NOTHING = np.empty(0, np.int32)  # stands for truths that nobody knows


@final
class LabelEnsemble(Mixing):
    """Combines what candidates say about labels by logarithmic opinion pools learned online.

    Each mixer gives a label the product of the experts' shares, each to the power of its weight,
    and moves the weights down the slope of its own log-loss. Log-loss also decides who is served:
    where shares mean little beyond which is the largest, fewer labels may be right.

    A balanced ensemble answers what the shares would be if all labels were equally frequent
    (Saerens, Latinne and Decaestecker 2002): each is divided by how often its label came. If they
    are true, the largest one gives the best balanced accuracy. What is learned is the same.

    Logarithms of float32 shares are reckoned as float32, all else as float64.

    >>> ensemble = LabelEnsemble(2)
    >>> right = np.tile([0.9, 0.1], (200, 1)), np.tile([0.5, 0.5], (200, 1))
    >>> truth, known = np.zeros(200, np.int32), np.full(200, 2, np.int32)
    >>> served = ensemble.serve(np.array(right), np.ones((2, 200), np.uint8), truth, known)
    >>> bool(served[-1, 0] > 0.9)
    True
    """

    _mixers = MIXERS
    _arrays = (*Mixing._arrays, "transitions", "frequencies", "last")

    def __init__(self, candidates: int, *, balanced: bool = False, **others: Any) -> None:
        self._balanced = balanced
        if balanced:
            self._arrays = (*self._arrays, "counts")
        super().__init__(candidates, **others)

    def _begin(self) -> None:
        self._move(_pool_for([self]), 0)

    def _move(self, pool: LabelPool, place: int) -> None:
        """Have one's arrays in a pool from now on."""
        own = {name: getattr(self, name) for name in Mixing._arrays}
        self._pool, self._place = pool, place
        self._look()
        for name, array in own.items():
            getattr(self, name)[...] = array

    def _look(self) -> None:
        """Know one's part of the pool's arrays."""
        pool, place = self._pool, self._place
        self.members = pool.members[place]
        self.weights, self.squares = pool.weights[:, place].T, pool.squares[:, place].T
        self.final, self.final_squares = pool.final[place], pool.final_squares[place]
        self.losses, self.combined = pool.losses[place], pool.combined[place]
        self.chosen = pool.chosen[place]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._look()  # copies of parts are no parts of the copy

    @property
    def follows(self) -> bool:
        """Whether the expert is heard that looks at the last label."""
        return bool(self.members[self.candidates])

    @property
    def transitions(self) -> NDArray[np.float64]:
        """Labels by the one before, and a row for none; no row where nobody is to hear of them."""
        return self._pool.transitions if self.follows else self._pool.transitions[:0]

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """Labels, faded as they are."""
        return self._pool.frequencies

    @property
    def last(self) -> NDArray[np.int64]:
        """Row of the last label."""
        return self._pool.last

    @property
    def counts(self) -> NDArray[np.float64]:
        """Labels so far, of a balanced one."""
        return self._pool.counts

    def serve(
        self,
        answers: NDArray[np.floating],
        alive: NDArray[np.uint8],
        truth: NDArray[np.int32],
        known: NDArray[np.int32],
        *,
        learns: bool = True,
    ) -> NDArray[np.float64]:
        """Answer n samples in order, each before its truth is learned.

        Args:
            answers: shape=(candidates, n, C), shares; of sample i the first ``known[i]`` count.
            alive: shape=(candidates, n), 0 where a candidate has no finite answer.
            truth: shape=(n,), class numbers; -1 where there is none. Needed only to learn.
            known: shape=(n,), classes known before each sample.
            learns: Whether weights move and losses are noted.

        Returns:
            shape=(n, C), shares of the known classes; all 0 where none is known.
        """
        settings = self.fading, self.margin
        served = self._pool.serve(answers, alive, truth, known, *settings, learns=learns)
        own: NDArray[np.float64] = served[self._place]
        return own

    def serve_both(
        self,
        answers: NDArray[np.floating],
        alive: NDArray[np.uint8],
        truth: NDArray[np.int32],
        known: NDArray[np.int32],
    ) -> NDArray[np.float64]:
        """What this one serves and the other one that goes with it, see `go_together`.

        Takes little longer than one alone. Like `serve`, but shape=(2, n, C).
        """
        settings = self.fading, self.margin
        return self._pool.serve(answers, alive, truth, known, *settings, learns=True)

    def answer(
        self, answers: NDArray[np.floating], alive: NDArray[np.uint8], known: int
    ) -> NDArray[np.float64]:
        """Answer samples of which each might be the next, as `serve` would; nothing changes.

        Any number of threads may ask at once, unless one of them learns.

        Args:
            answers: shape=(candidates, n, C), shares.
            alive: shape=(candidates, n), 0 where a candidate has no finite answer.
            known: Classes known.
        """
        _, n, width = answers.shape
        names = repeated(n, known, np.int32)
        # Room for more labels is made aside.
        asked = self if width <= len(self.frequencies) else self._aside()
        return asked.serve(answers, alive, _NOTHING, names, learns=False)

    def _aside(self) -> Self:
        aside = copy(self)
        aside._pool = copy(self._pool)  # which makes room by new arrays
        return aside

    def adopt(self, other: Mixing) -> None:
        """As of any ensemble, and how frequent each label is."""
        assert isinstance(other, LabelEnsemble)
        super().adopt(other)
        self._pool.make_room(len(other.frequencies))
        self.frequencies[: len(other.frequencies)] = other.frequencies
        if self._balanced:
            counts = other.counts if other._balanced else other.frequencies
            self.counts[: len(counts)] = counts

    def balance(self) -> None:
        """Be balanced from now on, with what was counted so far, faded, in place of all."""
        if not self._balanced:
            self._balanced = True
            self._arrays = (*self._arrays, "counts")
            self._pool.counts = self.frequencies.copy()

    @classmethod
    def _restored(cls, state: dict[str, Any]) -> Self:
        self = cls(**cls._settings_of(state), balanced="counts" in state)
        classes = np.size(state["frequencies"])
        if not 2 <= classes <= 1 << 16:
            raise ModelFileError(f"ensemble: it counts {classes} classes")
        self._pool.make_room(classes)
        self._take_over(state)
        self.weights *= self.members  # only by them is anybody left out: see `label_mixers.mix`
        if not 0 <= self.last[0] <= classes:
            raise ModelFileError(f"ensemble: last is {self.last.tolist()}")
        return self


def go_together(first: LabelEnsemble, second: LabelEnsemble) -> None:
    """Let two ensembles of the same candidates learn together; see `LabelEnsemble.serve_both`.

    Both have counted the same labels, with the same settings, as two do that saw the same samples.
    """
    pool = _pool_for([first, second])
    pool.make_room(len(first.frequencies))
    for name in ("frequencies", "last", "counts"):
        getattr(pool, name)[...] = getattr(first, name)
    for ensemble in (first, second):
        if ensemble.follows:
            pool.transitions[...] = ensemble.transitions
    for place, ensemble in enumerate((first, second)):
        ensemble._move(pool, place)


def _pool_for(ensembles: Sequence[LabelEnsemble]) -> LabelPool:
    return LabelPool(
        ensembles[0].experts,
        ensembles=len(ensembles),
        follows=any(ensemble.follows for ensemble in ensembles),
        balanced=ensembles[0]._balanced,
    )
