"""das: HDF5 of the Geothermal Data Repository: PRODML-like samples with DAS-RCN metadata."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from groundswell.pipelines.das.formats import contents, hdf5
from groundswell.pipelines.das.formats.clock import Clock, from_stamps, from_text, steady
from groundswell.pipelines.das.formats.hdf5 import Facts
from groundswell.pipelines.das.record import Record

_SAMPLES = "DasRawData/RawData"
_ACQUISITION = "DasMetadata/Interrogator/Acquisition"


def recognises(file: h5py.File) -> bool:
    """Whether the file has the repository's groups."""
    return (contents.two_dimensional(contents.array(file, _SAMPLES))
            and contents.subgroup(file, _ACQUISITION) is not None)


def _clock(file: h5py.File, acquisition: h5py.Group, samples: int) -> Clock:
    rate_hz = contents.number(acquisition, "AcquisitionSampleRate")
    start = from_text(contents.text(acquisition, "AcquisitionStartTime"))
    stamps = contents.array(file, "DasRawData/DasTimeArray")
    if stamps is None or stamps.size != samples:
        return steady(samples, rate_hz, start)
    clock = from_stamps(np.ravel(stamps[()]))
    return replace(clock, rate_hz=clock.rate_hz or rate_hz,
                   start_time=clock.start_time if clock.start_time is not None else start)


def describe(file: h5py.File, path: Path) -> list[Record]:
    """The one record of a file of the repository."""
    dataset, acquisition = file[_SAMPLES], file[_ACQUISITION]
    names = [name for name in contents.words(dataset, "DasDimensions") if name.lower() != "step"]
    swapped = names[-1:] != [] and names[-1].lower().startswith("time")
    samples, channels = dataset.shape[::-1] if swapped else dataset.shape
    facts = Facts("gdr", "channel,time" if swapped else "time,channel", "metadata" if names else "guess",
                  _clock(file, acquisition, int(samples)), int(channels),
                  spacing_m=contents.number(acquisition, "SpatialSamplingInterval"),
                  gauge_m=contents.number(acquisition, "GaugeLength"),
                  units=contents.text(acquisition, "UnitOfMeasure"))
    return [hdf5.record_of(dataset, path, facts)]
