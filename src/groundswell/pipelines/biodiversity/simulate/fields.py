"""biodiversity: smooth random fields over the Earth, for what a place does to embeddings and where species grow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from groundswell.core.seeds import derive_seed
from groundswell.splits.nearest import EARTH_M, unit_vectors

_WAVES = 512
_RANGE_OF_LENGTH = np.sqrt(2 * np.log(20))
"""A squared-exponential correlation falls to 1/20 at so many of its lengths."""


class RandomField:
    """Independent stationary Gaussian random fields of unit variance, by random Fourier features (Rahimi and Recht
    2007).

    The correlation between two places is that of a squared exponential of the straight line between them, 0.05 at
    ``range_m``: waves in three dimensions, so that there are neither poles nor edges. It holds on average over seeds;
    in one field the correlation of two far places is not 0 but a number of standard deviation 0.03, alike for all
    fields of the seed and without any relation to where the places are.

    Args:
        range_m: distance at which the correlation is 0.05, metres.
        fields: how many, independent of each other.
        seed: of the waves and their weights.
    """

    def __init__(self, range_m: float, fields: int, seed: int) -> None:
        chance = np.random.default_rng(derive_seed(seed, "random field"))
        self.range_m = range_m
        self._waves_per_m = chance.standard_normal((3, _WAVES)) * (_RANGE_OF_LENGTH / range_m)
        self._weights = chance.standard_normal((2 * _WAVES, fields), np.float32) / np.float32(np.sqrt(_WAVES))

    def at(self, latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> NDArray[np.float32]:
        """The fields at some places.

        Args:
            latitude, longitude: degrees, shape (n,).

        Returns:
            float32, shape (n, fields).
        """
        phase = EARTH_M * unit_vectors(latitude, longitude) @ self._waves_per_m
        waves = np.concatenate([np.cos(phase), np.sin(phase)], axis=1).astype(np.float32)
        return np.asarray(waves @ self._weights, np.float32)


def correlation(distance_m: NDArray[np.float64], range_m: float) -> NDArray[np.float64]:
    """Of a :class:`RandomField` at two places so far apart along a straight line."""
    return np.asarray(np.exp(-0.5 * (_RANGE_OF_LENGTH * np.asarray(distance_m) / range_m) ** 2), np.float64)
