"""symae: bags of a table read for use: in batches, whole or in disjoint halves, with their truth where it is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundswell.evaluate.waveform_truth import WaveformTruth
from groundswell.pipelines.symae.source import BagSource
from groundswell.pipelines.symae.store import BagStore


@dataclass(frozen=True)
class Bags:
    """A batch of bags; b bags, t traces, n samples.

    Attributes:
        rows: of the table, int64 (b,).
        fields: as :class:`.source.BagSource` delivers them, as tensors.
    """

    rows: NDArray[np.int64]
    fields: dict[str, Tensor]

    @property
    def x(self) -> Tensor:
        """(b, t, n), zero for padding."""
        return self.fields["x"]

    @property
    def mask(self) -> Tensor:
        """Bool (b, t)."""
        return self.fields["mask"]


def batches(source: BagSource, rows: NDArray[np.int64], size: int = 32) -> Iterator[Bags]:
    """The bags at ``rows``, in order, a batch at a time."""
    for start in range(0, len(rows), size):
        part = np.asarray(rows[start:start + size], np.int64)
        out: dict[str, NDArray[Any]] = {name: field.allocate(len(part)) for name, field in source.fields.items()}
        source.read(part, out)
        yield Bags(part, {name: torch.from_numpy(value) for name, value in out.items()})


def halves(mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Two disjoint halves of each bag's traces, every other one, and which bags (b,) have two traces in both."""
    place = torch.cumsum(mask.long(), 1) - 1
    even, odd = mask & (place % 2 == 0), mask & (place % 2 == 1)
    return even, odd, (even.sum(1) >= 2) & (odd.sum(1) >= 2)


def truth_of(store: BagStore, source: BagSource, names: NDArray[np.object_],
             rows: NDArray[np.int64]) -> WaveformTruth | None:
    """What is known of the bags at ``rows``: the simulation's truth, or else measured arrivals; ``None`` if nothing.

    Args:
        store: the bags.
        source: which traces of each are looked at, and in what order.
        names: ``sample_id`` of each row.
        rows: of the source's table.
    """
    nt, most = store.facts.nt, source.fields["x"].shape[0]
    shift = np.full((len(rows), most), np.nan)
    if not store.has_truth:
        picks = store.traces["pick"].to_numpy(np.float64)
        for i, row in enumerate(rows.tolist()):
            places = source.places(row)
            shift[i, :len(places)] = picks[int(store.bags["start"].iloc[source.bag(row)]) + places]
        if not np.isfinite(shift).any():
            return None
        return WaveformTruth.of(names, nt=nt, shift_s=shift, shifts_from="the arrivals that came with the records")
    waveform, flip = np.zeros((len(rows), nt)), np.zeros((len(rows), most), np.int8)
    recoverable = np.ones(len(rows), bool)
    for i, row in enumerate(rows.tolist()):
        bag, places = source.bag(row), source.places(row)
        waveform[i] = store.truth("source", bag)
        shift[i, :len(places)] = store.truth("shift", bag)[places]
        flip[i, :len(places)] = store.truth("flip", bag)[places]
        if "shared" in store.truths:
            recoverable[i] = not bool(store.truth("shared", bag))
    return WaveformTruth.of(names, nt=nt, waveform=waveform, shift_s=shift, flip=flip, recoverable=recoverable)
