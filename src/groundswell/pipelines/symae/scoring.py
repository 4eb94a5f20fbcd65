"""symae: scores that leave open what cannot be known: a source's origin, sign and amplitude, a bag's mean shift."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundswell.core.waveforms import BestLag, best_lag, shifted

_LEAST = 1e-12


def best_lag_correlation(a: Any, b: Any, max_lag_samples: int, sign: bool = True) -> BestLag:
    """Correlation of two waves at the lag (and, with ``sign``, the polarity) at which it is best.

    Args:
        a: (..., n), torch or NumPy; the answer is of the same kind.
        b: (..., n), broadcast against ``a``.
        max_lag_samples: lags to either side.
        sign: polarity is unknown too.
    """
    return BestLag(*(_as(a, value) for value in best_lag(_array(a), _array(b), max_lag_samples, sign=sign)))


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
    found, true = (wave - wave.mean(-1, keepdims=True) for wave in (_array(estimate), _array(truth)))
    best = best_lag(found, true, max_lag_samples, sign=sign)
    moved = shifted(found, -best.lag) * best.sign[..., None]
    return _as(estimate, ((moved - true) ** 2).sum(-1) / np.maximum((true**2).sum(-1), _LEAST))


def shift_error(found: Any, true: Any, mask: Any) -> Any:
    """Median absolute error of each bag's shifts, whose mean over the bag is taken out of both.

    Args:
        found: (..., t), torch or NumPy; the answer is of the same kind and in the same unit.
        true: (..., t).
        mask: bool (..., t), False for padding.

    Returns:
        (...); nan for a bag without traces.
    """
    off, there = _array(found) - _array(true), np.asarray(mask, bool)
    mean = np.where(there, off, 0.0).sum(-1, keepdims=True) / np.maximum(there.sum(-1, keepdims=True), 1)
    error = torch.from_numpy(np.where(there, np.abs(off - mean), np.nan))
    return _as(found, torch.nanquantile(error, 0.5, dim=-1).numpy())


def _array(value: Any) -> NDArray[np.float64]:
    return np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value, np.float64)


def _as(like: Any, value: Any) -> Any:
    """The value as the kind of thing that ``like`` is: a tensor where that is one, of its type and place."""
    return torch.from_numpy(np.asarray(value)).to(like) if isinstance(like, Tensor) else np.asarray(value)
