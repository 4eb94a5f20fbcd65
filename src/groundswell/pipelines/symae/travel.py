"""symae: where a ray to a station leaves its source and when its P arrives, by obspy's TauP."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from groundswell.core.optional import require
from groundswell.data.sphere import EARTH_KM, great_circle_km

_FLATTENING = 1 / 298.257223563  # WGS 84
NODE_DEGREES = 0.5
"""Distances at which times are reckoned; between them they are interpolated."""
_SMOOTH_FROM = 32.0  # below, branches of P cross: the first of them is reckoned for each distance

@dataclass(frozen=True)
class Ray:
    """A P wave. Degrees; ``time_s`` after the origin; ``takeoff`` from the downward vertical."""

    distance: float
    azimuth: float
    time_s: float
    takeoff: float


class Rays:
    """P waves through radial models of the Earth (Crotwell et al. 1999).

    Azimuths are those of geodesics on the ellipsoid. Distances are those on a sphere of geocentric latitudes; times are
    not corrected for the Earth's ellipticity, which shifts them by up to a second, mostly the same for all stations of
    a pixel. On the real Fiji event, times lie 0.3 s (median) before the reference times in the headers; by geographic
    latitudes, which SAC's ``gcarc`` goes by there, they would lie 0.7 s after.

    From 32 degrees on times come from nodes half a degree apart, by cubics that have the ray parameters for slopes.

    Args:
        model: of the arrival: iasp91, prem or ak135.
        angle_model: of the take-off angle.

    Raises:
        MissingExtraError: obspy is not installed.
    """

    def __init__(self, model: str, angle_model: str) -> None:
        taup = require("obspy.taup", extra="symae", purpose="Reckoning when P waves arrive")
        self._model = taup.TauPyModel(model)
        self._angles = self._model if angle_model == model else taup.TauPyModel(angle_model)
        self._geodetics = require("obspy.geodetics", extra="symae", purpose="Reckoning azimuths")
        self._known: dict[tuple[str, float, float], tuple[float, float, float] | None] = {}

    def ray(self, source: tuple[float, float, float], station: tuple[float, float]) -> Ray | None:
        """The first direct P from a source to a station; None where there is none (beyond about 98 degrees).

        Args:
            source: latitude, longitude (degrees) and depth (km; what is above sea level counts as 0).
            station: latitude and longitude, degrees.
        """
        place = (geocentric(source[0]), source[1])
        along_km = great_circle_km(np.array([geocentric(station[0])]), np.array([station[1]]), place)[0]
        distance = float(np.degrees(along_km / EARTH_KM))
        azimuth = float(self._geodetics.gps2dist_azimuth(*source[:2], *station)[1])
        depth_km = max(source[2], 0.0)
        time = self._at("time", depth_km, distance)
        angle = time if self._angles is self._model else self._at("angle", depth_km, distance)
        if time is None or angle is None:
            return None
        # Snell's law: angles go with the ray parameter, so that is what is interpolated.
        return Ray(distance, azimuth, time[0], float(np.degrees(np.arcsin(np.clip(angle[1] * angle[2], 0.0, 1.0)))))

    def _at(self, which: str, depth_km: float, distance: float) -> tuple[float, float, float] | None:
        """Time, ray parameter (s/degree), and what the latter is multiplied by to be the sine of the take-off angle."""
        low = np.floor(distance / NODE_DEGREES) * NODE_DEGREES
        if low < _SMOOTH_FROM:
            return self._node(which, depth_km, distance)
        before, after = self._node(which, depth_km, low), self._node(which, depth_km, low + NODE_DEGREES)
        if before is None or after is None:
            return self._node(which, depth_km, distance)
        cubic = CubicHermiteSpline([low, low + NODE_DEGREES], [before[0], after[0]], [before[1], after[1]])
        return float(cubic(distance)), float(cubic(distance, 1)), before[2]

    def _node(self, which: str, depth_km: float, distance: float) -> tuple[float, float, float] | None:
        key = (which, depth_km, float(distance))
        if key not in self._known:
            model = self._model if which == "time" else self._angles
            found = model.get_travel_times(source_depth_in_km=depth_km, distance_in_degree=float(distance),
                                           phase_list=["p", "P"])
            first = found[0] if len(found) else None
            self._known[key] = None if first is None else (
                float(first.time), float(first.ray_param_sec_degree),
                float(np.sin(np.radians(first.takeoff_angle)) / first.ray_param_sec_degree))
        return self._known[key]


def geocentric(latitude: float) -> float:
    """Geocentric latitude of a geographic one, degrees."""
    return float(np.degrees(np.arctan((1 - _FLATTENING) ** 2 * np.tan(np.radians(latitude)))))
