"""symae: the path network: each trace as its bag's source, convolved with a unit spike and what a short code describes.

Shape letters: b bag, t trace, n time sample, q number of the code, l lag of an impulse response, f feature.

A trace is a (s * (delta + g)), with the source s, an amplitude a and an impulse response g = sum over q of n_q D_q: the
code n of the trace times a basis D that all traces of all events share and that is learnt. No code, no path: what is
left is the source itself, on every trace alike. Given source and basis the likeliest code is the solution of q + 1
linear equations (ridge regression; the posterior mean for Gaussian noise and a Gaussian code), so nothing of the trace
but what the source cannot explain reaches a code. How strongly to hold back is learnt: from powers in a few bands of
trace and source, and from their correlation.

What all paths of a bag have in common cannot be told from its source. With ``centred`` it belongs to the source by
definition, and codes have no mean over their bag; that takes 1 / t of each path away with it, which small bags feel,
and codes say nothing about the event without it either.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from groundswell.core.errors import InputError
from groundswell.pipelines.symae.alignment.fourier import fast_length, spectrum, to_time

_LEAST = 1e-6
_BANDS = 8
_LOG_HOLD = (-7.0, 5.0)
_FIRST_HOLD = 0.3
_FAINTEST = 0.05
_DECAY = 80.0
"""Lags in which the first basis falls to 1/e."""


class PathCodes(NamedTuple):
    """Codes ``code`` (b, t, q) and amplitudes ``amplitude`` (b, t) of traces, both 0 for padding; and ``surprise``
    (b, t), the negative logarithm of the traces' evidence for a sample, but for a constant."""

    code: Tensor
    amplitude: Tensor
    surprise: Tensor


