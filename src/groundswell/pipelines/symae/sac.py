"""symae: prepared or virtual traces written as SAC, with places, angles and an arrival in the header t3."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.files import atomic_path
from groundswell.core.optional import require
from groundswell.pipelines.symae.store import BagStore
from groundswell.pipelines.symae.trained import clean_name, trace_rows
from groundswell.pipelines.symae.travel import Rays

PICK = "t3"


def write_sac_bag(folder: Path, store: BagStore, bag: int, x: NDArray[Any], arrivals_s: Sequence[float], kind: str, *,
                  polarity: Sequence[float] | None = None, user: Mapping[str, Sequence[float]] | None = None,
                  model: str = "iasp91") -> list[Path]:
    """Write the traces of a bag, one file each: ``FOLDER/EVENT/PIXEL/STATION.sac``.

    Time 0 of a file is the theoretical P, which the header ``t0`` says too; ``t3`` is the arrival. If
    event and station have places and a time, ``o`` and the date are set by the travel time through ``model``. The
    amplitude is the prepared one: standard deviation 1.

    Args:
        folder: where.
        store: the bags.
        bag: which, for its event and stations.
        x: (t, n).
        arrivals_s: of each trace, seconds on the store's time axis; NaN leaves ``t3`` unset.
        kind: of the arrival, at most eight letters, in ``kt3``.
        polarity: of each trace, -1 or 1, in ``user0``.
        user: other numbers of each trace, by the headers ``user1`` to ``user9``.
        model: of the travel time.

    Raises:
        MissingExtraError: obspy is not installed.
    """
    sac = require("obspy.io.sac", extra="symae", purpose="Writing SAC")
    rows, event = trace_rows(store, bag), store.bags.iloc[bag]
    rays = Rays(model, model) if _placed(event) else None
    place = folder / clean_name(str(event["event"])) / str(int(event["pixel"]))
    written = []
    for i, row in enumerate(rows.to_dict("records")):
        headers = _headers(row, event, store, rays)
        headers |= {"t0": 0.0, "kt0": "P"}
        if np.isfinite(arrivals_s[i]):
            headers |= {PICK: float(arrivals_s[i]), f"k{PICK}": kind[:8]}
        if polarity is not None:
            headers["user0"] = float(polarity[i])
        headers |= {name: float(values[i]) for name, values in (user or {}).items() if np.isfinite(values[i])}
        path = place / f"{clean_name(str(row['station']))}.sac"
        with warnings.catch_warnings(), atomic_path(path) as temporary:
            warnings.simplefilter("ignore")  # obspy speaks of rounding at each file
            sac.SACTrace(data=np.ascontiguousarray(x[i], np.float32), **headers).write(str(temporary))
        written.append(path)
    return written


def _placed(event: Any) -> bool:
    return bool(np.isfinite([event["latitude"], event["longitude"], event["depth_km"]]).all()
                and pd.notna(event["time"]))


def _headers(row: Mapping[Any, Any], event: Any, store: BagStore, rays: Rays | None) -> dict[str, Any]:
    network, station, location, channel = _codes(str(row["station"]))
    found: dict[str, Any] = {"delta": store.facts.dt, "b": store.facts.t0, "knetwk": network[:8],
                             # SAC has room for eight letters; of a longer name the end says which it is.
                             "kstnm": station[-8:], "khole": location[:8], "kcmpnm": channel[:8],
                             "kevnm": str(event["event"])[:16], "lcalda": False}
    for name, value in (("stla", row["latitude"]), ("stlo", row["longitude"]), ("az", row["azimuth"]),
                        ("gcarc", row["distance"]), ("evla", event["latitude"]), ("evlo", event["longitude"]),
                        ("evdp", event["depth_km"]), ("mag", event["magnitude"])):
        if value is not None and np.isfinite(float(value)):
            found[name] = float(value)
    if rays is not None and np.isfinite([row["latitude"], row["longitude"]]).all():
        ray = rays.ray((event["latitude"], event["longitude"], event["depth_km"]), (row["latitude"], row["longitude"]))
        if ray is not None:
            # The header's date counts milliseconds; what is left of the time goes into o.
            arrival = pd.Timestamp(event["time"]) + pd.Timedelta(seconds=ray.time_s)
            date = arrival.floor("ms")
            found |= {"nzyear": date.year, "nzjday": date.dayofyear, "nzhour": date.hour, "nzmin": date.minute,
                      "nzsec": date.second, "nzmsec": date.microsecond // 1000,
                      "o": float((pd.Timestamp(event["time"]) - date).total_seconds())}
    return found


def _codes(name: str) -> tuple[str, str, str, str]:
    """Network, station, location and channel of NET.STA.LOC.CHA, or of what there is of it."""
    parts = name.split(".")
    if len(parts) == 1:
        return "", name, "", "BHZ"
    network, station, location, channel = [*parts, "", "", ""][:4]
    return network, station, location.strip("_"), channel or "BHZ"
