"""symae: pixels of the focal sphere: HEALPix in RING order, counted from 1, over take-off angle and azimuth."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from groundswell.core.errors import InputError
from groundswell.core.optional import require


def pixels_in(nside: int) -> int:
    """How many pixels the sphere has; they count from 1."""
    return 12 * nside**2


def focal_pixel(takeoff: ArrayLike, azimuth: ArrayLike, nside: int) -> NDArray[np.int64]:
    """Pixel that a ray leaves the source through, 1-based, int64, of the arguments' common shape.

    Gorski et al. (2005), RING; colatitude is the take-off angle and longitude the azimuth.

    Args:
        takeoff: angle from the downward vertical, degrees, 0 to 180.
        azimuth: of the station as the source sees it, degrees clockwise from north.
        nside: resolution.

    Raises:
        InputError: an angle is not finite or a take-off angle outside 0 to 180.
        MissingExtraError: healpix is not installed.
    """
    theta, phi = np.broadcast_arrays(np.asarray(takeoff, np.float64), np.asarray(azimuth, np.float64))
    if not (np.isfinite(phi).all() and ((theta >= 0) & (theta <= 180)).all()):
        raise InputError("A take-off angle or azimuth is no angle, so the ray has no pixel",
                         fix="Take-off angles are 0 to 180 degrees from the downward vertical")
    return np.asarray(_healpix().ang2pix(nside, np.radians(theta), np.radians(phi)), np.int64) + 1


def pixel_centre(pixel: ArrayLike, nside: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Take-off angle and azimuth of the centres of pixels, degrees, float64, of the pixels' shape.

    Raises:
        InputError: there is no such pixel.
        MissingExtraError: healpix is not installed.
    """
    number = np.asarray(pixel, np.int64)
    wrong = (number < 1) | (number > pixels_in(nside))
    if wrong.any():
        raise InputError(f"There is no pixel {int(number[wrong].flat[0])}",
                         fix=f"Pixels of nside {nside} count from 1 to {pixels_in(nside)}")
    theta, phi = _healpix().pix2ang(nside, number - 1)
    return np.degrees(np.asarray(theta, np.float64)), np.degrees(np.asarray(phi, np.float64))


def _healpix() -> ModuleType:
    return require("healpix", extra="symae", purpose="Dividing the focal sphere into pixels")
