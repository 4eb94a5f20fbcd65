"""das: DASCore's own HDF5 (DASDAE): patches with their coordinates. Pickled attributes in it are never loaded."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from groundswell.core.errors import InputError
from groundswell.pipelines.das.formats import contents, hdf5
from groundswell.pipelines.das.formats.clock import Clock, from_stamps, steady
from groundswell.pipelines.das.formats.hdf5 import Facts
from groundswell.pipelines.das.record import Record


def recognises(file: h5py.File) -> bool:
    """Whether the root says that the file is DASDAE."""
    return contents.text(file, "__format__") == "DASDAE" and contents.subgroup(file, "waveforms") is not None


def _clock(group: h5py.Group, samples: int) -> Clock:
    stamps = contents.array(group, "_coord_time")
    if stamps is None or stamps.size != samples:
        return steady(samples, None, None)
    absolute = bool(contents.number(stamps, "is_datetime64")) or bool(contents.number(stamps, "is_timedelta64"))
    return from_stamps(np.ravel(stamps[()]), "ns" if absolute else "s")


def describe(file: h5py.File, path: Path) -> list[Record]:
    """Records of a DASDAE file, one per patch of time and distance (or channel).

    Raises:
        InputError: no patch has such axes.
    """
    records = []
    for _, group in contents.members(file["waveforms"]):
        dataset = contents.array(group, "data") if isinstance(group, h5py.Group) else None
        names = contents.words(group, "_dims") if dataset is not None else []
        if dataset is not None and contents.two_dimensional(dataset) and "time" in names:
            records.append(_record(group, dataset, names, path))
    if not records:
        raise InputError("The DASDAE file holds no patch of time and distance", where=path, fix="Leave it out")
    return records


def _record(group: h5py.Group, dataset: h5py.Dataset, names: list[str], path: Path) -> Record:
    swapped = names[1] == "time"
    samples, channels = dataset.shape[::-1] if swapped else dataset.shape
    other = names[0] if swapped else names[1]
    distances = contents.array(group, f"_coord_{other}")
    spacing = None
    if other == "distance" and distances is not None and distances.size == channels > 1:
        spacing = float(np.median(np.abs(np.diff(np.ravel(distances[()]).astype(np.float64)))))
    kind = "waveform" if other in ("distance", "channel", "depth") else f"time against {other}"
    facts = Facts("dasdae", "channel,time" if swapped else "time,channel", "metadata", _clock(group, int(samples)),
                  int(channels), spacing_m=spacing, gauge_m=contents.number(group, "_attrs_gauge_length"),
                  units=contents.text(group, "_attrs_data_units"), kind=kind)
    return hdf5.record_of(dataset, path, facts)
