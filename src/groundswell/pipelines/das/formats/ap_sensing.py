"""das: AP Sensing HDF5: one array 'DAS' (time, channel), its facts as scalars in groups beside it."""

from __future__ import annotations

from pathlib import Path

import h5py

from groundswell.pipelines.das.formats import contents, hdf5
from groundswell.pipelines.das.formats.clock import from_text, steady
from groundswell.pipelines.das.formats.hdf5 import Facts
from groundswell.pipelines.das.record import Record

_UTC = ("", "UTC", "UTC+0", "UTC+00:00", "GMT")
_GROUPS = ("DAQ", "Metadata", "ProcessingServer")


def recognises(file: h5py.File) -> bool:
    """Whether the file has AP Sensing's groups and array."""
    return contents.two_dimensional(contents.array(file, "DAS")) and all(
        contents.subgroup(file, name) is not None for name in _GROUPS)


def describe(file: h5py.File, path: Path) -> list[Record]:
    """The one record of the file. A start in a time zone other than UTC is not known as UTC, so it is left out."""
    dataset, server, meta = file["DAS"], file["ProcessingServer"], file["Metadata"]
    zone = contents.text(meta, "Timezone")
    start = from_text(contents.text(meta, "Timestamp")) if zone.upper() in _UTC else None
    first, last = contents.number(file["DAQ"], "PositionStart"), contents.number(file["DAQ"], "PositionEnd")
    samples, channels = map(int, dataset.shape)
    spacing = contents.number(server, "SpatialSampling")
    if spacing is None and first is not None and last is not None and last > first:
        spacing = (last - first) / channels
    facts = Facts("ap_sensing", "time,channel", "metadata", steady(samples, contents.number(server, "DataRate"), start),
                  channels, spacing_m=spacing, gauge_m=contents.number(server, "GaugeLength"),
                  units=contents.text(dataset, "Unit", "unit"), detail={"time_zone": zone})
    return [hdf5.record_of(dataset, path, facts)]
