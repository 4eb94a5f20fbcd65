"""das: HDF5 with one array 'Acoustic' (time, channel) and all facts on it: Silixa iDAS and Neubrex Neubrescope."""

from __future__ import annotations

from pathlib import Path

import h5py

from groundswell.pipelines.das.formats import contents, hdf5
from groundswell.pipelines.das.formats.clock import from_text, steady
from groundswell.pipelines.das.formats.hdf5 import Facts
from groundswell.pipelines.das.record import Record

_SILIXA = ("SamplingFrequency[Hz]", "SpatialResolution[m]", "Fibre Length Multiplier")
_NEUBREX = ("NEUBRESCOPE.DAS.Model", "TimeSamplingInterval(seconds)", "SpatialSamplingInterval")


def _has(file: h5py.File, marks: tuple[str, ...]) -> bool:
    dataset = contents.array(file, "Acoustic")
    return dataset is not None and contents.two_dimensional(dataset) and all(mark in dataset.attrs for mark in marks)


def recognises(file: h5py.File) -> bool:
    """Whether the file has the array and either maker's attributes on it."""
    return _has(file, _SILIXA) or _has(file, _NEUBREX)


def _silixa(dataset: h5py.Dataset) -> Facts:
    spacing = contents.number(dataset, "SpatialResolution[m]")
    stretch = contents.number(dataset, "Fibre Length Multiplier")
    start = from_text(contents.text(dataset, "GPSTimeStamp"))
    if start is None:
        start = from_text(contents.text(dataset, "CPUTimeStamp"))
    samples, channels = map(int, dataset.shape)
    return Facts("silixa", "time,channel", "metadata",
                 steady(samples, contents.number(dataset, "SamplingFrequency[Hz]"), start), channels,
                 spacing_m=None if spacing is None else spacing * (stretch or 1.0),
                 gauge_m=contents.number(dataset, "GaugeLength"))


def _neubrex(dataset: h5py.Dataset) -> Facts:
    step_s = contents.number(dataset, "TimeSamplingInterval(seconds)")
    start = from_text(contents.text(dataset, "GPSTimeStamp(UTC)"))
    if start is None:
        start = from_text(contents.text(dataset, "CPUTimeStamp(UTC)"))
    samples, channels = map(int, dataset.shape)
    return Facts("neubrex", "time,channel", "metadata", steady(samples, 1 / step_s if step_s else None, start),
                 channels, spacing_m=contents.number(dataset, "SpatialSamplingInterval"),
                 gauge_m=contents.number(dataset, "GaugeLength"), units=contents.text(dataset, "DataPhysicalUnit"))


def describe(file: h5py.File, path: Path) -> list[Record]:
    """The one record of the file; both makers store (time, channel) always."""
    dataset = file["Acoustic"]
    return [hdf5.record_of(dataset, path, _silixa(dataset) if _has(file, _SILIXA) else _neubrex(dataset))]