class PathNetwork(nn.Module):
    """See the top of this file.

    Args:
        nt: samples of a trace.
        q: numbers of a code.
        before: lags before the direct wave that a path may have: what arrived early, or was aligned late.
        centred: take the bag's mean out of its codes.

    Raises:
        InputError: sizes that make no network.
    """

    def __init__(self, nt: int = 192, *, q: int = 30, before: int = 4, centred: bool = False) -> None:
        super().__init__()
        if not 1 <= q < nt or not 0 <= before < nt:
            raise InputError(f"A code has at least one number and fewer than the trace has samples ({nt}), not {q}",
                             where="model.q", fix="Choose another q")
        self.nt, self.q, self.before, self.centred = nt, q, before, centred
        self.basis = nn.Parameter(_first_basis(q, nt, before))
        self.hold = nn.Sequential(nn.Linear(2 * _BANDS + 2, 32), nn.GELU(), nn.Linear(32, 1))
        last = cast(nn.Linear, self.hold[2])
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, math.log(_FIRST_HOLD))

    def forward(self, x_btn: Tensor, mask_bt: Tensor, source_bn: Tensor) -> PathCodes:
        """Codes and amplitudes of aligned traces of common polarity.

        Args:
            x_btn: (b, t, n), zero for padding.
            mask_bt: bool (b, t), false for padding.
            source_bn: (b, n), in the frame of the traces, of unit standard deviation.
        """
        with torch.autocast(x_btn.device.type, enabled=False):
            present = mask_bt.to(x_btn.dtype)
            hold = self._held(x_btn, source_bn)
            # The trace's amplitude is a number of its own, hardly held back.
            design = torch.cat([source_bn[:, None], self._on(source_bn, self.basis)], 1)
            gram = (design @ design.transpose(1, 2)) / self.nt
            right = x_btn @ design.transpose(1, 2) / self.nt
            penalty = torch.cat([torch.full_like(hold, 1e-3), hold.expand(-1, -1, self.q)], -1)
            lower = torch.linalg.cholesky(gram[:, None] + torch.diag_embed(penalty))
            solved = torch.cholesky_solve(right[..., None], lower)[..., 0]
            surprise = self._surprise(x_btn, right, solved, lower, hold[..., 0])
            amplitude = solved[..., 0].clamp_min(_FAINTEST)
            code = solved[..., 1:] / amplitude[..., None] * present[..., None]
            if self.centred:
                mean = code.sum(1, keepdim=True) / present.sum(1).clamp_min(1.0)[:, None, None]
                code = (code - mean) * present[..., None]
            return PathCodes(code, amplitude * present, surprise)

    def _surprise(self, x_btn: Tensor, right: Tensor, solved: Tensor, lower: Tensor, hold_bt: Tensor) -> Tensor:
        """Of a Gaussian with covariance M M' + hold, M the basis on the source, its scale chosen for each trace."""
        left = (x_btn.square().mean(-1) - (right * solved).sum(-1)).clamp_min(_LEAST)
        size = 2 * lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return 0.5 * (left / hold_bt).log() + 0.5 * ((self.nt - self.q) * hold_bt.log() + size) / self.nt

    def responses(self, code_btq: Tensor) -> Tensor:
        """Impulse responses (b, t, before + n) of codes; the direct wave, 1, at lag ``before``."""
        g_btl = code_btq @ self.basis
        direct = torch.zeros_like(g_btl[..., :])
        direct[..., self.before] = 1.0
        return direct + g_btl

    def decode(self, source_bn: Tensor, code_btq: Tensor) -> Tensor:
        """Virtual traces (b, t, n): the source of each bag on the paths of codes; a code of 0 gives it back."""
        with torch.autocast(source_bn.device.type, enabled=False):
            return source_bn[:, None] + code_btq @ self._on(source_bn, self.basis)

    def _on(self, source_bn: Tensor, response_ql: Tensor) -> Tensor:
        """Responses convolved with each source, (b, q, n); nothing wraps."""
        length = fast_length(2 * self.nt + self.before)
        one, other = (spectrum(wave, length) for wave in (source_bn[:, None], response_ql))
        real, imaginary = one[0] * other[0] - one[1] * other[1], one[0] * other[1] + one[1] * other[0]
        return to_time(real, imaginary, length, self.before, self.nt)

    def _held(self, x_btn: Tensor, source_bn: Tensor) -> Tensor:
        """By how much a code of each trace is held back, (b, t, 1)."""
        size = (x_btn.square().sum(-1) * source_bn.square().sum(-1, keepdim=True)).clamp_min(_LEAST).sqrt()
        alike = ((x_btn * source_bn[:, None]).sum(-1) / size)[..., None]
        seen = _band_powers(x_btn)
        of_source = _band_powers(source_bn)[:, None].expand_as(seen)
        features = torch.cat([seen, of_source, alike, (1 - alike.square()).clamp_min(_LEAST).log()], -1)
        return torch.exp(self.hold(features / 4).clamp(*_LOG_HOLD))


def _band_powers(x: Tensor) -> Tensor:
    """Logarithms of the power in a few bands (..., f), finer at low frequencies."""
    real, imaginary = spectrum(x, x.shape[-1])
    power = (real.square() + imaginary.square()) / x.shape[-1] ** 2
    count = power.shape[-1] - 1
    edges = [1 + round(count * (band / _BANDS) ** 1.5) for band in range(_BANDS + 1)]
    bands = [power[..., low:max(high, low + 1)].mean(-1) for low, high in pairwise(edges)]
    return torch.stack(bands, -1).clamp_min(1e-8).log()


def _first_basis(q: int, nt: int, before: int) -> Tensor:
    """Decaying cosines (q, before + nt) of rising frequency: smooth responses first."""
    lag = torch.arange(before + nt, dtype=torch.float32) - before
    fades = torch.exp(-lag.abs() / _DECAY)
    # As many turns in the strong early part as in the long tail.
    stretched = 1 - torch.exp(-lag.clamp_min(0.0) / _DECAY)
    number = torch.arange(1, q + 1, dtype=torch.float32)[:, None]
    wave = torch.cos(torch.pi * number * stretched) * fades * (lag > 0)
    return 0.15 * wave
