"""symae: shifts by parts of a sample and cross-correlations, by real cosine and sine tables that ONNX can hold."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
Parts = tuple[Tensor, Tensor]
"""Real and imaginary part of Fourier transforms, or of their lower frequencies, each (..., f)."""


def spectrum(x: Tensor, length: int) -> Parts:
    """Real and imaginary part of the Fourier transform of ``x`` (..., n), zero-padded to ``length`` >= n.

    Returns:
        Two tensors (..., length // 2 + 1).
    """
    cosine, sine = _like(_forward(x.shape[-1], length), x)
    return x @ cosine, x @ sine


def to_time(real: Tensor, imaginary: Tensor, length: int, first: int, count: int) -> Tensor:
    """Samples ``first`` to ``first + count - 1`` (negative ones count from before 0) of a transform of ``length``.

    Args:
        real: (..., length // 2 + 1), or the lower frequencies of it; what is left out is 0.
        imaginary: as many.
        length: samples of the periodic series.
        first: the first sample that is wanted.
        count: how many.

    Returns:
        (..., count).
    """
    cosine, sine = _like(_backward(length, first, count, real.shape[-1]), real)
    return real @ cosine + imaginary @ sine


def correlated(one: Parts, other: Parts, length: int, max_lag: int) -> Tensor:
    """Cross-correlations (..., 2 * max_lag + 1) from transforms of ``length``; see :func:`cross_correlate`."""
    return to_time(one[0] * other[0] + one[1] * other[1], one[1] * other[0] - one[0] * other[1], length, -max_lag,
                   2 * max_lag + 1)


def turned(real: Tensor, imaginary: Tensor, samples: Tensor, length: int) -> Parts:
    """A transform (..., f) of series shifted later by ``samples`` (...), which may be parts of a sample."""
    angle = samples[..., None] * _like((_angles(length),), real)[0]
    cosine, sine = torch.cos(angle), torch.sin(angle)
    return real * cosine + imaginary * sine, imaginary * cosine - real * sine


def shift_traces(x: Tensor, samples: Tensor, *, circular: bool = False) -> Tensor:
    """Shift traces later by any number of samples: y(t) = x(t - samples), limited to the traces' own band.

    To align traces that are late by ``tau`` samples, shift by ``-tau``.

    Args:
        x: (..., n).
        samples: (...), broadcast over the leading axes of ``x``. Not circular: at most n either way.
        circular: what leaves at one end comes in at the other; otherwise zeros come in.

    Returns:
        (..., n).
    """
    n = x.shape[-1]
    length = n if circular else 2 * n
    real, imaginary = turned(*spectrum(x, length), samples, length)
    return to_time(real, imaginary, length, 0, n)


def cross_correlate(a: Tensor, b: Tensor, max_lag: int) -> Tensor:
    """c[l] = sum over t of a(t + l) b(t), for lags -max_lag to max_lag; nothing wraps.

    The largest value stands at a positive lag where ``a`` is later than ``b``.

    Args:
        a: (..., n).
        b: (..., n), broadcast against ``a``.
        max_lag: samples, less than n.

    Returns:
        (..., 2 * max_lag + 1).
    """
    length = fast_length(a.shape[-1] + max_lag)
    return correlated(spectrum(a, length), spectrum(b, length), length, max_lag)


def peak(cc: Tensor, sign: bool, weight: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The largest value of each cross-correlation, between samples by a parabola.

    Args:
        cc: (..., 2 * max_lag + 1), the middle being lag 0.
        sign: also look for the most negative value, and say which it was.
        weight: not negative, broadcast against ``cc``: which peak is the largest is decided with it, where that peak
            is and how high, without. 0 forbids a lag (without ``sign``, as long as a weighed value is positive).

    Returns:
        Lag in samples, the parabola's height there (not negative where ``sign``), and -1 or 1; each (...).
    """
    size = cc.shape[-1]
    size_of = cc.abs() if sign else cc
    best = torch.argmax(size_of if weight is None else size_of * weight, dim=-1, keepdim=True)
    # At an end there is no parabola; the inner neighbours are taken and the correction is dropped below.
    inner = best.clamp(1, size - 2)
    left, middle, right = (torch.gather(cc, -1, inner + step)[..., 0] for step in (-1, 0, 1))
    value = torch.gather(cc, -1, best)[..., 0]
    polarity = torch.where(value < 0, -1.0, 1.0).to(cc.dtype) if sign else torch.ones_like(value)
    curvature = (left - 2 * middle + right) * polarity
    slope = (right - left) * polarity
    inside = (inner == best)[..., 0] & (curvature < 0)
    part = torch.where(inside, -0.5 * slope / torch.where(inside, curvature, -torch.ones_like(curvature)), 0.0)
    part = part.clamp(-0.5, 0.5)
    height = value * polarity + torch.where(inside, 0.25 * slope * part, 0.0)
    return best[..., 0].to(cc.dtype) - (size - 1) // 2 + part, height, polarity


def fast_length(samples: int) -> int:
    """The next multiple of 16: tables of that size multiply fast."""
    return math.ceil(samples / 16) * 16


def _like(tables: tuple[Floats, ...], x: Tensor) -> tuple[Tensor, ...]:
    kind = np.float64 if x.dtype == torch.float64 else np.float32
    return tuple(torch.from_numpy(table.astype(kind)).to(x.device, x.dtype) for table in tables)


# Tables are functions of a few sizes, costly beside what is done with them, and never written to. They are kept as
# arrays: while a network is exported, tensors made then would not outlive it.
@functools.lru_cache(maxsize=16)
def _forward(n: int, length: int) -> tuple[Floats, Floats]:
    angle = 2 * np.pi / length * np.outer(np.arange(n), np.arange(length // 2 + 1))
    return np.cos(angle), -np.sin(angle)


@functools.lru_cache(maxsize=16)
def _backward(length: int, first: int, count: int, kept: int) -> tuple[Floats, Floats]:
    bins = np.arange(kept)
    weight = np.where((bins == 0) | (2 * bins == length), 1.0, 2.0) / length
    angle = 2 * np.pi / length * np.outer(bins, np.arange(first, first + count))
    return weight[:, None] * np.cos(angle), -weight[:, None] * np.sin(angle)


@functools.lru_cache(maxsize=16)
def _angles(length: int) -> Floats:
    return 2 * np.pi / length * np.arange(length // 2 + 1, dtype=np.float64)
