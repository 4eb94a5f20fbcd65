"""symae: the reference model, a variational autoencoder with one code for a bag of traces and one for each trace.

Shape letters: b bag, t trace, m trace of a flattened batch, n time sample, c channel, p length of the coherent code of
one category, q of the nuisance code, k number of categories.

Each trace is advanced by a shift that a small network finds (:mod:`.shift`), then encoded twice. What the coherent
encoder says of a bag's traces is pooled by a product of Gaussians
(:mod:`~groundswell.pipelines.symae.models.pooling`); each trace keeps a nuisance code. One decoder makes each trace
from both, and the shift is undone. With k > 1 a bag has k coherent codes, and each trace chooses one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from groundswell.core.errors import InputError
from groundswell.pipelines.symae.models.pooling import Gaussian, product_of_gaussians
from groundswell.pipelines.symae.models.shift import SLOPE, ShiftNet, advance, delay, glorot

PARAMETERS = 199_120
"""With the reference's sizes: nt = 192, p = q = 30, k = 1."""
ENCODER = ((1, 5, 50), (5, 10, 20), (10, 20, 20), (20, 50, 5))
"""Input channels, output channels and kernel of the encoders' convolutions; pooled by 4 after each second one."""
DECODER = ((1, 5, 50), (5, 20, 20), (20, 20, 20), (20, 50, 5), (50, 1, 5))
PRIOR_LOGIT = 2.0
"""Of the first category before training; the others have its negative."""


@dataclass(frozen=True)
class Outputs:
    """What the model says of a batch of bags; values at padding traces mean nothing.

    Attributes:
        shift: (b, t), v of :mod:`.shift`.
        aligned: (b, t, n), the traces, advanced.
        coherent: (b, k p), of each bag.
        nuisance: (b, t, q), of each trace.
        log_category: (b, t, k), log probabilities of the categories; zeros where k is 1.
        reconstruction: (b, t, n), shifted back.
        log_variance: scalar, of the noise.
    """

    shift: Tensor
    aligned: Tensor
    coherent: Gaussian
    nuisance: Gaussian
    log_category: Tensor
    reconstruction: Tensor
    log_variance: Tensor


@dataclass(frozen=True)
class Codes:
    """What the encoders say of traces.

    Attributes:
        mean, log_precision: (b, t, k p), of the coherent code, before pooling.
        nuisance: (b, t, q).
        log_category: (b, t, k).
    """

    mean: Tensor
    log_precision: Tensor
    nuisance: Gaussian
    log_category: Tensor

    def pooled(self, mask: Tensor) -> Gaussian:
        """The bags' coherent codes (b, k p)."""
        return product_of_gaussians(self.mean, self.log_precision, mask)


class Convolution(nn.Conv1d):
    """A convolution over time that keeps the length: with an even kernel one more zero goes before than after."""

    def forward(self, x_mcn: Tensor) -> Tensor:
        """From (m, c, n) to (m, c', n)."""
        before, after = padding(self.kernel_size[0])
        return super().forward(functional.pad(x_mcn, (before, after)))


def padding(kernel: int) -> tuple[int, int]:
    """Zeros before and after a trace that keep its length."""
    return kernel // 2, (kernel - 1) // 2


