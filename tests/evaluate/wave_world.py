"""A small world of waveforms for tests: sources, what a model and its rivals make of them, a table, a split."""

from __future__ import annotations

import numpy as np
import pandas as pd

from groundswell.core.waveforms import shifted
from groundswell.data.table import SampleTable
from groundswell.data.waveforms import WaveformPredictions
from groundswell.evaluate.controls import ControlRun, Outcome
from groundswell.evaluate.waveform_rivals import WAVEFORM_CONTROLS
from groundswell.evaluate.waveform_truth import WaveformTruth
from groundswell.splits.manifest import TEST, TRAIN, SplitManifest

NT, DT, T0, TRACES = 192, 0.5, -38.4, 6


def sources(n, seed=0):
    """Derivatives of a few pulses near the middle of the window, mean 0, standard deviation 1; shape (n, NT)."""
    rng, t = np.random.default_rng(seed), np.arange(NT)
    place, width = rng.uniform(75, 115, (n, 5, 1)), rng.uniform(2, 5, (n, 5, 1))
    off = (t - place) / width
    wave = (rng.normal(size=(n, 5, 1)) * off * np.exp(-0.5 * off**2)).sum(1)
    wave -= wave.mean(1, keepdims=True)
    return wave / wave.std(1, keepdims=True)


class World:
    """Bags of six traces, two an event, in turn of the named worlds."""

    def __init__(self, n=40, *, worlds=("easy", "hard"), seed=0, simulated=True, unrecoverable=0, prefix="event"):
        rng = np.random.default_rng(seed + 1)
        self.source = sources(n, seed)
        self.shift_s = rng.normal(0, 1.5, (n, TRACES))
        self.flip = rng.choice([-1, 1], (n, TRACES)).astype(np.int8)
        self.ids = [f"{prefix} {k // 2}/{k % 2}" for k in range(n)]
        frame = pd.DataFrame({"sample_id": self.ids, "record": [f"{prefix} {k // 2}" for k in range(n)], "label": None,
                              "group": [f"{prefix} {k // 2}" for k in range(n)]})
        if worlds:
            frame["world"] = [worlds[k // 2 % len(worlds)] for k in range(n)]
        self.table = SampleTable(frame, (), pipeline="symae", origin={"simulated": True} if simulated else {})
        recoverable = np.arange(n) < n - unrecoverable
        self.truth = WaveformTruth.of(self.ids, nt=NT, waveform=self.source, shift_s=self.shift_s, flip=self.flip,
                                      recoverable=recoverable)

    def guess(self, noise=0.2, *, seed=5, shift_noise=0.1, spread=True, halves=True, **options):
        """Sources with white noise, each moved, turned and scaled at random."""
        rng = np.random.default_rng(seed)
        n = len(self.ids)
        scale = rng.choice([-1, 1], (n, 1)) * rng.uniform(0.2, 3, (n, 1))
        moved = shifted(self.source, rng.uniform(-8, 8, n))
        pair = moved[:, None] + noise * np.sqrt(2) * rng.normal(size=(n, 2, NT))
        given = {"spread": np.full((n, NT), max(noise, 1e-3)) * np.abs(scale) if spread else None,
                 "halves": pair * scale[:, None] if halves else None}
        if shift_noise is not None:
            given |= {"shift_s": self.shift_s + 3 + rng.normal(0, shift_noise, self.shift_s.shape), "flip": -self.flip}
        return WaveformPredictions.of(self.ids, scale * pair.mean(1), dt=DT, t0=T0, **(given | options))

    def split(self):
        events = np.arange(len(self.ids)) // 2
        return SplitManifest.of(self.table, np.where(events % 3 == 0, TRAIN, TEST).astype(np.int8), "grouped", 1, {})

    def run(self, name, predictions):
        return ControlRun(WAVEFORM_CONTROLS[name], Outcome(predictions, self.table))
