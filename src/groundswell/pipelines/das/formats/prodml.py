"""das: PRODML v2.x HDF5 (Energistics), as OptaSense, Silixa and others write it: raw strain data and band energies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from groundswell.core.errors import InputError
from groundswell.pipelines.das.formats import contents, hdf5
from groundswell.pipelines.das.formats.clock import Clock, from_stamps, from_text, steady, unit_of
from groundswell.pipelines.das.formats.hdf5 import Facts
from groundswell.pipelines.das.record import AxisOrder, Record

_MARKS = ("NumberOfLoci", "SpatialSamplingInterval", "schemaVersion")


def recognises(file: h5py.File) -> bool:
    """Whether the file has an Acquisition group with PRODML's attributes."""
    group = contents.subgroup(file, "Acquisition")
    return group is not None and all(mark in group.attrs for mark in _MARKS)


def _parts(acquisition: h5py.Group) -> Iterator[tuple[h5py.Group, h5py.Dataset, str]]:
    """``(group, array, kind)`` of every array of samples."""
    for name, group in contents.members(acquisition):
        if name.lower().startswith("raw") and isinstance(group, h5py.Group):
            for inner, dataset in contents.members(group):
                if isinstance(dataset, h5py.Dataset) and inner.lower() == "rawdata":
                    yield group, dataset, "waveform"
    processed = contents.subgroup(acquisition, "Processed")
    for name, group in contents.members(processed) if processed is not None else ():
        kind = "band energy" if name.lower().startswith("fbe") else "spectrum"
        for inner, dataset in contents.members(group) if isinstance(group, h5py.Group) else ():
            if isinstance(dataset, h5py.Dataset) and inner.lower().startswith(("fbedata[", "spectradata")):
                yield group, dataset, kind


def _axis_order(dataset: h5py.Dataset, group: h5py.Group, stamps: int | None,
                loci: int | None) -> tuple[AxisOrder, str]:
    """Named by ``Dimensions``, unless the numbers of loci and of time stamps fit only the other way round."""
    names = [name.lower() for name in contents.words(dataset, "Dimensions") or contents.words(group, "Dimensions")]
    named: AxisOrder = "channel,time" if names[-1:] == ["time"] else "time,channel"
    shape = tuple(dataset.shape)
    fits = {"time,channel": (stamps in (None, shape[0])) and (loci in (None, shape[1])),
            "channel,time": (stamps in (None, shape[1])) and (loci in (None, shape[0]))}
    if fits["time,channel"] != fits["channel,time"]:
        return ("time,channel" if fits["time,channel"] else "channel,time"), "metadata"
    return named, "metadata" if names else "guess"


def _time_stamps(group: h5py.Group) -> h5py.Dataset | None:
    for name, dataset in contents.members(group):
        if name.lower().endswith("datatime") and isinstance(dataset, h5py.Dataset) and dataset.size:
            return dataset
    return None


def _clock(group: h5py.Group, dataset: h5py.Dataset, samples: int) -> Clock:
    rate_hz = contents.number(group, "OutputDataRate")
    stamps = _time_stamps(group)
    clock = steady(samples, rate_hz, None)
    if stamps is not None and stamps.size == samples:
        # The standard counts microseconds since 1970.
        measured = from_stamps(np.ravel(stamps[()]), unit_of(contents.text(stamps, "Uom", "unit")) or "us")
        agrees = rate_hz and measured.rate_hz and abs(measured.rate_hz - rate_hz) <= 1e-3 * rate_hz
        clock = replace(measured, rate_hz=rate_hz if agrees else measured.rate_hz or rate_hz)
    said = [contents.text(node, "PartStartTime") for node in (dataset, stamps) if node is not None]
    start = next((time for time in map(from_text, said) if time is not None), clock.start_time)
    return replace(clock, start_time=start)


def describe(file: h5py.File, path: Path) -> list[Record]:
    """Records of a PRODML file, band energies and spectra included (they are no waveforms).

    Raises:
        InputError: it holds no array of samples.
    """
    acquisition = file["Acquisition"]
    records = []
    for group, dataset, kind in _parts(acquisition):
        if len(dataset.shape or ()) != 2:
            continue
        records.append(_record(acquisition, group, dataset, kind, path))
    if not records:
        raise InputError("The PRODML file holds no two-dimensional array of samples", where=path,
                         fix="Leave it out; some instruments write their data into further files")
    return records


def _record(acquisition: h5py.Group, group: h5py.Group, dataset: h5py.Dataset, kind: str, path: Path) -> Record:
    loci = contents.number(group, "NumberOfLoci") or contents.number(acquisition, "NumberOfLoci")
    stamps = _time_stamps(group)
    order, known = _axis_order(dataset, group, None if stamps is None else int(stamps.size),
                               None if loci is None else int(loci))
    samples, channels = dataset.shape if order == "time,channel" else dataset.shape[::-1]
    detail: dict[str, Any] = {"vendor": contents.text(acquisition, "VendorCode", "ServiceCompanyName")}
    low, high = contents.number(dataset, "StartFrequency"), contents.number(dataset, "EndFrequency")
    band = f", {max(low, 0):.3g} to {high:.3g} Hz" if low is not None and high is not None else ""
    facts = Facts("prodml", order, known, _clock(group, dataset, int(samples)), int(channels),
                  spacing_m=contents.number(acquisition, "SpatialSamplingInterval"),
                  gauge_m=contents.number(acquisition, "GaugeLength"),
                  units=contents.text(group, "RawDataUnit", "FbeDataUnit"), kind=kind,
                  verdict=hdf5.not_a_waveform(kind) + band if kind != "waveform" else "", detail=detail)
    return hdf5.record_of(dataset, path, facts)
