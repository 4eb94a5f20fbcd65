"""symae: folders of SAC or miniSEED files, read by obspy, with their rays reckoned through a model of the Earth."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from groundswell.core.errors import InputError
from groundswell.core.optional import require
from groundswell.core.progress import say
from groundswell.pipelines.symae.catalogue import Quakes
from groundswell.pipelines.symae.pixels import focal_pixel
from groundswell.pipelines.symae.prepare_recipe import PrepareRecipe
from groundswell.pipelines.symae.raw import Earthquake, Left, RawTrace, UnusableTrace
from groundswell.pipelines.symae.stations import Stations
from groundswell.pipelines.symae.travel import Ray, Rays

_SLOWEST_P_S = 1200.0  # no direct P takes longer to any distance
_METRES = 1000.0
_UNKNOWN = -12345.0  # what SAC writes where a number is not known


class SeismogramFolder:
    """Vertical seismograms of earthquakes, one file or several in a folder, in anything that obspy reads.

    An event comes from the catalogue: the one whose P arrives within the record. Without a catalogue it comes from the
    SAC headers evla, evlo, evdp and o. A station's place comes from the table of stations, or from SAC's stla and stlo.
    The P arrival and the take-off angle come from TauP, and the pixel from take-off angle and azimuth. Components other
    than the vertical are counted and passed over, and so are stations that no direct P reaches. Amplitudes stay as
    recorded: each trace is normalised afterwards.

    Args:
        folder: looked through with its sub-folders; hidden files are passed over.
        recipe: of the preparation.
        quakes: the catalogue.
        stations: their places.

    Raises:
        InputError: the folder holds no files.
        MissingExtraError: obspy is not installed.
    """

    def __init__(self, folder: Path, recipe: PrepareRecipe, quakes: Quakes | None = None,
                 stations: Stations | None = None) -> None:
        self._folder, self._recipe, self._quakes, self._stations = Path(folder), recipe, quakes, stations
        self._obspy = require("obspy", extra="symae", purpose="Reading SAC and miniSEED")
        self._files = sorted(path for path in self._folder.rglob("*") if path.is_file() and not path.is_symlink()
                             and not any(part.startswith(".") for part in path.relative_to(self._folder).parts))
        if not self._files:
            raise InputError("There are no files in this folder", where=self._folder)
        self._rays = Rays(recipe.model, recipe.angle_model)
        self._metres = self._flat = 0

    def __len__(self) -> int:
        return len(self._files)

    @property
    def facts(self) -> dict[str, Any]:
        """Its kind and name, models, and how many depths were taken for metres."""
        return {"archive": "SAC or miniSEED", "name": self._folder.name, "files": len(self._files),
                "depths_in_metres": self._metres}

    def traces(self) -> Iterator[RawTrace | Left]:
        """Every trace, by the names of files.

        Raises:
            InputError: there is neither a catalogue nor an event in the headers, or a station has no place.
        """
        self._metres = 0
        for path in self._files:
            where = str(path.relative_to(self._folder))
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # obspy speaks of rounding at each file
                    stream = self._obspy.read(str(path)).merge()  # gaps become masks
            except Exception as error:  # whatever obspy's plugins raise at files of other people
                yield Left(UnusableTrace("no seismogram", f"The file cannot be read as a seismogram: {error}",
                                         where=path, fix="Move it away"))
                continue
            for trace in stream:
                yield self._one(trace, where)
        if self._metres:
            say(f"took the depths of {self._metres} SAC headers for metres, since they are larger than {_METRES:g}")

    def _one(self, trace: Any, where: str) -> RawTrace | Left:
        stats = trace.stats
        station = f"{stats.network}.{stats.station}.{stats.location or '__'}.{stats.channel}"
        place = f"{where}, {station}"
        if not str(stats.channel).upper().endswith("Z"):
            return Left(UnusableTrace("not vertical", "The component is not vertical", where=place), harmless=True)
        header = {str(k): v for k, v in dict(stats.get("sac", {})).items()}
        at = self._place(f"{stats.network}.{stats.station}", header, place)
        if isinstance(at, Left):
            return at
        found = self._event(stats, header, at, place)
        if isinstance(found, Left):
            return found
        quake, ray = found
        reference = float(stats.starttime) - _known(header, "b", 0.0)
        p_time = float(pd.Timestamp(quake.time).timestamp()) + ray.time_s
        if self._recipe.p_header:
            told = _known(header, self._recipe.p_header)
            if not np.isfinite(told):
                return Left(UnusableTrace(
                    "no theoretical P in the header", f"The header {self._recipe.p_header}, which is to hold the "
                    "theoretical P, is not set", where=place,
                    fix="Leave prepare.p_header out to go by the model"))
            p_time = reference + told
        pick = _known(header, self._recipe.pick_header) if self._recipe.pick_header else np.nan
        # Gaps that a reader filled with a mask count as not finite.
        mask = getattr(trace.data, "mask", False)
        samples = np.where(mask, np.nan, np.asarray(trace.data, np.float64))
        return RawTrace(quake, int(focal_pixel(ray.takeoff, ray.azimuth, self._recipe.nside)), station,
                        samples, float(stats.sampling_rate),
                        (p_time - float(stats.starttime)) * float(stats.sampling_rate), ray.azimuth, ray.takeoff,
                        ray.distance, at[0], at[1], reference + pick - p_time,
                        self._recipe.pick_kind if np.isfinite(pick) else "")

    def _place(self, station: str, header: dict[str, Any], where: str) -> tuple[float, float] | Left:
        if self._stations is not None and station in self._stations:
            return self._stations[station]
        own = (_known(header, "stla"), _known(header, "stlo"))
        if np.isfinite(own).all():
            return own
        return Left(UnusableTrace(
            "station without a place", f"It is not known where the station {station} stands", where=where,
            fix="miniSEED does not tell: give StationXML, or a table with network, station, latitude and longitude"))

    def _event(self, stats: Any, header: dict[str, Any], at: tuple[float, float],
               where: str) -> tuple[Earthquake, Ray] | Left:
        if self._quakes is None:
            quake = self._in_header(stats, header)
            if quake is None:
                return Left(UnusableTrace(
                    "no event", "The header names no event (evla, evlo, evdp and o), and there is no catalogue",
                    where=where, fix="Give a catalogue, CSV or QuakeML: miniSEED tells of no event"))
            candidates = [quake]
        else:
            candidates = self._quakes.between(float(stats.starttime) - _SLOWEST_P_S, float(stats.endtime))
        rays = [(quake, self._rays.ray((quake.latitude, quake.longitude, quake.depth_km), at)) for quake in candidates]
        direct = [(quake, ray) for quake, ray in rays if ray is not None]
        if candidates and not direct:
            return Left(UnusableTrace("no direct P at this distance", "No direct P reaches the station", where=where),
                        harmless=True)
        if self._quakes is None:
            return direct[0]
        inside = [(quake, ray) for quake, ray in direct if float(stats.starttime) <= float(
            pd.Timestamp(quake.time).timestamp()) + ray.time_s <= float(stats.endtime)]
        if len(inside) == 1:
            return inside[0]
        names = ", ".join(quake.name for quake, _ in inside)
        problem = f"P waves of several events arrive within the record ({names})" if inside else (
            "P of no event in the catalogue arrives within the record")
        return Left(UnusableTrace("several events" if inside else "no event", problem, where=where,
                                  fix="Cut the records, or correct the catalogue"))

    def _in_header(self, stats: Any, header: dict[str, Any]) -> Earthquake | None:
        latitude, longitude, depth, origin = (_known(header, name) for name in ("evla", "evlo", "evdp", "o"))
        if not np.isfinite([latitude, longitude, depth, origin]).all():
            return None
        metres = {"km": False, "m": True, "auto": depth > _METRES}[self._recipe.sac_depth]
        self._metres += metres and self._recipe.sac_depth == "auto"
        # Headers are float32: origin times of one event differ by rounding, and its name must not.
        seconds = float(stats.starttime) - _known(header, "b", 0.0) + origin
        time = pd.Timestamp(round(seconds * 100) * 10_000_000, tz="UTC")
        return Earthquake(time.strftime("%Y%m%d_%H%M%S"), latitude, longitude, depth / 1000 if metres else depth,
                          _known(header, "mag"), time)


def _known(header: dict[str, Any], name: str, otherwise: float = float("nan")) -> float:
    value = header.get(name, _UNKNOWN)
    return otherwise if value is None or float(value) == _UNKNOWN else float(value)
