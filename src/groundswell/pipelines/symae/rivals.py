"""symae: what a model is held against: stacks made without learning, a network that sees the stack alone, the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable
from groundswell.data.waveforms import WaveformPredictions
from groundswell.evaluate.controls import Control, Outcome, Runner
from groundswell.evaluate.waveform_rivals import WAVEFORM_CONTROLS
from groundswell.pipelines.symae.alignment.fourier import shift_traces
from groundswell.pipelines.symae.alignment.iccs import iccs
from groundswell.pipelines.symae.alignment.stacks import envelope, windowed_stack
from groundswell.pipelines.symae.reading import Bags, batches, halves
from groundswell.pipelines.symae.source import BagSource
from groundswell.splits.manifest import TEST, SplitManifest


@dataclass(frozen=True)
class Stacked:
    """What a rival says of bags: waveforms (b, n), shifts in seconds (b, t) and polarities (b, t), or none of these."""

    waveform: Tensor
    shift_s: Tensor | None = None
    flip: Tensor | None = None


@dataclass(frozen=True)
class Stacker:
    """Makes the stacks of one kind.

    Args:
        name: raw_stack, iccs_stack, windowed_stack, envelope_stack or oracle.
        dt: seconds between samples.
        max_shift_s: largest shift that alignment looks for.
    """

    name: str
    dt: float
    max_shift_s: float

    def __call__(self, bags: Bags, mask: Tensor) -> Stacked:
        """The stacks of the traces that ``mask`` (b, t) lets through."""
        x = bags.x * mask[..., None]
        count = mask.sum(1).clamp_min(1)[:, None]
        if self.name == "raw_stack":
            return Stacked(x.sum(1) / count)
        if self.name == "oracle":
            shift, flip = bags.fields["shift"], bags.fields["flip"]
            return Stacked((shift_traces(x, -shift) * flip[..., None]).sum(1) / count, shift * self.dt, flip)
        found = iccs(x, mask, dt=self.dt, max_shift_s=self.max_shift_s)
        if self.name == "iccs_stack":
            return Stacked(found.stack, found.shift_s, found.flip)
        if self.name == "windowed_stack":
            return Stacked(windowed_stack(found.stack, dt=self.dt), found.shift_s, found.flip)
        return Stacked((envelope(found.x) * mask[..., None]).sum(1) / count, found.shift_s, found.flip)


def stack_predictions(stacker: Stacker, source: BagSource, table: SampleTable, manifest: SplitManifest,
                      t0: float) -> WaveformPredictions:
    """The stacks of all tested bags, and of two halves of each."""
    names, parts = table.column("sample_id").to_numpy(object), []
    for fold in range(manifest.folds):
        for bags in batches(source, manifest.rows(TEST, fold)):
            with torch.inference_mode():
                whole, pair = stacker(bags, bags.mask), _pair(stacker, bags)
            parts.append(WaveformPredictions.of(
                names[bags.rows], whole.waveform.numpy(), dt=stacker.dt, t0=t0, halves=pair, member=stacker.name,
                fold=fold, envelope=stacker.name == "envelope_stack",
                shift_s=padding_unknown(whole.shift_s, bags.mask),
                flip=None if whole.flip is None else (whole.flip * bags.mask).numpy().astype(np.int8)))
    return WaveformPredictions.concatenate(parts)


def padding_unknown(values: Tensor | None, mask: Tensor) -> Any:
    """Values (b, t) as an array with NaN for padding."""
    return None if values is None else torch.where(mask, values, torch.nan).numpy()


def _pair(stacker: Stacker, bags: Bags) -> Any:
    one, other, both = halves(bags.mask)
    pair = torch.stack([stacker(bags, one).waveform, stacker(bags, other).waveform], 1)
    return torch.where(both[:, None, None], pair, torch.nan).numpy()


def symae_controls(names: Sequence[str], source: Callable[[], BagSource], *, dt: float, t0: float,
                   max_shift_s: float, truth: bool,
                   stack_only: Callable[[SampleTable, SplitManifest], Any]) -> list[tuple[Control, Runner]]:
    """The rivals a recipe names, ready to be run.

    Args:
        names: as in ``evaluate.controls`` of the recipe.
        source: opens the bags.
        dt, t0: of the time axis, seconds.
        max_shift_s: largest shift that alignment looks for, seconds.
        truth: whether the truth of the bags is known.
        stack_only: trains the network that sees the stack alone.

    Raises:
        InputError: there is no rival of that name.
    """
    unknown = [name for name in names if name not in WAVEFORM_CONTROLS]
    if unknown:
        raise InputError(f"There is no control '{unknown[0]}'", where="evaluate.controls",
                         fix=f"Choose among: {', '.join(WAVEFORM_CONTROLS)}")

    def runner(name: str) -> Runner:
        def run(table: SampleTable, manifest: SplitManifest) -> Outcome:
            if name == "stack_only":
                return Outcome(stack_only(table, manifest), table)
            if name == "oracle" and not truth:
                raise InputError("the true shifts are not known")
            return Outcome(stack_predictions(Stacker(name, dt, max_shift_s), source(), table, manifest, t0), table)

        return run

    return [(WAVEFORM_CONTROLS[name], runner(name)) for name in names]
