"""symae: a store of bags written as an HDF5 archive of event/pixel/station, the layout of the original's data."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from groundswell.core.files import atomic_path
from groundswell.pipelines.symae.store import BagStore

_OF_TRACE = ("azimuth", "takeoff", "distance", "latitude", "longitude", "pick")
_OF_EVENT = ("latitude", "longitude", "depth_km", "magnitude")


def write_archive(store: BagStore, path: Path) -> None:
    """Write a store's traces, without any truth, one float32 dataset for each station.

    Every group of an event tells ``rate_hz`` and ``p_sample``, and what is known of the event; every dataset, what is
    known of the station. Numbers that are not known are left out.

    Args:
        store: the bags.
        path: the file; it is there whole, or not at all.

    Raises:
        InputError: it cannot be written there.
        FailureError: the disk is full.
    """
    facts, bags = store.facts, store.bags
    with atomic_path(Path(path)) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["simulated"] = store.simulated
        for bag, row in enumerate(bags.to_dict("records")):
            event = file.require_group(str(row["event"]))
            event.attrs.update({"rate_hz": 1 / facts.dt, "p_sample": -facts.t0 / facts.dt})
            event.attrs.update({name: row[name] for name in _OF_EVENT if np.isfinite(row[name])})
            if row["time"] == row["time"]:  # NaT is not
                event.attrs["time"] = row["time"].isoformat()
            pixel = event.create_group(str(row["pixel"]))
            start = int(row["start"])
            of_traces = store.traces.iloc[start:start + int(row["count"])].to_dict("records")
            for samples, trace in zip(store.read(bag), of_traces, strict=True):
                dataset = pixel.create_dataset(str(trace["station"]), data=samples)
                dataset.attrs.update({name: trace[name] for name in _OF_TRACE if np.isfinite(trace[name])})
