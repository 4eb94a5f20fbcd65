"""das: HDF5 with one array 'Acoustic' (time, channel) and all facts on it: Silixa iDAS and Neubrex Neubrescope."""

from __future__ import annotations

from pathlib import Path

import h5py

from groundswell.pipelines.das.formats import hdf5
from groundswell.pipelines.das.formats.clock import from_text, steady
from groundswell.pipelines.das.formats.hdf5 import Facts
from groundswell.pipelines.das.record import Record

_SILIXA = ("SamplingFrequency[Hz]", "SpatialResolution[m]", "Fibre Length Multiplier")
_NEUBREX = ("NEUBRESCOPE.DAS.Model", "TimeSamplingInterval(seconds)", "SpatialSamplingInterval")


def _has(file: h5py.File, marks: tuple[str, ...]) -> bool:
    dataset = hdf5.array(file, "Acoustic")
    return dataset is not None and hdf5.two_dimensional(dataset) and all(mark in dataset.attrs for mark in marks)


def recognises(file: h5py.File) -> bool:
    """Whether the file has the array and either maker's attributes on it."""
    return _has(file, _SILIXA) or _has(file, _NEUBREX)


def _silixa(dataset: h5py.Dataset) -> Facts:
    spacing, stretch = hdf5.number(dataset, "SpatialResolution[m]"), hdf5.number(dataset, "Fibre Length Multiplier")
    start = from_text(hdf5.text(dataset, "GPSTimeStamp"))
    if start is None:
        start = from_text(hdf5.text(dataset, "CPUTimeStamp"))
    samples, channels = map(int, dataset.shape)
    return Facts("silixa", "time,channel", "metadata",
                 steady(samples, hdf5.number(dataset, "SamplingFrequency[Hz]"), start), channels,
                 spacing_m=None if spacing is None else spacing * (stretch or 1.0),
                 gauge_m=hdf5.number(dataset, "GaugeLength"))


def _neubrex(dataset: h5py.Dataset) -> Facts:
    step_s = hdf5.number(dataset, "TimeSamplingInterval(seconds)")
    start = from_text(hdf5.text(dataset, "GPSTimeStamp(UTC)"))
    if start is None:
        start = from_text(hdf5.text(dataset, "CPUTimeStamp(UTC)"))
    samples, channels = map(int, dataset.shape)
    return Facts("neubrex", "time,channel", "metadata", steady(samples, 1 / step_s if step_s else None, start),
                 channels, spacing_m=hdf5.number(dataset, "SpatialSamplingInterval"),
                 gauge_m=hdf5.number(dataset, "GaugeLength"), units=hdf5.text(dataset, "DataPhysicalUnit"))


def describe(file: h5py.File, path: Path) -> list[Record]:
    """The one record of the file; both makers store (time, channel) always."""
    dataset = file["Acoustic"]
    return [hdf5.record_of(dataset, path, _silixa(dataset) if _has(file, _SILIXA) else _neubrex(dataset))]
