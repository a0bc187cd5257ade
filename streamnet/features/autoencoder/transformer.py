"""AutoEncoderTransformer: adds the code of an auto-encoder to the inputs, or replaces them."""

from __future__ import annotations

from typing import final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError
from streamnet.features.autoencoder.network import AutoEncoderNetwork, Codes
from streamnet.samples import Inputs
from streamnet.settings.encoder import AutoEncoderSettings


@final
class AutoEncoderTransformer:
    """An auto-encoder whose code becomes dense inputs, clipped like the others.

    The code comes before all other dense inputs, whose number may grow. Entries with earlier
    targets are kept even where the code replaces all other inputs.

    Args:
        settings: Settings of the auto-encoder.
        clip: Bound of the code's values.

    >>> coding = AutoEncoderTransformer(AutoEncoderSettings(code=2), clip=8.0)
    >>> none = np.zeros((3, 1), np.int32), np.zeros((3, 1), np.float32), np.zeros(3, np.int32), 0
    >>> inputs, outlier = coding.learn(Inputs(np.ones((3, 5), np.float32), *none))
    >>> inputs.dense.shape, outlier.shape
    ((3, 7), (3,))
    """

    def __init__(self, settings: AutoEncoderSettings, *, clip: float) -> None:
        self.settings = settings
        self.network: AutoEncoderNetwork = AutoEncoderNetwork(self.settings)
        self._clip = clip
        self._adds = self.settings.inputs == "add"

    def dense(self, dense: int) -> int:
        """Number of the candidates' dense inputs, given ``dense`` without the code."""
        return self.settings.code + (dense if self._adds else 0)

    def learn(self, inputs: Inputs) -> tuple[Inputs, NDArray[np.float64]]:
        """Inputs with the code, and outlier scores; each sample is learned afterwards."""
        coded = self.network.learn(inputs)
        return self._with(inputs, coded), coded.score

    def transform(self, inputs: Inputs) -> Inputs:
        """Inputs with the code, without learning."""
        return self._with(inputs, self.network.transform(inputs))

    def without_code(self, inputs: Inputs) -> Inputs:
        """Inputs without the code.

        Raises:
            ConfigurationError: If the code has replaced them.
        """
        if not self._adds:
            raise ConfigurationError(
                "inputs is 'replace', but must be 'add' to know what was coded"
            )
        code = self.settings.code
        return replace(
            inputs, dense=inputs.dense[:, code:], splined=_shift_splined(inputs.splined, -code)
        )

    def _with(self, inputs: Inputs, coded: Codes) -> Inputs:
        code = coded.code.clip(-self._clip, self._clip).astype(np.float32)
        if self._adds:
            splined = _shift_splined(inputs.splined, code.shape[1])
            return replace(inputs, dense=np.hstack((code, inputs.dense)), splined=splined)
        return replace(
            _keep_lags(inputs), dense=code, splined=_shift_splined(inputs.splined[:, :0], 0)
        )


def _shift_splined(splined: NDArray[np.int32], by: int) -> NDArray[np.int32]:
    """Shift the numbers of dense inputs by ``by``."""
    return np.where(splined >= 0, splined + np.int32(by), splined)


def _keep_lags(inputs: Inputs) -> Inputs:
    """Inputs with no entries except those with earlier targets."""
    lags = inputs.lags
    width = max(lags, 1)
    row = np.zeros((len(inputs.count), width), np.int32)
    value = np.zeros((len(inputs.count), width), np.float32)
    if lags:
        # These are the last entries of each sample.
        places = inputs.count[:, None] - lags + np.arange(lags)
        row[:] = np.take_along_axis(inputs.row, places, axis=1)
        value[:] = np.take_along_axis(inputs.value, places, axis=1)
    count = np.full(len(inputs.count), lags, np.int32)
    return replace(inputs, row=row, value=value, count=count)
