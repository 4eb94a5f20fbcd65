"""symae: polarities of the traces of a bag, such that all agree, whatever the order they come in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

_AT_ONCE = 4_000_000  # values of cross-correlations held at once


def signed_peaks(x: NDArray[np.floating], most_lag: int) -> NDArray[np.float64]:
    """For each pair of traces the cross-correlation of largest magnitude, with its sign.

    Args:
        x: (traces, samples).
        most_lag: largest lag looked at, in samples; either way.

    Returns:
        float64 (traces, traces), symmetric, 1 on the diagonal; coefficients of the whole traces.
    """
    count, samples = x.shape
    most_lag = min(most_lag, samples - 1)
    x = np.asarray(x, np.float64)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    length = next_fast_len(samples + most_lag, real=True)
    spectra = rfft(x, length)
    peaks = np.ones((count, count))
    rows = max(1, _AT_ONCE // (length * count))
    for start in range(0, count, rows):
        block = irfft(spectra[start:start + rows, None].conj() * spectra[None, start:], length)
        near = np.concatenate([block[..., :most_lag + 1], block[..., length - most_lag:]], axis=-1)
        best = np.abs(near).argmax(axis=-1)
        peaks[start:start + rows, start:] = np.take_along_axis(near, best[..., None], axis=-1)[..., 0]
    upper = np.triu(peaks, 1)
    return np.asarray(upper + upper.T + np.eye(count))


def polarities(x: NDArray[np.floating], most_lag: int) -> NDArray[np.int8]:
    """What to multiply each trace by so that the traces of a bag agree.

    The signs of the leading eigenvector of :func:`signed_peaks`: of all assignments of unit weight the one that the
    correlations together support most. It looks at all traces at once, so it does not depend on their order, as taking
    the running mean for a reference does. The larger part of the traces keeps its sign; where both are as large, the
    mean cube of the traces is made positive.

    Args:
        x: (traces, samples), no trace zero throughout.
        most_lag: largest difference in arrival, in samples.

    Returns:
        int8 (traces,), 1 or -1.
    """
    weights = np.linalg.eigh(signed_peaks(x, most_lag))[1][:, -1]
    flips = np.where(weights < 0, -1, 1)
    balance = int(flips.sum())
    if balance == 0:
        balance = 1 if float(flips @ (np.asarray(x, np.float64) ** 3).mean(axis=1)) >= 0 else -1
    return np.asarray(flips * np.sign(balance), np.int8)
