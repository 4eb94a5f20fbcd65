"""das: Terra15 Treble HDF5, file versions 4 to 6."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from groundswell.core.errors import InputError
from groundswell.pipelines.das.formats import contents, hdf5
from groundswell.pipelines.das.formats.clock import Clock, from_stamps, steady
from groundswell.pipelines.das.formats.hdf5 import Facts
from groundswell.pipelines.das.record import Record

_MARKS = ("file_version", "sensing_range_start", "dx", "nx")


def recognises(file: h5py.File) -> bool:
    """Whether the root has Terra15's attributes."""
    return all(mark in file.attrs for mark in _MARKS)


def _clock(group: h5py.Group, samples: int) -> Clock:
    """By GPS time, else by the computer's clock. A block that was not filled has zeros for times; it is left out."""
    for name in ("gps_time", "posix_time"):
        stamps = contents.array(group, name)
        if stamps is not None and stamps.size:
            times = np.ravel(stamps[()]).astype(np.float64)
            filled = int(np.flatnonzero(times > 0)[-1]) + 1 if (times > 0).any() else 0
            if filled > 1:
                return from_stamps(times, "s", samples=min(filled, samples))
    return steady(samples, None, None)


def describe(file: h5py.File, path: Path) -> list[Record]:
    """The one record of a Terra15 file, stored as (time, channel).

    Raises:
        InputError: the data product that the file names is not in it.
    """
    product = contents.text(file, "data_product")
    group = contents.subgroup(file, "data_product") or (contents.subgroup(file, product) if product else None)
    dataset = None if group is None else contents.array(group, "data")
    if group is None or dataset is None or not contents.two_dimensional(dataset):
        raise InputError(f"The Terra15 file does not hold the data product it names ('{product}')", where=path,
                         fix="Copy it again from its source")
    samples, channels = map(int, dataset.shape)
    facts = Facts("terra15", "time,channel", "metadata", _clock(group, samples), channels,
                  spacing_m=contents.number(file, "dx"), gauge_m=contents.number(file, "gauge_length"),
                  units=contents.text(file, "data_product_units"))
    return [hdf5.record_of(dataset, path, facts)]
