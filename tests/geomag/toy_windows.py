"""A small layout of windows for tests: white noise, a bump in class 1 where one is asked for, stations that agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from groundswell.pipelines.geomag.layout import MINUTES_A_DAY, WindowWriter


def toy_layout(root: Path, *, events: int = 12, stations: int = 2, days: int = 7, bump: float = 0.0, seed: int = 0,
               sidecar: bool = True, placebo: bool = False, spacing_days: float | None = None,
               facts: dict[str, Any] | None = None) -> Path:
    """Write ``root/window-<days>``: ``events`` events, every other of class 1, each at ``stations`` stations whose
    windows are the same noise but for a hundredth. Events are ``spacing_days`` apart (a window's length, if absent)."""
    generator = np.random.default_rng(seed)
    minutes = days * MINUTES_A_DAY
    labels = np.arange(events) % 2
    counts = (int((labels == 0).sum()) * stations, int((labels == 1).sum()) * stations)
    rows: list[dict[str, Any]] = []
    place = [0, 0]
    spacing = days if spacing_days is None else spacing_days
    with WindowWriter(root, days, counts, placebo=placebo) as writer:
        for event, label in enumerate(labels.tolist()):
            common = 20000 + 10 * generator.standard_normal(minutes)
            if label:
                common[-600:-300] += bump
            earlier = 20000 + 10 * generator.standard_normal(minutes)
            for station in range(stations):
                writer.put(label, place[label], common + 0.1 * generator.standard_normal(minutes))
                if placebo:
                    writer.put_placebo(label, place[label], earlier)
                start = pd.Timestamp("2003-01-01", tz="UTC") + pd.Timedelta(days=spacing * event)
                rows.append({"label": label, "row": place[label], "event_id": f"e{event:03d}",
                             "station": f"S{station}", "start_time": start, "latitude": 50.0 + station,
                             "longitude": -3.0, "kp_max": 3.0 + generator.random(), "dst_min": -20.0})
                place[label] += 1
        writer.finish(pd.DataFrame(rows) if sidecar else None, {"simulated": True, **(facts or {})})
    return root
