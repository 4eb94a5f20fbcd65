"""symae: the coherent signal of one bag and, always beside it, what is made of the same traces without learning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from groundswell.core.waveforms import best_lag, envelope, shifted
from groundswell.data.order import permutations
from groundswell.pipelines.symae.alignment.iccs import iccs
from groundswell.pipelines.symae.alignment.stacks import windowed_stack
from groundswell.pipelines.symae.store import BagStore
from groundswell.pipelines.symae.trained import AnyTask, padded_bags, read_sources, trace_rows

Floats = NDArray[np.float64]
Bag = NDArray[np.float32]

STACKS = {"iccs_stack": "ICCS stack", "windowed_stack": "windowed ICCS stack"}
"""Made without learning, beside every coherent signal."""
HALVINGS = 8
"""Times that a bag is cut into two disjoint halves at random."""
_LEAST = 1e-9


@dataclass(frozen=True)
class Signal:
    """What one bag holds in common; t traces, n samples. Waves have mean 0 and standard deviation 1.

    Attributes:
        event, pixel, colatitude, longitude: of the bag; degrees, the centre of the pixel on the focal sphere.
        stations: of each trace.
        times: (n,), seconds after the theoretical P.
        x: (t, n), as read.
        source, spread: (n,), the coherent signal and the standard deviation of its error, in the frame of ``aligned``.
        shift_s, flip, correlation: (t,), seconds that a trace is late (mean 0), its polarity, its correlation with the
            coherent signal once aligned.
        aligned: (t, n).
        stacks: (n,) by the names of :data:`STACKS`, moved and turned to fit the coherent signal best.
        iccs_shift_s, iccs_flip: (t,), by stacking alone.
        mean_envelope: (n,), mean over the raw traces of their Hilbert envelopes: the mean displacement envelope.
        source_envelope, envelope_spread: (n,), envelope of the coherent signal and its standard deviation.
        split_half: correlation of the signals of two random halves of the bag, median over some divisions, of the model
            ("model") and of each stack; empty for bags of fewer than four traces.
        true: (n,), the true source moved and turned to fit, or ``None``.
        truth: correlation with the true source, by name; empty where it is not known.
        recoverable: whether the paths leave the source to be recovered, as far as is known.
        envelopes: the network reads envelopes: ``x``, ``source`` and ``aligned`` are envelopes as well.
        facts: what else there is to say, JSON-able.
    """

    event: str
    pixel: int
    colatitude: float
    longitude: float
    stations: list[str]
    times: Floats
    x: Floats
    source: Floats
    spread: Floats
    shift_s: Floats
    flip: Floats
    correlation: Floats
    aligned: Floats
    stacks: dict[str, Floats]
    iccs_shift_s: Floats
    iccs_flip: Floats
    mean_envelope: Floats
    source_envelope: Floats
    envelope_spread: Floats
    split_half: dict[str, float]
    true: Floats | None
    truth: dict[str, float]
    recoverable: bool
    envelopes: bool
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Pixel and where it is on the focal sphere, as in the figures."""
        return f"{self.pixel}: ({self.colatitude:.0f}°, {self.longitude:.0f}°)"


def time_axis(store: BagStore) -> Floats:
    """Seconds of the samples (n,), after the theoretical P."""
    return np.asarray(store.facts.t0 + store.facts.dt * np.arange(store.facts.nt), np.float64)


def standard(wave: NDArray[Any]) -> Floats:
    """Waves (..., n) of mean 0 and standard deviation 1; constant ones become 0."""
    wave = np.asarray(wave, np.float64)
    wave = wave - wave.mean(-1, keepdims=True)
    return np.asarray(wave / np.maximum(wave.std(-1, keepdims=True), _LEAST), np.float64)


def fitted(wave: Floats, to: Floats, reach: float, *, sign: bool = True) -> tuple[Floats, float]:
    """A standardised wave moved (and turned) to where it correlates best with another, and that correlation."""
    best = best_lag(wave, to, reach, sign=sign)
    return standard(shifted(standard(wave), -best.lag) * best.sign), float(best.correlation)