class Encoder(nn.Module):
    """A trace to features (m, ``features``)."""

    def __init__(self, length: int, features: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(Convolution(*sizes) for sizes in ENCODER)
        self.flat = nn.Linear(ENCODER[-1][1] * (length // 16), features)

    def forward(self, x_mn: Tensor) -> Tensor:
        """Features of traces."""
        y_mcn = x_mn[:, None]
        for number, convolution in enumerate(self.convolutions):
            y_mcn = functional.leaky_relu(convolution(y_mcn), SLOPE)
            if number % 2:
                y_mcn = functional.avg_pool1d(y_mcn, 4)
        return functional.leaky_relu(cast(Tensor, self.flat(y_mcn.flatten(1))), SLOPE)


class Decoder(nn.Module):
    """Codes (m, p + q) to traces (m, n)."""

    def __init__(self, length: int, codes: int) -> None:
        super().__init__()
        self.dense = nn.ModuleList([nn.Linear(codes, length), nn.Linear(length, length)])
        self.convolutions = nn.ModuleList(Convolution(*sizes) for sizes in DECODER)

    def begin(self, z_mc: Tensor) -> Tensor:
        """The part before the convolutions, (m, n)."""
        for layer in self.dense:
            z_mc = functional.leaky_relu(layer(z_mc), SLOPE)
        return z_mc

    def forward(self, z_mc: Tensor) -> Tensor:
        """Traces of codes."""
        y_mcn = self.begin(z_mc)[:, None]
        for number, convolution in enumerate(self.convolutions, 1):
            y_mcn = convolution(y_mcn)
            if number < len(self.convolutions):
                y_mcn = functional.leaky_relu(y_mcn, SLOPE)
        return y_mcn[:, 0]


class SymVAE(nn.Module):
    """The reference model.

    Args:
        nt: samples of a trace, a multiple of 16.
        p: length of a coherent code.
        q: length of a nuisance code.
        k: coherent categories.

    Raises:
        InputError: sizes that make no network.
    """

    prior_logits: Tensor

    def __init__(self, nt: int = 192, p: int = 30, q: int = 30, k: int = 1) -> None:
        super().__init__()
        if nt < 16 or nt % 16 or min(p, q, k) < 1:
            raise InputError(f"The reference model needs nt a multiple of 16 and p, q and k of at least 1, not nt = "
                             f"{nt}, p = {p}, q = {q}, k = {k}", where="model", fix="Choose other sizes")
        self.nt, self.p, self.q, self.k = nt, p, q, k
        wide = p * k
        self.shift_net = ShiftNet(nt)
        self.coherent, self.nuisance = Encoder(nt, wide), Encoder(nt, q)
        self.coherent_mean, self.coherent_log_precision = nn.Linear(wide, wide), nn.Linear(wide, wide)
        self.nuisance_mean, self.nuisance_log_std = nn.Linear(q, q), nn.Linear(q, q)
        self.category = nn.Sequential(nn.Linear(wide, wide), nn.LeakyReLU(SLOPE), nn.Linear(wide, k)) if k > 1 else None
        self.decoder = Decoder(nt, p + q)
        self.log_variance = nn.Parameter(torch.ones(()))
        logits = torch.full((k,), -PRIOR_LOGIT)
        logits[0] = PRIOR_LOGIT
        self.register_buffer("prior_logits", logits, persistent=False)
        glorot(self)
        self.shift_net.begin()

    def forward(self, x_btn: Tensor, mask_bt: Tensor, generator: torch.Generator | None = None,
                temperature: float = 1.0) -> Outputs:
        """Encode and decode bags.

        Args:
            x_btn: float32 (b, t, n), each trace of zero mean and unit standard deviation; padding is zeros.
            mask_bt: bool (b, t), false at padding.
            generator: source of the codes' noise; without one the means are decoded.
            temperature: of the choice among categories; unused where k is 1.

        Raises:
            InputError: see :func:`check_bags`.
        """
        check_bags(x_btn, mask_bt, self.nt)
        shift = self.shifts(x_btn)
        aligned = advance(x_btn, shift)
        codes = self.encode(aligned)
        coherent = codes.pooled(mask_bt)
        drawn = self.chosen(coherent.sample(generator), codes.log_category, generator, temperature)
        made = self.decode(drawn, codes.nuisance.sample(generator))
        return Outputs(shift, aligned, coherent, codes.nuisance, codes.log_category, delay(made, shift),
                       self.log_variance)

    # -- its parts, for what is done with a trained model -------------------------------------------------------------

    def shifts(self, x_btn: Tensor) -> Tensor:
        """v (b, t) of traces (b, t, n)."""
        # It is small and says what is measured: half precision would save little and round to hundredths of samples.
        with torch.autocast(x_btn.device.type, enabled=False):
            return cast(Tensor, self.shift_net(x_btn.flatten(0, 1))).reshape(x_btn.shape[:2])

    def encode(self, aligned_btn: Tensor) -> Codes:
        """Codes of aligned traces."""
        bags = aligned_btn.shape[:2]
        x_mn = aligned_btn.flatten(0, 1)
        h, g = self._features(x_mn)
        found = [self.coherent_mean(h), self.coherent_log_precision(h), self.nuisance_mean(g), self.nuisance_log_std(g)]
        mean, log_precision, nuisance, log_std = (_wide(value).reshape(*bags, -1) for value in found)
        logits = h.new_zeros(len(h), 1) if self.category is None else self.category(h)
        return Codes(mean, log_precision, Gaussian(nuisance, log_std),
                     _wide(logits).log_softmax(-1).reshape(*bags, -1))

    def posterior(self, x_btn: Tensor, mask_bt: Tensor | None = None, *, align: bool = True) -> Gaussian:
        """The coherent code (b, k p) of bags, which may be of one trace.

        Args:
            x_btn: traces.
            mask_bt: false at padding; all are traces without it.
            align: advance the traces first; not for traces that this model has decoded.
        """
        mask = torch.ones(x_btn.shape[:2], dtype=torch.bool, device=x_btn.device) if mask_bt is None else mask_bt
        return self.encode(advance(x_btn, self.shifts(x_btn)) if align else x_btn).pooled(mask)

    def nuisance_means(self, x_btn: Tensor, *, align: bool = True) -> Tensor:
        """Means of the nuisance codes (b, t, q)."""
        return self.encode(advance(x_btn, self.shifts(x_btn)) if align else x_btn).nuisance.mean

    def chosen(self, code_bp: Tensor, log_category: Tensor, generator: torch.Generator | None = None,
               temperature: float = 1.0) -> Tensor:
        """The coherent code of each trace (b, t, p), a mixture of those of its bag.

        With a generator the mixture is a Gumbel-softmax draw at ``temperature`` (Jang et al. 2017; Maddison et al.
        2017); without one it is the likeliest category alone.
        """
        if self.k == 1:
            return code_bp[:, None].expand(-1, log_category.shape[1], -1)
        if generator is None:
            share = functional.one_hot(log_category.argmax(-1), self.k).to(code_bp.dtype)
        else:
            uniform = torch.rand(log_category.shape, generator=generator, device=log_category.device)
            gumbel = -(-uniform.clamp(1e-7, 1 - 1e-7).log()).log()
            share = ((log_category + gumbel) / temperature).softmax(-1)
        return torch.einsum("btk,bkp->btp", share, code_bp.reshape(-1, self.k, self.p))

    def decode(self, coherent: Tensor, nuisance: Tensor) -> Tensor:
        """Aligned traces (..., n) of coherent codes (..., p) and nuisance codes (..., q), which are broadcast."""
        lead = (coherent[..., 0] + nuisance[..., 0]).shape
        z = torch.cat([coherent.expand(*lead, self.p), nuisance.expand(*lead, self.q)], dim=-1)
        made = self._traces(z.reshape(-1, self.p + self.q))
        return _wide(made).reshape(*lead, self.nt)

    def redatum(self, source_btn: Tensor, path_btn: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """Virtual traces (b, t, n): the source of one bag on the paths of another, with the shifts of the other.

        Args:
            source_btn: bags whose coherent code is taken.
            path_btn: bags whose nuisance codes, categories and shifts are taken.
            source_mask: of the first.
        """
        shift = self.shifts(path_btn)
        codes = self.encode(advance(path_btn, shift))
        code = self.chosen(self.posterior(source_btn, source_mask).mean, codes.log_category)
        return delay(self.decode(code, codes.nuisance.mean), shift)

    # -- the two heavy parts, which :mod:`.fast` computes in other ways -----------------------------------------------

    def _features(self, x_mn: Tensor) -> tuple[Tensor, Tensor]:
        return self.coherent(x_mn), self.nuisance(x_mn)

    def _traces(self, z_mc: Tensor) -> Tensor:
        return cast(Tensor, self.decoder(z_mc))


def check_bags(x_btn: Tensor, mask_bt: Tensor, length: int) -> None:
    """See that bags can be encoded.

    Raises:
        InputError: wrong shapes, a bag with fewer than two traces, or values that are not finite.
    """
    if x_btn.ndim != 3 or x_btn.shape[-1] != length or mask_bt.shape != x_btn.shape[:2]:
        raise InputError(f"Bags are (bags, traces, {length}) with a mask (bags, traces), not {tuple(x_btn.shape)} with "
                         f"{tuple(mask_bt.shape)}", fix=f"Prepare traces of {length} samples")
    single = (mask_bt.sum(dim=1) < 2).nonzero().flatten().tolist()
    if single:
        raise InputError(f"A bag needs at least two traces, for what they share cannot be told from one; these of the "
                         f"batch have fewer: {single[:8]}", fix="Leave out such bags, or group the stations by wider "
                         "pixels")
    # One pass: a sum is finite only if each value is, and float64 has no overflow to fear.
    if not bool(torch.isfinite(x_btn.sum(dtype=torch.float64))):
        bad = (~torch.isfinite(x_btn)).any(dim=-1).nonzero()[:4].tolist()
        raise InputError(f"Traces with values that are not finite, as [bag, trace] of the batch: {bad}",
                         fix="Prepare the archive again; it drops such traces")


def _wide(value: Tensor) -> Tensor:
    """Out of the half precision of autocast: exponentials and sums follow."""
    return value if value.dtype == torch.float64 else value.float()
