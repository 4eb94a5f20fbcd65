"""symae: traces made by a network: those of a bag again, and those of one bag's source on another bag's paths."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from groundswell.pipelines.symae.alignment.fourier import shift_traces
from groundswell.pipelines.symae.extraction import Extraction, extract
from groundswell.pipelines.symae.reference_task import ReferenceTask
from groundswell.pipelines.symae.source_task import SourceTask
from groundswell.pipelines.symae.trained import AnyTask, padded_bags

Floats = NDArray[np.float64]
Bag = NDArray[np.float32]


def virtual_traces(task: AnyTask, source_of: Bag, paths_of: Bag) -> Floats:
    """The source of one bag on the paths of another, with the shifts and polarities of the other.

    Args:
        task: trained, in evaluation mode.
        source_of: float32 (s, n), as read.
        paths_of: float32 (t, n), as read.

    Returns:
        float64 (t, n), in standard deviations of the recorded traces (their envelopes, if the network reads those).
        The sign is the source's, which is a matter of convention.
    """
    with torch.inference_mode():
        one, other = padded_bags([source_of]), padded_bags([paths_of])
        if isinstance(task, ReferenceTask):
            made = task.network.redatum(task.prepared(*one), task.prepared(*other), one[1])
        else:
            made = on_paths(task, extract(task, *one).source, extract(task, *other), other[1])
        return np.asarray(made[0].double().numpy(), np.float64)


def again(task: AnyTask, bag: Bag) -> Floats:
    """A bag's own traces (t, n), reconstructed."""
    with torch.inference_mode():
        x, mask = padded_bags([bag])
        if isinstance(task, ReferenceTask):
            made = task.network(task.prepared(x, mask), mask).reconstruction
        else:
            found = extract(task, x, mask)
            made = on_paths(task, found.source, found, mask)
        return np.asarray(made[0].double().numpy(), np.float64)


def on_paths(task: SourceTask, source: torch.Tensor, found: Extraction, mask: torch.Tensor) -> torch.Tensor:
    """Sources (b, n) on the paths of bags that were extracted, (b, t, n)."""
    codes = task.path(found.aligned, mask, found.source)
    made = codes.amplitude[..., None] * task.path.decode(source, codes.code)
    return shift_traces(made, found.shift_s / task.dt) * found.flip[..., None]
