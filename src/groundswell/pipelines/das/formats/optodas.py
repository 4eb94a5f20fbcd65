"""das: ASN OptoDAS HDF5: one array with a header group beside it."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from groundswell.pipelines.das.formats import contents, hdf5
from groundswell.pipelines.das.formats.clock import steady
from groundswell.pipelines.das.formats.hdf5 import Facts
from groundswell.pipelines.das.record import Record

_MARKS = ("data", "header", "cableSpec", "fileVersion")


def recognises(file: h5py.File) -> bool:
    """Whether the file has OptoDAS's groups."""
    return (all(mark in file for mark in _MARKS) and contents.two_dimensional(contents.array(file, "data"))
            and contents.subgroup(file, "header") is not None)


def _spacing(header: h5py.Group) -> float | None:
    # Channels are numbered in units of dx, and only every n-th may have been kept.
    dx_m = contents.number(header, "dx")
    channels = contents.array(header, "channels")
    if dx_m is None or channels is None or channels.size < 2:
        return dx_m
    return dx_m * float(np.median(np.abs(np.diff(np.ravel(channels[()]).astype(np.float64)))))


def describe(file: h5py.File, path: Path) -> list[Record]:
    """The one record of an OptoDAS file. Values are as stored; ``detail["scale"]`` leads to the units given."""
    header, dataset = file["header"], file["data"]
    names = [name.lower() for name in contents.words(header, "dimensionNames")]
    swapped = names[-1:] == ["time"]
    samples, channels = dataset.shape[::-1] if swapped else dataset.shape
    seconds, step_s = contents.number(header, "time"), contents.number(header, "dt")
    start = np.datetime64(round(seconds * 1e6) * 1000, "ns") if seconds else None
    scale, units = contents.number(header, "dataScale"), contents.text(header, "unit")
    facts = Facts("optodas", "channel,time" if swapped else "time,channel", "metadata" if names else "guess",
                  steady(int(samples), 1 / step_s if step_s else None, start), int(channels),
                  spacing_m=_spacing(header), gauge_m=contents.number(header, "gaugeLength"),
                  units=units if scale in (None, 1.0) else f"{scale:.6g} {units}",
                  detail={} if scale is None else {"scale": scale})
    return [hdf5.record_of(dataset, path, facts)]
