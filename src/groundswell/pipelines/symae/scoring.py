"""symae: scores that leave open what cannot be known: a source's origin, sign and amplitude, a bag's mean shift."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from groundswell.pipelines.symae.alignment.fourier import cross_correlate, peak, shift_traces

_LEAST = 1e-12


class BestLag(NamedTuple):
    """The best agreement of two waves: correlation (...), lag in samples (positive: the first is later) and sign."""

    correlation: Any
    lag: Any
    sign: Any


def best_lag_correlation(a: Any, b: Any, max_lag_samples: int, sign: bool = True) -> BestLag:
    """Correlation of two waves at the lag (and, with ``sign``, the polarity) at which it is best.

    Args:
        a: (..., n), torch or NumPy; the answer is of the same kind.
        b: (..., n), broadcast against ``a``.
        max_lag_samples: lags to either side.
        sign: polarity is unknown too.
    """
    first, second = _tensor(a), _tensor(b)
    first, second = (wave - wave.mean(-1, keepdim=True) for wave in (first, second))
    norm = (first.square().sum(-1) * second.square().sum(-1)).clamp_min(_LEAST).sqrt()
    lag, height, polarity = peak(cross_correlate(first, second, max_lag_samples), sign)
    return BestLag(*(_as(a, value) for value in ((height / norm).clamp(-1.0, 1.0), lag, polarity)))


def nmse_best_lag(estimate: Any, truth: Any, max_lag_samples: int, sign: bool = False) -> Any:
    """Power of the error over the power of the truth, the estimate shifted (and turned) to where it fits best.

    Its amplitude is left as it is; both have their means taken out.

    Args:
        estimate: (..., n), torch or NumPy; the answer is of the same kind.
        truth: (..., n).
        max_lag_samples: lags to either side.
        sign: polarity is unknown too.

    Returns:
        (...), 0 for a perfect estimate, 1 for one of nothing.
    """
    found, true = (wave - wave.mean(-1, keepdim=True) for wave in (_tensor(estimate), _tensor(truth)))
    lag, _, polarity = peak(cross_correlate(found, true, max_lag_samples), sign)
    moved = shift_traces(found, -lag) * polarity[..., None]
    error = (moved - true).square().sum(-1) / true.square().sum(-1).clamp_min(_LEAST)
    return _as(estimate, error)


def shift_error(found: Any, true: Any, mask: Any) -> Any:
    """Median absolute error of each bag's shifts, whose mean over the bag is taken out of both.

    Args:
        found: (..., t), torch or NumPy; the answer is of the same kind and in the same unit.
        true: (..., t).
        mask: bool (..., t), False for padding.

    Returns:
        (...); nan for a bag without traces.
    """
    off, there = _tensor(found) - _tensor(true), torch.as_tensor(mask)
    off = torch.where(there, off, torch.nan)
    return _as(found, torch.nanquantile((off - off.nanmean(-1, keepdim=True)).abs(), 0.5, dim=-1))


def _tensor(value: Any) -> Tensor:
    return torch.as_tensor(value if isinstance(value, Tensor) else np.asarray(value))


def _as(like: Any, value: Tensor) -> Any:
    return value if isinstance(like, Tensor) else value.numpy()
