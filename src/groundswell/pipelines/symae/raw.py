"""symae: seismograms as archives hold them, before any preparation, and what every kind of archive gives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError

NAMED = re.compile(r"(\d{8})_(\d{6})")
"""How an event's name tells its origin time: 20130524_054448_okt."""


@dataclass(frozen=True)
class Earthquake:
    """An event, by the name that bags bear. Degrees and km, NaN where not known; ``time`` UTC or NaT."""

    name: str
    latitude: float = np.nan
    longitude: float = np.nan
    depth_km: float = np.nan
    magnitude: float = np.nan
    time: Any = pd.NaT


@dataclass(frozen=True, eq=False)
class RawTrace:
    """A vertical seismogram around the P wave, as it was recorded.

    Attributes:
        event: the earthquake.
        pixel: of the focal sphere, 1-based.
        station: its name.
        samples: float64 (n,).
        rate_hz: samples a second.
        p_sample: where the theoretical P arrives, in samples from the first; need not be whole.
        azimuth, takeoff, distance: of the ray at the source, degrees; NaN where not known.
        latitude, longitude: of the station, degrees; NaN where not known.
        pick: arrival that somebody measured, seconds after the theoretical P; NaN where there is none.
        pick_kind: how it was measured.
        snr: as the archive states it.
    """

    event: Earthquake
    pixel: int
    station: str
    samples: NDArray[np.float64]
    rate_hz: float
    p_sample: float
    azimuth: float = np.nan
    takeoff: float = np.nan
    distance: float = np.nan
    latitude: float = np.nan
    longitude: float = np.nan
    pick: float = np.nan
    pick_kind: str = ""
    snr: float = np.nan

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.event.name}/{self.pixel}/{self.station}"


class UnusableTrace(InputError):
    """A trace that cannot be used, for a ``reason`` that such traces are counted by."""

    def __init__(self, reason: str, what: str, *, where: str | Path = "", fix: str = "") -> None:
        self.reason = reason
        super().__init__(what, where=where, fix=f"{fix}, or set drop_bad" if fix else "Set drop_bad to leave it out")


@dataclass(frozen=True)
class Left:
    """A trace that an archive cannot give.

    Attributes:
        error: what is wrong with it, and where.
        harmless: it is not what was asked for (a horizontal component), rather than bad: never a reason to stop.
    """

    error: UnusableTrace
    harmless: bool = False


class RawArchive(Protocol):
    """Where seismograms come from."""

    @property
    def facts(self) -> dict[str, Any]:
        """What is to be remembered of it with the prepared traces; complete once all traces were given."""
        ...

    def __len__(self) -> int:
        """How much :meth:`traces` goes through, for progress."""
        ...

    def traces(self) -> Iterator[RawTrace | Left]:
        """Every trace, in an order that does not depend on the file system.

        Raises:
            InputError: the archive as a whole cannot be read.
        """
        ...


def time_in_name(name: str) -> Any:
    """Origin time that an event's name tells, UTC; NaT where it tells none."""
    found = NAMED.match(name)
    if found is None:
        return pd.NaT
    return pd.to_datetime("".join(found.groups()), format="%Y%m%d%H%M%S", utc=True, errors="coerce")
