"""A maker of sample tables for the tests of splits."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from groundswell.data.table import SampleTable

CLASSES = ("earthquake", "quarry_blast", "noise")


def make_table(kinds: Sequence[int | None], *, windows: int = 6, event_windows: int = 2,
               noise: bool = True) -> SampleTable:
    """One record and group for each of ``kinds`` (a class, or None for one without labels): ``windows`` overlapping
    windows, of which the first ``event_windows`` hold the event and the others noise (or no label)."""
    rows = []
    for index, kind in enumerate(kinds):
        for window in range(windows):
            label = kind if window < event_windows or kind is None else (2 if noise else None)
            rows.append({"sample_id": f"rec{index:03d}:{window * 512}", "record": f"rec{index:03d}", "label": label,
                         "group": f"group{index:03d}", "event": f"ev{index}" if kind in (0, 1) else "",
                         "start": window * 512, "stop": window * 512 + 1024, "content": f"{index}/{window}"})
    return SampleTable(pd.DataFrame(rows), CLASSES)
