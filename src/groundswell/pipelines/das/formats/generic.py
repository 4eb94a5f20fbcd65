"""das: HDF5 files of no known instrument: the layouts of the Bigorre data set, and plain two-dimensional arrays.

Axis order comes from named axes, or from time and distance arrays beside the data whose lengths fit only one way.
Where neither says, the longer axis is taken for time, (channel, time) if they are equal, and marked as a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.pipelines.das.formats import contents, hdf5
from groundswell.pipelines.das.formats.clock import Clock, from_file_name, from_stamps, from_text, steady, unit_of
from groundswell.pipelines.das.formats.hdf5 import Facts
from groundswell.pipelines.das.record import AxisOrder, Record

SEARCH_ORDER = ("data", "python_processing/sr/data", "sr/data")
_TIMES = ("time", "times", "timestamp", "timestamps", "t")
_DISTANCES = ("distance", "distances", "dist", "offset", "x")
_CHANNELS = ("channel", "channels")
_RATES = ("rate_hz", "sampling_rate", "samplingrate", "sampling_rate_hz", "sample_rate", "samplerate", "fs",
          "sampling_frequency", "samplingfrequency", "samplingfrequency[hz]", "sampling_frequency_hz", "outputdatarate")
_STEPS = ("dt", "dt_s", "delta", "sampling_interval", "time_step")
_SPACINGS = ("spacing_m", "dx", "dx_m", "channel_spacing", "channel_spacing_m", "spatialsamplinginterval",
             "spatial_sampling", "spacing")
_GAUGES = ("gauge_m", "gauge_length", "gauge_length_m", "gaugelength", "gauge")
_STARTS = ("start_time", "starttime", "time_start", "t0", "begin_time", "start", "starttimestamp")
_UNITS = ("units", "unit", "data_units", "uom")
_AXES = ("dims", "dimensions", "axes", "_dims", "dasdimensions", "axis_order", "dimension_names", "dimensionnames")
_MOST_STAMPS = 2**25
_RATES_AGREE = 1e-3


def kind_of(name: str) -> str:
    """What a path inside a file says of its array's kind."""
    parts = name.lower().split("/")
    if any(part == "region" or part.startswith(("label", "mask", "classe")) for part in parts):
        return "label map"
    if "eb" in parts or any(part.startswith(("fbe", "band_energy", "energy")) for part in parts):
        return "band energy"
    return "spectrum" if any(part.startswith(("psd", "spectr", "fft", "fk")) for part in parts) else "waveform"


def _is_array(dataset: h5py.Dataset) -> bool:
    return len(dataset.shape or ()) == 2 and dataset.dtype.kind in "fiu"


def _is_coordinate(dataset: h5py.Dataset) -> bool:
    name = str(dataset.name).lower().rsplit("/", 1)[-1]
    return name in (*_TIMES, *_DISTANCES, *_CHANNELS) and 1 in dataset.shape


def describe(file: h5py.File, path: Path) -> list[Record]:
    """Records of a file of no known instrument.

    In the layouts of the Bigorre data set the first of ``SEARCH_ORDER`` is the record; what else the file holds
    (band energy, label maps, other versions) is listed in its ``detail["also"]``.

    Raises:
        InputError: there is no two-dimensional array of real numbers.
    """
    every = contents.arrays(file)
    found = [dataset for dataset in every if _is_array(dataset) and not _is_coordinate(dataset)]
    names = [str(dataset.name).lstrip("/") for dataset in found]
    for wanted in SEARCH_ORDER:
        if wanted in names:
            also = [name for name in names if name != wanted]
            return [_record(file, found[names.index(wanted)], path, {"also": also} if also else {})]
    if not found:
        held = [f"'{dataset.name}' {dataset.shape} {dataset.dtype}" for dataset in every[:4]]
        links = [f"'{name}', a link to another file ({target})" for name, target in contents.external_links(file)[:4]]
        raise InputError("The file holds no two-dimensional array of real numbers"
                         + (f", but {'; '.join(held + links)}" if held or links else "; it has no arrays at all"),
                         where=path, fix="Leave it out, or convert it to a two-dimensional array")
    return [_record(file, dataset, path, {}) for dataset in found]


def _nearby(file: h5py.File, dataset: h5py.Dataset) -> list[h5py.HLObject]:
    """Where facts of an array may be written: on it, on its groups from the inside out."""
    places: list[h5py.HLObject] = [dataset]
    group = dataset.parent
    while True:
        places.append(group)
        if group.name == "/":
            return places
        group = group.parent


def _spelled(node: h5py.HLObject, names: Sequence[str]) -> list[str]:
    present = {str(key).lower(): str(key) for key in node.attrs}
    return [present[name] for name in names if name in present]


def _stated(places: Sequence[h5py.HLObject], names: Sequence[str]) -> float | None:
    for place in places:
        found = contents.number(place, *_spelled(place, names))
        if found is not None:
            return found
    return None