def halvings(count: int, name: str) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Random divisions of a bag into two halves of two traces or more; none of a bag of fewer than four."""
    if count < 4:
        return []
    order = permutations(count, 0, HALVINGS, 0, "halves of a bag", name)
    return [(np.sort(row[:count // 2]), np.sort(row[count // 2:])) for row in order]


def stacked(x: Bag, dt: float, max_shift_s: float, *,
            envelopes: bool = False) -> tuple[dict[str, Floats], Floats, Floats]:
    """The ICCS stack and the windowed one of a bag (t, n), or their envelopes, and the shifts and polarities (t,)."""
    found = iccs(*padded_bags([x]), dt=dt, max_shift_s=max_shift_s)
    made = {"iccs_stack": found.stack[0], "windowed_stack": windowed_stack(found.stack, dt=dt)[0]}
    waves = {name: wave.double().numpy() for name, wave in made.items()}
    return ({name: standard(envelope(wave) if envelopes else wave) for name, wave in waves.items()},
            found.shift_s[0].double().numpy(), found.flip[0].double().numpy())


def prepared(task: AnyTask, x: Bag) -> Bag:
    """Traces as the network takes them: as they are, or their envelopes."""
    if not getattr(task, "envelopes", False):
        return x
    bag, mask = padded_bags([x])
    return np.asarray(task.prepared(bag, mask)[0].numpy(), np.float32)  # type: ignore[operator]


def split_halves(task: AnyTask, x: Bag, name: str, dt: float, max_shift_s: float, reach: float) -> dict[str, float]:
    """Split-half correlations of the model and the stacks; see :class:`Signal`."""
    divisions = halvings(len(x), name)
    if not divisions:
        return {}
    parts = [x[part] for pair in divisions for part in pair]
    envelopes = bool(getattr(task, "envelopes", False))
    waves = [{"model": found["source"], **stacked(part, dt, max_shift_s, envelopes=envelopes)[0]}
             for part, found in zip(parts, read_sources(task, parts), strict=True)]
    return {kind: float(np.median([best_lag(waves[i][kind], waves[i + 1][kind], reach).correlation
                                   for i in range(0, len(waves), 2)])) for kind in waves[0]}


def signal_of(store: BagStore, bag: int, task: AnyTask, *, max_shift_s: float, reach_s: float,
              instead: Callable[[dict[str, Floats]], dict[str, Floats]] | None = None) -> Signal:
    """The coherent signal of a bag, from all its traces.

    Args:
        store: the bags.
        bag: which.
        task: trained, in evaluation mode.
        max_shift_s: largest shift of the alignment by stacking, seconds.
        reach_s: farthest that waves are moved to be compared, seconds.
        instead: changes what the network says (``source``, ``spread`` and so on) before it is compared.
    """
    row, facts = store.bags.iloc[bag], store.facts
    raw = store.read(bag)
    reach, name = reach_s / facts.dt, f"{row['event']}/{row['pixel']}"
    envelopes = bool(getattr(task, "envelopes", False))
    with torch.inference_mode():
        x = prepared(task, raw)
        found = read_sources(task, [raw])[0]
        stacks, iccs_shift, iccs_flip = stacked(raw, facts.dt, max_shift_s, envelopes=envelopes)
        halves = split_halves(task, raw, name, facts.dt, max_shift_s, reach)
    if instead is not None:
        found = instead(found)
    source = standard(found["source"])
    beside = {kind: fitted(wave, source, reach)[0] for kind, wave in stacks.items()}
    true, truth = None, {}
    if store.has_truth:
        known = store.truth("source", bag).astype(np.float64)
        known = envelope(known) if envelopes else known
        true = fitted(known, source, reach)[0]
        truth = {kind: fitted(wave, known, reach)[1] for kind, wave in {"model": source, **stacks}.items()}
    aligned, places = found["aligned"], trace_rows(store, bag)
    upper = envelope(source) if not envelopes else source
    # An envelope moves with its wave, but for where it is near zero.
    deviation = float(np.maximum(upper.std(), _LEAST))
    return Signal(
        str(row["event"]), int(row["pixel"]), float(row["pixel_colatitude"]), float(row["pixel_longitude"]),
        [str(station) for station in places["station"]], time_axis(store),
        x.astype(np.float64), source, found["spread"], found["shift_s"], found["flip"],
        standard(aligned) @ source / facts.nt, aligned, beside, iccs_shift, iccs_flip,
        standard(envelope(raw.astype(np.float64)).mean(0)), found.get("source_envelope", standard(upper)),
        found.get("envelope_spread", found["spread"] / deviation), halves, true, truth,
        not ("shared" in store.truths and bool(store.truth("shared", bag))), envelopes,
        {"settled": None if not np.isfinite(found["settled"]) else float(found["settled"])})
