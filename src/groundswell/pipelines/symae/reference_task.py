"""symae: the task of the reference model, from bags as read to its loss, the history of each term and what it predicts.

Shape letters: b bag, t trace, n time sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from groundswell.core.errors import InputError
from groundswell.pipelines.symae.alignment.stacks import envelope
from groundswell.pipelines.symae.models.fast import FastSymVAE
from groundswell.pipelines.symae.models.losses import Terms, Weights, elbo_terms
from groundswell.pipelines.symae.models.reference import SymVAE
from groundswell.pipelines.symae.models.shift import to_samples
from groundswell.train.task import Batch, Sums, Task

TERMS = ("nll", "kl_coherent", "kl_nuisance", "kl_category", "coherence", "squared_error", "samples")


class ReferenceTask(Task):
    """The reference model and its loss (:mod:`.models.losses`).

    A batch has ``x``, float32 (b, t, n), standardised traces with zeros for padding, and ``mask``, bool (b, t).

    Args:
        nt: samples of a trace.
        p: length of a coherent code.
        q: length of a nuisance code.
        k: coherent categories.
        dt: seconds between samples.
        weights: of the terms of the loss.
        temperatures: of the choice among categories in each stage of training; the last one holds from then on.
        traces: traces of each bag that are used, drawn anew in training and the first ones in validation, so that
            bags are of equal size and their losses can be compared; 0 uses all.
        envelopes: learn from the Hilbert envelopes of the traces, standardised, instead.
        fast: compute the same in the forms that a CPU computes fastest (:mod:`.models.fast`).
        draws: of the codes, for the spread of a predicted source.

    Raises:
        InputError: sizes that make no network, a bag size of one.
    """

    lower_is_better: ClassVar[frozenset[str]] = frozenset(
        {"loss", "mse", "nll", "kl_coherent", "kl_nuisance", "kl_category", "coherence", "shift_rms", "log_variance",
         "negative_elbo"})

    def __init__(self, nt: int = 192, p: int = 30, q: int = 30, k: int = 1, *, dt: float = 0.5,
                 weights: Weights = Weights(), temperatures: Sequence[float] = (1.0, 1.0, 0.25), traces: int = 20,  # noqa: B008
                 envelopes: bool = False, fast: bool = True, draws: int = 16) -> None:
        super().__init__()
        if traces == 1 or not temperatures or min(temperatures) <= 0:
            raise InputError("Bags need two traces or more, and temperatures are above 0", where="model",
                             fix="Set traces to 0 for all, or to 2 or more")
        self.network: SymVAE = (FastSymVAE if fast else SymVAE)(nt, p, q, k)
        self.weights, self.temperatures, self.temperature = weights, tuple(temperatures), temperatures[0]
        self.dt, self.traces, self.envelopes, self.draws = dt, traces, envelopes, draws

    def stage(self, number: int) -> None:
        """See :meth:`groundswell.train.task.Task.stage`."""
        self.temperature = self.temperatures[min(number, len(self.temperatures) - 1)]

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> tuple[Tensor, Sums]:
        """Loss and sums; see :class:`~groundswell.train.task.Task`. Without a generator the codes are their means."""
        x, mask = take_traces(self.prepared(batch["x"], batch["mask"]), batch["mask"], self.traces, generator)
        out = self.network(x, mask, generator, self.temperature)
        weight = batch["weight"].float()
        with torch.autocast(x.device.type, enabled=False):
            terms = elbo_terms(out, x, mask, self.network.prior_logits, weight)
            loss = terms.loss(self.weights, weight)
        with torch.no_grad():
            return loss, self._sums(loss, terms, weight, mask)

    def _sums(self, loss: Tensor, terms: Terms, weight: Tensor, mask: Tensor) -> Sums:
        bags = weight.double().sum()
        sums = {name: (getattr(terms, name) * weight).double().sum() for name in TERMS}
        return {**sums, "loss": loss.double() * bags, "bags": bags,
                "traces": (mask.sum(dim=1) * weight).double().sum(), "kept": mask[weight > 0].double().sum(),
                "shift_squares": terms.shift_norm.double().square(),
                "log_variance": self.network.log_variance.detach().double() * bags}

    def metrics(self, sums: Sums) -> dict[str, float]:
        """``loss`` a bag; a sample: ``mse``, ``nll``, ``negative_elbo``; ``kl_coherent`` a bag, ``kl_nuisance`` and
        ``kl_category`` a trace, all in nats; ``coherence``, the penalty; ``shift_rms`` in samples; ``log_variance``."""
        tiny = torch.finfo(torch.float64).tiny
        bags, traces, samples, kept = (sums[name].clamp(min=tiny) for name in ("bags", "traces", "samples", "kept"))
        elbo = sums["nll"] + sums["kl_coherent"] + sums["kl_nuisance"] + sums["kl_category"]
        rms = to_samples((sums["shift_squares"] / kept).sqrt(), self.network.nt)
        found = {"loss": sums["loss"] / bags, "mse": sums["squared_error"] / samples, "nll": sums["nll"] / samples,
                 "kl_coherent": sums["kl_coherent"] / bags, "kl_nuisance": sums["kl_nuisance"] / traces,
                 "kl_category": sums["kl_category"] / traces, "coherence": sums["coherence"] / bags,
                 "shift_rms": rms, "log_variance": sums["log_variance"] / bags, "negative_elbo": elbo / samples}
        return {name: float(value) for name, value in found.items()}

    def prepared(self, x_btn: Tensor, mask_bt: Tensor) -> Tensor:
        """Traces as the network takes them: as they are, or their standardised envelopes. Padding is zeros."""
        if not self.envelopes:
            return x_btn
        with torch.autocast(x_btn.device.type, enabled=False), torch.no_grad():
            found = envelope(x_btn)
            found = found - found.mean(dim=-1, keepdim=True)
            scale = found.square().mean(dim=-1, keepdim=True).sqrt()
            # Padding has no envelope; values that are not finite stay so, to be refused.
            return torch.where(mask_bt[..., None], found / scale, 0.0)

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """What the model says of bags of any size.

        Returns:
            ``source`` (b, n): the mean over a bag of its decoded traces, aligned, mean 0 and standard deviation 1;
            ``spread`` (b, n): its standard deviation over draws of the codes; ``shift_s`` (b, t), positive is late,
            mean 0 over the bag; ``flip`` (b, t), ones, for this model knows of no polarity; ``aligned`` (b, t, n).
            Of padding the last three are zeros.
        """
        mask = batch["mask"]
        x = self.prepared(batch["x"], mask)
        out = self.network(x, mask)
        inside = mask.float()
        count = inside.sum(dim=1, keepdim=True)
        generator = torch.Generator(x.device).manual_seed(0)

        def stack(code_bp: Tensor, nuisance_btq: Tensor) -> Tensor:
            each = self.network.decode(self.network.chosen(code_bp, out.log_category), nuisance_btq)
            total = (each * inside[..., None]).sum(dim=1) / count
            return total - total.mean(dim=-1, keepdim=True)

        source = stack(out.coherent.mean, out.nuisance.mean)
        scale = source.square().mean(dim=-1, keepdim=True).sqrt().clamp(min=torch.finfo(source.dtype).tiny)
        drawn = torch.stack([stack(out.coherent.sample(generator), out.nuisance.sample(generator))
                             for _ in range(self.draws)])
        shift_s = to_samples(out.shift, self.network.nt) * self.dt
        centred = (shift_s - (shift_s * inside).sum(dim=1, keepdim=True) / count) * inside
        return {"source": source / scale, "spread": (drawn - source).square().mean(dim=0).sqrt() / scale,
                "shift_s": centred, "flip": inside, "aligned": out.aligned * inside[..., None]}


def take_traces(x_btn: Tensor, mask_bt: Tensor, count: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """``count`` traces of each bag, drawn without replacement, or the first ones without a generator.

    Args:
        x_btn: bags.
        mask_bt: false at padding.
        count: traces to keep; 0 keeps all. Bags with fewer keep theirs, and the rest is padding.
        generator: source of chance.

    Returns:
        Traces (b, count or t, n) and their mask.
    """
    present = mask_bt.shape[1]
    if not count or present <= count:
        return x_btn, mask_bt
    if generator is None:
        order = torch.arange(present, 0, -1, device=x_btn.device, dtype=torch.float32).expand(mask_bt.shape)
    else:
        order = torch.rand(mask_bt.shape, generator=generator, device=x_btn.device)
    chosen = torch.where(mask_bt, order, -1.0).topk(count, dim=1).indices
    return (x_btn.gather(1, chosen[..., None].expand(-1, -1, x_btn.shape[-1])), mask_bt.gather(1, chosen))
