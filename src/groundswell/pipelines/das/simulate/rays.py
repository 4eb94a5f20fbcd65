"""das: travel times, slowness and radiation of body waves in a half-space whose velocity grows with depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DENSITY_KG_M3 = 2600.0
P_SURFACE_M_S = 4600.0
"""P velocity at the top of the bedrock."""
P_GRADIENT_PER_S = 0.05
"""Growth of P velocity with depth: 5.1 km/s at 10 km."""
P_TO_S = 1.73
"""Ratio of P to S velocity, at all depths."""
P_SOIL_M_S, S_SOIL_M_S = 3000.0, 1200.0
"""Velocities of the weathered layer under the fibre: too thin to delay a wave, thick enough to steepen its last leg."""


@dataclass(frozen=True)
class Ray:
    """Rays from one source to points at the surface; every array is float64 (points,).

    Attributes:
        time_s: travel time.
        slowness_s_m: horizontal slowness, the derivative of time by epicentral distance.
        takeoff_rad: angle at the source from the downward vertical.
        source_m_s: velocity at the source.
    """

    time_s: Floats
    slowness_s_m: Floats
    takeoff_rad: Floats
    source_m_s: float


def trace(epicentral_m: Floats, depth_m: float, surface_m_s: float, gradient_per_s: float) -> Ray:
    """Rays in a linear velocity gradient, where they are arcs of circles and the travel time is closed.

    t = arccosh(1 + g^2 (X^2 + h^2) / (2 v0 vh)) / g  (Slotnick 1959, Lessons in Seismic Computing).
    """
    epicentral = np.maximum(np.asarray(epicentral_m, np.float64), 1.0)
    source = surface_m_s + gradient_per_s * depth_m
    stretch = gradient_per_s**2 / (2 * surface_m_s * source)
    argument = 1 + stretch * (epicentral**2 + depth_m**2)
    slope = np.sqrt(argument**2 - 1)
    slowness = 2 * stretch * epicentral / (gradient_per_s * slope)
    # The ray leaves upward where a deeper source would be farther in time.
    upward = 2 * depth_m * source > gradient_per_s * (epicentral**2 + depth_m**2)
    angle = np.arcsin(np.clip(slowness * source, 0, 1))
    return Ray(np.arccosh(argument) / gradient_per_s, slowness, np.where(upward, np.pi - angle, angle), source)


def p_rays(epicentral_m: Floats, depth_m: float) -> Ray:
    """P rays; see :func:`trace`."""
    return trace(epicentral_m, depth_m, P_SURFACE_M_S, P_GRADIENT_PER_S)


def s_rays(epicentral_m: Floats, depth_m: float) -> Ray:
    """S rays; see :func:`trace`."""
    return trace(epicentral_m, depth_m, P_SURFACE_M_S / P_TO_S, P_GRADIENT_PER_S / P_TO_S)


def double_couple(strike_rad: float, dip_rad: float, rake_rad: float) -> Floats:
    """Moment tensor of unit scalar moment in north, east, down (Aki & Richards 2002, section 4.5)."""
    normal = np.array([-np.sin(dip_rad) * np.sin(strike_rad), np.sin(dip_rad) * np.cos(strike_rad), -np.cos(dip_rad)])
    slip = np.array([
        np.cos(rake_rad) * np.cos(strike_rad) + np.cos(dip_rad) * np.sin(rake_rad) * np.sin(strike_rad),
        np.cos(rake_rad) * np.sin(strike_rad) - np.cos(dip_rad) * np.sin(rake_rad) * np.cos(strike_rad),
        -np.sin(rake_rad) * np.sin(dip_rad)])
    outer: Floats = np.outer(slip, normal)
    return outer + outer.T


def radiation(moment: Floats, takeoff_rad: Floats, azimuth_rad: Floats) -> tuple[Floats, Floats, Floats]:
    """Radiation factors of P, SV and SH.

    Args:
        moment: moment tensor in north, east, down, (3, 3); the identity is an explosion.
        takeoff_rad: from the downward vertical, (points,).
        azimuth_rad: from north by east, (points,).
    """
    sin_i, cos_i, sin_a, cos_a = np.sin(takeoff_rad), np.cos(takeoff_rad), np.sin(azimuth_rad), np.cos(azimuth_rad)
    away = np.stack([sin_i * cos_a, sin_i * sin_a, cos_i])
    in_plane = np.stack([cos_i * cos_a, cos_i * sin_a, -sin_i])
    across = np.stack([-sin_a, cos_a, np.zeros_like(sin_a)])
    force = moment @ away
    return (away * force).sum(0), (in_plane * force).sum(0), (across * force).sum(0)
