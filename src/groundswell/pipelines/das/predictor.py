"""das: what prediction asks of a model, be it an exported file or a run. Knows numpy only."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class Predictor(Protocol):
    """A trained model with its preprocessing, as prediction sees it.

    Attributes:
        classes: names in label order; ``"noise"`` among them where the model can say that nothing happened.
        window_samples: length of a window, in time samples at ``rate_hz``.
        stride_samples: step between the starts of windows it was trained with.
        rate_hz: sampling rate of what it is given.
        channels: the number of channels it needs; ``None`` for any.
        spacing_m: channel spacing it was trained with; ``0`` if unknown.
        description: one line for people: which model, from where.
    """

    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def window_samples(self) -> int: ...
    @property
    def stride_samples(self) -> int: ...
    @property
    def rate_hz(self) -> float: ...
    @property
    def channels(self) -> int | None: ...
    @property
    def spacing_m(self) -> float: ...
    @property
    def description(self) -> str: ...

    def predict(self, x: NDArray[np.float32], spacing_m: float) -> NDArray[np.float64]:
        """Probabilities of windows.

        Args:
            x: windows as recorded, shape (batch, time, channel).
            spacing_m: channel spacing, 0 if unknown.

        Returns:
            Shape (batch, class); rows sum to 1.
        """
        ...
