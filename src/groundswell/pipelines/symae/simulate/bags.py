"""symae: simulated bags of teleseismic P waves: one source, many paths, shifts, polarities and coloured noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from groundswell.pipelines.symae.simulate.sources import Pulses, draw_pulses, render, standard
from groundswell.pipelines.symae.simulate.worlds import CODA_POWER, WORLDS, World

Floats32 = NDArray[np.float32]

SPIKES = 12
"""Scattered arrivals of one path."""
SHARED_SPIKES = 4
"""Scattered arrivals that the paths of a bag have in common, where they have."""
NOISE_CORNER_HZ = 0.45
"""Above this the noise falls off; below, it is white."""


@dataclass(frozen=True)
class SimulatedBags:
    """Bags and the whole truth about them; b bags, t traces, n samples. Everything is simulated.

    ``clean`` equals ``scale * flip * shifted(source * path)`` less its mean, to rounding, where ``*`` convolves over
    twice the window (nothing wraps) and the shift is the band-limited one of
    :func:`groundswell.pipelines.symae.alignment.fourier.shift_traces`.

    Attributes:
        x: float32 (b, t, n), each trace with mean 0 and standard deviation 1.
        source: float32 (b, n), mean 0, standard deviation 1; its own origin at ``ONSET * n``.
        path: float32 (b, t, n), impulse responses with the direct wave, 1, at sample 0.
        clean: float32 (b, t, n), the part of ``x`` that is no noise.
        shift_s: float32 (b, t), seconds; positive is late.
        flip: int8 (b, t), -1 or 1.
        scale: float32 (b, t), what the normalisation of ``x`` multiplied by.
        seen: float32 (b, n), the source with the part that all paths share, standardised: the most that a bag can tell.
        shared: bool (b,), the paths share a part, so that ``source`` cannot be recovered.
        world: the world of each bag.
        dt: sampling interval, seconds.
    """

    x: Floats32
    source: Floats32
    path: Floats32
    clean: Floats32
    shift_s: Floats32
    flip: NDArray[np.int8]
    scale: Floats32
    seen: Floats32
    shared: NDArray[np.bool_]
    world: list[World]
    dt: float


def simulate_bags(world: World | str | Sequence[World | str], count: int, traces: int, *, nt: int = 192,
                  dt: float = 0.5, generator: np.random.Generator, pulses: Pulses | None = None) -> SimulatedBags:
    """Draw bags of equal size.

    Args:
        world: one for all bags, or a sequence that is gone through in turn; names of :data:`WORLDS` or worlds.
        count: bags.
        traces: in each bag.
        nt: samples.
        dt: seconds between samples.
        generator: where chance comes from; the same state gives the same bags.
        pulses: sources to use instead of drawing them, one a bag.
    """
    several = [world] if isinstance(world, World | str) else list(world)
    worlds = [WORLDS[one] if isinstance(one, str) else one for one in several]
    worlds = [worlds[index % len(worlds)] for index in range(count)]
    source = render(draw_pulses(worlds, generator) if pulses is None else pulses, nt, dt)
    common, path = _paths(worlds, traces, nt, dt, generator)
    shift_s = generator.standard_normal((count, traces)) * _each(worlds, "shift_s")[:, None]
    flip = np.where(generator.random((count, traces)) < _each(worlds, "flips")[:, None], -1, 1).astype(np.int8)

    longest = scipy.fft.next_fast_len(2 * nt, real=True)
    spectrum = scipy.fft.rfft(source, longest)
    arriving = scipy.fft.rfft(path, longest)
    arriving *= spectrum[:, None, :]
    angle = (shift_s / dt).astype(np.float32)[..., None] * (
        np.arange(longest // 2 + 1, dtype=np.float32) * np.float32(-2 * np.pi / longest))
    turn = np.empty(angle.shape, np.complex64)
    turn.real, turn.imag = np.cos(angle), np.sin(angle)
    arriving *= turn
    clean = scipy.fft.irfft(arriving, longest)[..., :nt] * flip[..., None].astype(np.float32)
    clean -= clean.mean(-1, keepdims=True)
    noise = _noise((count, traces), nt, dt, generator)
    amplitude = np.sqrt(np.square(clean).mean(-1) * 10 ** (-_each(worlds, "snr_db")[:, None] / 10))
    noise *= amplitude.astype(np.float32)[..., None]
    x = clean + noise
    scale = 1 / x.std(-1, keepdims=True)
    x *= scale
    clean *= scale
    seen = scipy.fft.irfft(spectrum * scipy.fft.rfft(common, longest), longest)[:, :nt]
    return SimulatedBags(x, source, path, clean, shift_s.astype(np.float32), flip, scale[..., 0], standard(seen),
                         _each(worlds, "shared") > 0, worlds, dt)


def _each(worlds: Sequence[World], name: str) -> NDArray[np.float64]:
    return np.array([getattr(world, name) for world in worlds], np.float64)


def _paths(worlds: Sequence[World], traces: int, nt: int, dt: float,
           generator: np.random.Generator) -> tuple[Floats32, Floats32]:
    """The part that all paths of a bag have in common (b, n), and the paths (b, t, n) with that part in them."""
    decay = _each(worlds, "coda_s")[:, None, None] / dt
    path = _spikes((len(worlds), traces, SPIKES), nt, decay, _each(worlds, "coda")[:, None, None], generator)
    common = np.zeros((len(worlds), nt), np.float32)
    common[:, 0] = 1.0
    shared = _each(worlds, "shared")
    if shared.any():
        which = np.flatnonzero(shared)
        common[which] = _spikes((len(which), 1, SHARED_SPIKES), nt, decay[which], shared[which, None, None],
                                generator)[:, 0]
        longest = scipy.fft.next_fast_len(2 * nt, real=True)
        both = scipy.fft.rfft(path[which], longest) * scipy.fft.rfft(common[which, None], longest)
        path[which] = scipy.fft.irfft(both, longest)[..., :nt]
        path[which, :, 0] = 1.0
    return common, path


def _spikes(shape: tuple[int, int, int], nt: int, decay: NDArray[np.float64], strength: NDArray[np.float64],
            generator: np.random.Generator) -> Floats32:
    """A unit spike at 0 and later ones of random sign, whose amplitude decays; float32 (b, t, n)."""
    bags, traces, spikes = shape
    # Delays are at least a sample, so that the direct wave stays 1.
    delay = 1 + (generator.random(shape) * (nt - 1)).astype(np.int64)
    height = generator.standard_normal(shape) * np.exp(-delay / decay)
    height *= strength * np.sqrt(CODA_POWER / np.square(height).sum(-1, keepdims=True))
    response = np.zeros((bags * traces, nt), np.float32)
    rows = np.repeat(np.arange(bags * traces), spikes)
    np.add.at(response, (rows, delay.ravel()), height.ravel().astype(np.float32))
    response[:, 0] = 1.0
    return response.reshape(bags, traces, nt)


def _noise(shape: tuple[int, int], nt: int, dt: float, generator: np.random.Generator) -> Floats32:
    """Gaussian noise with a falling spectrum, no mean and an expected power of 1; float32 (b, t, n)."""
    frequency = np.fft.rfftfreq(nt, dt)
    amplitude = 1 / np.sqrt(1 + (frequency / NOISE_CORNER_HZ) ** 4)
    amplitude[0] = 0.0
    weight = np.full(len(frequency), 2.0)
    weight[-1] = 1.0 if nt % 2 == 0 else 2.0
    amplitude *= nt / np.sqrt((weight * amplitude**2).sum())
    white = generator.standard_normal((*shape, 2 * len(frequency)), np.float32).view(np.complex64)
    white *= (amplitude / np.sqrt(2)).astype(np.float32)
    noise: Floats32 = scipy.fft.irfft(white, nt)
    return noise

