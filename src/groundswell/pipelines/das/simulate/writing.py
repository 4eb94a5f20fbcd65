"""das: simulated recordings as HDF5 files laid out like the seed's data set, each marked as simulated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from groundswell.core.files import atomic_path
from groundswell.pipelines.das.simulate.fibre import Cable
from groundswell.pipelines.das.simulate.recipe import SimulateRecipe
from groundswell.pipelines.das.simulate.record import FULL_SCALE, Signal

REGION_STEP_S = 0.5
_CHUNK_SAMPLES, _CHUNK_CHANNELS = 512, 32


@dataclass(frozen=True)
class Recording:
    """What goes into one file.

    Attributes:
        name: file name.
        data_ct: strain rate, float32 (channels, time samples), nanostrain per second.
        start: UTC of the first time sample.
        cable: which recorded it.
        signals: the events in it.
        first: the file's first time sample on the signals' clock.
    """

    name: str
    data_ct: NDArray[np.float32]
    start: np.datetime64
    cable: Cable
    signals: tuple[Signal, ...]
    first: int = 0


def file_name(start: np.datetime64, number: int) -> str:
    """``DAS-SIMULATED_2022-09-03_08-14-22_UTC-0005.h5``, after the pattern of the seed's data set."""
    day, clock = str(start.astype("datetime64[s]")).split("T")
    return f"DAS-SIMULATED_{day}_{clock.replace(':', '-')}_UTC-{number:04d}.h5"


def write_recording(folder: Path, recording: Recording, recipe: SimulateRecipe) -> Path:
    """Write one file, atomically; the same recording gives the same values, though not the same bytes."""
    path = folder / recording.name
    file, cable = recipe.file, recording.cable
    with atomic_path(path) as temporary, h5py.File(temporary, "w", track_order=False) as h5:
        facts: dict[str, Any] = {
            "simulated": True, "format": "das-bigorre", "start_time": f"{recording.start.astype('datetime64[ms]')}Z",
            "rate_hz": recipe.fibre.rate_hz, "spacing_m": cable.spacing_m, "gauge_m": cable.gauge_m,
            "units": "nanostrain/s", "axis_order": file.axis_order, "cable": cable.number}
        h5.attrs.update(facts)
        data, scale = _stored(recording.data_ct, recipe)
        dataset = h5.create_dataset(file.dataset, data=data, **_storage(data.shape, recipe))
        dataset.attrs.update(facts)
        if scale is not None:
            dataset.attrs["scale"] = scale
        _write_axes(dataset.parent, recording, recipe)
        if file.region:
            _write_region(h5, recording, recipe)
    return path


def _stored(data_ct: NDArray[np.float32], recipe: SimulateRecipe) -> tuple[NDArray[Any], float | None]:
    ordered = data_ct if recipe.file.axis_order == "channel,time" else np.ascontiguousarray(data_ct.T)
    if recipe.file.dtype == "float32":
        return ordered, None
    scale = FULL_SCALE * recipe.noise.level_nstrain_s / 32767
    return np.clip(np.rint(ordered / scale), -32767, 32767).astype(np.int16), scale


def _storage(shape: tuple[int, ...], recipe: SimulateRecipe) -> dict[str, Any]:
    if recipe.file.layout == "contiguous":
        return {}
    wanted = (_CHUNK_SAMPLES, _CHUNK_CHANNELS)
    if recipe.file.axis_order == "channel,time":
        wanted = (_CHUNK_CHANNELS, _CHUNK_SAMPLES)
    chunks = tuple(min(size, limit) for size, limit in zip(shape, wanted, strict=True))
    return {"chunks": chunks} if recipe.file.layout == "chunked" else {"chunks": chunks, "compression": "gzip",
                                                                     "compression_opts": 4, "shuffle": True}


def _write_axes(group: h5py.Group, recording: Recording, recipe: SimulateRecipe) -> None:
    distance = group.create_dataset("distance", data=recording.cable.distance_m)
    distance.attrs["units"] = "m"
    time = group.create_dataset("time", data=np.arange(recording.data_ct.shape[1]) / recipe.fibre.rate_hz)
    time.attrs["units"] = "s"
    latitude, longitude = recording.cable.on_map(recording.cable.east_m, recording.cable.north_m)
    group.create_dataset("latitude", data=latitude)
    group.create_dataset("longitude", data=longitude)


def _write_region(h5: h5py.File, recording: Recording, recipe: SimulateRecipe) -> None:
    """A label map: 0 where nothing is, 1 for an earthquake, 2 for a blast, from each channel's P to the event's end."""
    cable, rate_hz = recording.cable, recipe.fibre.rate_hz
    time_s = np.arange(0, recording.data_ct.shape[1] / rate_hz, REGION_STEP_S)
    label = np.zeros((len(time_s), cable.channels), np.int32)
    for signal in recording.signals:
        clock_s = time_s[:, None] + recording.first / rate_hz
        label[(clock_s >= signal.p_s) & (clock_s < signal.interval[1] / rate_hz)] = signal.event.label + 1
    region = h5.create_group("region")
    region.create_dataset("data", data=label)
    region.create_dataset("distance", data=cable.distance_m)
    region.create_dataset("time", data=time_s)
    region.create_dataset("region_id", data=np.arange(3, dtype=np.int32))
    region.create_dataset("classe_str", data=np.array([b"noise", b"earthquake", b"quarry_blast"], dtype="S16"))