def _said(places: Sequence[h5py.HLObject], names: Sequence[str]) -> str:
    return next((said for place in places if (said := contents.text(place, *_spelled(place, names)))), "")


def _coordinate(dataset: h5py.Dataset, names: Sequence[str]) -> h5py.Dataset | None:
    """A real array of one dimension (or one that counts) beside ``dataset`` under one of ``names``."""
    beside = {str(key).lower(): str(key) for key in dataset.parent}
    for name in names:
        found = contents.array(dataset.parent, beside[name]) if name in beside else None
        if found is not None and found.dtype.kind in "fiu" and found.size and \
                max(found.shape, default=0) == found.size:
            return found
    return None


def _values(dataset: h5py.Dataset) -> NDArray[Any]:
    return np.ravel(dataset[()])


def _named_order(dataset: h5py.Dataset) -> AxisOrder:
    labels = [label.label.lower() for label in dataset.dims]
    if not all(labels):
        labels = [name.lower() for name in contents.words(dataset, *_spelled(dataset, _AXES))]
    if len(labels) != 2:
        return ""
    is_time = [label.startswith("time") or label in _TIMES for label in labels]
    if is_time == [True, False]:
        return "time,channel"
    return "channel,time" if is_time == [False, True] else ""


def axis_order(shape: tuple[int, int], times: int | None, distances: int | None) -> tuple[AxisOrder, str]:
    """The order that the lengths of the time and distance arrays allow, and ``metadata`` or ``guess``."""
    def fits(time: int, channel: int) -> bool:
        return (times in (None, time)) and (distances in (None, channel))

    first, second = fits(*shape), fits(shape[1], shape[0])
    if first != second:
        return ("time,channel" if first else "channel,time"), "metadata"
    return ("time,channel" if shape[0] > shape[1] else "channel,time"), "guess"


def _clock(places: Sequence[h5py.HLObject], stamps: h5py.Dataset | None, samples: int) -> Clock:
    rate_hz = _stated(places, _RATES)
    step_s = _stated(places, _STEPS)
    if not rate_hz or rate_hz < 0:
        rate_hz = 1 / step_s if step_s and step_s > 0 else None
    clock = steady(samples, rate_hz, None)
    if stamps is not None and stamps.size == samples <= _MOST_STAMPS:
        clock = from_stamps(_values(stamps), unit_of(contents.text(stamps, *_spelled(stamps, _UNITS))))
        if clock.rate_hz is None and not clock.problem:
            clock = steady(samples, rate_hz, clock.start_time)
        elif clock.rate_hz and rate_hz and abs(clock.rate_hz - rate_hz) <= _RATES_AGREE * rate_hz:
            clock = replace(clock, rate_hz=rate_hz)
    return clock


def _with_start(clock: Clock, places: Sequence[h5py.HLObject], path: Path) -> tuple[Clock, str]:
    if clock.start_time is not None:
        return clock, "metadata"
    stated = from_text(_said(places, _STARTS))
    if stated is None:
        seconds = _stated(places, _STARTS)
        stated = from_stamps(np.array([seconds, seconds + 1])).start_time if seconds else None
    known = "metadata" if stated is not None else "file name"
    start = stated if stated is not None else from_file_name(path.name)
    return replace(clock, start_time=start), known


def _spacing(places: Sequence[h5py.HLObject], distances: h5py.Dataset | None, channels: int) -> float | None:
    if distances is not None and distances.size == channels > 1:
        spacing = float(np.median(np.abs(np.diff(_values(distances).astype(np.float64)))))
        if np.isfinite(spacing) and spacing > 0:
            return spacing
    stated = _stated(places, _SPACINGS)
    return stated if stated and stated > 0 else None


def _record(file: h5py.File, dataset: h5py.Dataset, path: Path, detail: dict[str, Any]) -> Record:
    shape = (int(dataset.shape[0]), int(dataset.shape[1]))
    times = _coordinate(dataset, _TIMES)
    distances = _coordinate(dataset, _DISTANCES)
    numbered = distances if distances is not None else _coordinate(dataset, _CHANNELS)
    order, known = _named_order(dataset), "metadata"
    if not order:
        order, known = axis_order(shape, None if times is None else times.size,
                                  None if numbered is None else numbered.size)
    samples, channels = shape if order == "time,channel" else shape[::-1]
    if 0 in shape:
        clock, verdict = steady(samples, None, None), f"empty: its shape is {shape}"
        return hdf5.record_of(dataset, path, Facts("hdf5", order, known, clock, channels, verdict=verdict))
    places = _nearby(file, dataset)
    clock, start_known = _with_start(_clock(places, times, samples), places, path)
    gauge_m = _stated(places, _GAUGES)
    facts = Facts("hdf5", order, known, clock, channels, spacing_m=_spacing(places, distances, channels),
                  gauge_m=gauge_m if gauge_m and gauge_m > 0 else None, units=_said(places[:1], _UNITS),
                  kind=kind_of(str(dataset.name).strip("/")), start_known=start_known, detail=detail)
    return hdf5.record_of(dataset, path, facts)
