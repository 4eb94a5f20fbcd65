"""symae: the task of the improved model: bags to sources, shifts and codes of paths, with and without labels.

Shape letters: b bag, t trace, n time sample.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from groundswell.pipelines.symae.alignment.fourier import shift_traces
from groundswell.pipelines.symae.extraction import again, extract, extracted, start
from groundswell.pipelines.symae.models.path import PathCodes, PathNetwork
from groundswell.pipelines.symae.models.reference import check_bags
from groundswell.pipelines.symae.models.source import Pooling, SourceEstimate, SourceNetwork
from groundswell.pipelines.symae.models.source_losses import (
    Target,
    bag_mean,
    half_target,
    path_error,
    source_terms,
    true_target,
)
from groundswell.pipelines.symae.source_changes import Bags, fewer_traces, halves, other_noise, other_polarities
from groundswell.train.task import Batch, Export, Sums, Task

_TRAINING_ROUNDS = 4
_LEAST = 1e-6


class SourceTask(Task):
    """The pooled source network and the path network, each behind the alignment of its bags.

    A batch has ``x`` float32 (b, t, n) and ``mask`` bool (b, t), and where the truth is known ``labelled`` (b,),
    ``source`` (b, n) and ``clean`` (b, t, n). Labelled bags are judged by their truth, the others by how half of a bag
    predicts the other half; see :mod:`.models.source_losses`. Training takes some traces of each bag, turns bags and
    traces upside down and exchanges the noise of labelled traces; validation takes bags as they are. The path network
    learns beside the source network and does not move it.

    Args:
        nt: samples of a trace.
        dt: seconds between samples.
        widths, trace_widths, pooling, stack_only: of :class:`~.models.source.SourceNetwork`.
        q, centred: of :class:`~.models.path.PathNetwork`.
        aligned: align bags before the network sees them; without it there are no shifts at all (an ablation).
        polarity: traces may be upside down.
        max_shift_s: largest shift, seconds.
        rounds: of aligning on the stack, before the network; training makes do with four.
        realign: rounds of aligning on the source that was found, when predicting.
        realigned: share of the training batches that the network sees so aligned.
        fewest: traces that training leaves to a bag, at least.
        augment: change bags in training at all.
        spread_weight, path_weight: of the terms beside the source's error.
    """

    lower_is_better: ClassVar[frozenset[str]] = frozenset({"loss", "source", "half", "surprise", "path",
                                                           "path_surprise"})

    def __init__(self, nt: int = 192, dt: float = 0.5, *, widths: Sequence[int] = (24, 32, 48, 64),
                 trace_widths: Sequence[int] = (12, 24, 32), pooling: Pooling = "weighted", stack_only: bool = False,
                 q: int = 30, centred: bool = False, aligned: bool = True, polarity: bool = True,
                 max_shift_s: float = 10.0, rounds: int = 10, realign: int = 2, realigned: float = 0.5,
                 fewest: int = 3, augment: bool = True, spread_weight: float = 0.1, path_weight: float = 0.3) -> None:
        super().__init__()
        self.nt, self.dt, self.max_shift_s = nt, dt, max_shift_s
        self.aligned, self.polarity, self.rounds, self.realign = aligned, polarity, rounds, realign
        self.realigned, self.fewest, self.augment = realigned if realign and aligned else 0.0, fewest, augment
        self.spread_weight, self.path_weight = spread_weight, path_weight
        self.network = SourceNetwork(nt, widths=widths, trace_widths=trace_widths, pooling=pooling,
                                     stack_only=stack_only)
        self.path = PathNetwork(nt, q=q, centred=centred)

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> tuple[Tensor, Sums]:
        """Loss and sums; see :class:`~groundswell.train.task.Task`.

        Raises:
            InputError: see :func:`~.extraction.extract`.
        """
        bags, weight = Bags.of(batch), batch["weight"].float()
        check_bags(bags.x, bags.mask, self.nt)
        if generator is not None and self.augment:
            bags = other_noise(fewer_traces(bags, self.fewest, generator), generator)
            bags = other_polarities(bags, generator, traces=self.polarity)
        known = bags.labelled > 0
        with torch.no_grad():
            x, shift, flip = self._placed(bags, generator)
        one, other = halves(bags.mask, generator)
        seen = torch.where(known[:, None], bags.mask, one)
        estimate: SourceEstimate = self.network(x, seen)
        terms = source_terms(estimate, self._target(bags, x, other, estimate))
        path, path_surprise = self._path_terms(bags, x, shift, flip, estimate)
        # The root: bags that are easy to describe count as much as those that are hard.
        paths = torch.where(known, (path + _LEAST).sqrt(), path_surprise)
        loss = terms.error + self.spread_weight * terms.surprise + self.path_weight * paths
        mean = (loss * weight).sum() / weight.sum().clamp(min=_LEAST)
        with torch.no_grad():
            told = weight * bags.labelled
            untold = weight - told
            return mean, {name: value.double() for name, value in (
                ("weight", weight.sum()), ("told", told.sum()), ("untold", untold.sum()),
                ("loss", (loss * weight).sum()), ("source", (terms.error * told).sum()),
                ("half", (terms.error * untold).sum()), ("surprise", (terms.surprise * weight).sum()),
                ("correlation", (terms.correlation * told).sum()),
                ("half_correlation", (terms.correlation * untold).sum()),
                ("coverage", (terms.covered * weight).sum()), ("path", (path * told).sum()),
                ("path_surprise", (path_surprise * untold).sum()))}

    def _placed(self, bags: Bags, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        """Aligned traces (b, t, n), shifts in samples and polarities (b, t)."""
        found = start(self, bags.x, bags.mask, *((_TRAINING_ROUNDS,) if self.training else ()))
        again_too = self.realigned > 0
        if generator is not None:
            again_too = torch.rand((), generator=generator, device=bags.x.device).item() < self.realigned
        if again_too:
            found = again(self, bags.x, bags.mask, self.network(found.x, bags.mask))
        return found.x, found.shift_s / self.dt, found.flip

    def _target(self, bags: Bags, x: Tensor, other: Tensor, estimate: SourceEstimate) -> Target:
        """The truth where it is known, the other half where it is not."""
        known = (bags.labelled > 0)[:, None]
        true = true_target(estimate.mean.detach(), bags.source, round(self.max_shift_s / self.dt))
        half = half_target(x, bags.mask, other)
        return Target(torch.where(known, true.wave, half.wave), torch.where(known, true.variance, half.variance))

    def _path_terms(self, bags: Bags, x: Tensor, shift: Tensor, flip: Tensor,
                    estimate: SourceEstimate) -> tuple[Tensor, Tensor]:
        source = standard(estimate.mean.detach())
        codes: PathCodes = self.path(x, bags.mask, source)
        made = codes.amplitude[..., None] * self.path.decode(source, codes.code)
        clean = shift_traces(bags.clean, -shift) * flip[..., None]
        return path_error(made, clean, bags.mask), bag_mean(codes.surprise, bags.mask)

    @torch.no_grad()
    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """``source`` and ``spread`` (b, n), ``shift_s`` and ``flip`` (b, t), ``aligned`` (b, t, n), ``settled`` (b,);
        see :class:`~.extraction.Extraction`."""
        found = extract(self, batch["x"].float(), batch["mask"].bool())
        return dict(found._asdict())

    def metrics(self, sums: Sums) -> dict[str, float]:
        """``loss``, ``surprise`` and ``coverage`` of the 90 % band; ``source`` (mean squared error), ``correlation``
        and ``path`` where bags are labelled; ``half``, ``half_correlation`` and ``path_surprise`` where not."""
        count = sums["weight"].clamp(min=_LEAST)
        found = {name: float(sums[name] / count) for name in ("loss", "surprise", "coverage")}
        for which, names in (("told", ("source", "correlation", "path")),
                             ("untold", ("half", "half_correlation", "path_surprise"))):
            if float(sums[which]) > 0:
                found |= {name: float(sums[name] / sums[which]) for name in names}
        return found

    def export(self) -> Export:
        """From bags as read, float32 (b, t, n), to ``source`` and ``spread``, both (b, n); alignment is inside. Traces
        of zeros are padding."""
        generator = torch.Generator().manual_seed(0)
        wave = torch.randn(2, 1, self.nt, generator=generator) + torch.randn(2, 5, self.nt, generator=generator)
        facts: dict[str, Any] = {"pipeline": "symae", "model": "source", "nt": self.nt, "dt": self.dt,
                                 "max_shift_s": self.max_shift_s, "realign": self.realign, "polarity": self.polarity}
        module = Exported(copy.deepcopy(self)).cpu().eval()
        return Export(module, {"x": standard(wave)}, ("source", "spread"), {"x": {0: "batch", 1: "trace"}}, facts)


class Exported(nn.Module):
    """A task as a plain module from bags to sources."""

    def __init__(self, task: SourceTask) -> None:
        super().__init__()
        self.task = task

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``source`` and ``spread`` (b, n) of bags (b, t, n); traces of zeros are padding."""
        found = extracted(self.task, x, x.abs().amax(-1) > 0)
        return found.source, found.spread


def standard(wave: Tensor) -> Tensor:
    """Waves (..., n) of zero mean and unit standard deviation."""
    wave = wave - wave.mean(-1, keepdim=True)
    return wave / wave.square().mean(-1, keepdim=True).sqrt().clamp_min(_LEAST)
