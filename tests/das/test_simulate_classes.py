"""das: nothing but physics tells the simulator's classes apart: not loudness, not noise, not the clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from groundswell.core.recipe import build_recipe
from groundswell.evaluate.intervals import wilson
from groundswell.pipelines.das.simulate.archive import Simulator
from groundswell.pipelines.das.simulate.noise import NoiseSource
from groundswell.pipelines.das.simulate.observed import ArrayRecord
from groundswell.pipelines.das.simulate.real_noise import ArrayNoise
from groundswell.pipelines.das.simulate.recipe import SimulateRecipe
from groundswell.pipelines.das.simulate.record import band_power
from groundswell.pipelines.das.simulate.writing import Recording

EVENTS, RATE_HZ = 80, 250.0
LOW_HZ, HIGH_HZ, BAND_HZ = (1.0, 4.0), (8.0, 20.0), (1.0, 30.0)


class Sample(NamedTuple):
    """Features of one event."""

    label: int
    physics: list[float]
    loudness: list[float]
    noise: list[float]
    clock: list[float]


def power_db(data_ct: NDArray[np.float32], band_hz: tuple[float, float]) -> float:
    return float(10 * np.log10(band_power(np.ascontiguousarray(data_ct), RATE_HZ, band_hz)))


def sample_of(recording: Recording) -> Sample:
    signal, data = recording.signals[0], recording.data_ct[recording.cable.working]
    p, s = (round(float(picks.min()) * RATE_HZ) for picks in (signal.p_s, signal.s_s))
    before, event, late = data[:, : p - 50], data[:, p : p + 2500], data[:, s + (s - p) // 2 :][:, :750]
    s_over_p = power_db(data[:, s : s + 500], BAND_HZ) - power_db(data[:, p : min(s, p + 500)], BAND_HZ)
    hour = (recording.start - recording.start.astype("datetime64[D]")) / np.timedelta64(1, "h")
    square = (before**2).mean()
    low_over_high = power_db(event, LOW_HZ) - power_db(event, HIGH_HZ)
    return Sample(
        signal.event.label,
        [s_over_p, low_over_high, power_db(late, LOW_HZ) - power_db(event, BAND_HZ)],
        [float(20 * np.log10(data.std()))],
        [power_db(before, BAND_HZ), power_db(before, LOW_HZ) - power_db(before, HIGH_HZ),
         float((before**4).mean() / square**2)],
        [float(np.sin(hour * np.pi / 12)), float(np.cos(hour * np.pi / 12))])


def samples_of(noise: NoiseSource | None = None, clock_confound: float = 0.0, seed: int = 42) -> list[Sample]:
    """Events of the default recipe on a fibre of fewer channels."""
    recipe = build_recipe(SimulateRecipe, {"events": EVENTS, "seed": seed, "clock_confound": clock_confound,
                                           "fibre": {"channels": 12, "spacing_m": 400.0}})
    simulator = Simulator(recipe, noise)
    return [sample_of(simulator.recording(number)) for number in range(EVENTS)]


def score(samples: list[Sample], feature: Callable[[Sample], list[float]],
          confidence: float = 0.95) -> tuple[float, float, float]:
    """Accuracy of a logistic regression, each event left out once, and its interval."""
    labels = np.array([s.label for s in samples])
    model = make_pipeline(StandardScaler(), LogisticRegression())
    # Leaving one of two equal halves out tilts the balance against it, which would look like less than chance.
    model.set_params(logisticregression__class_weight="balanced")
    right = int((cross_val_predict(model, np.array([feature(s) for s in samples]), labels, cv=LeaveOneOut()) == labels)
                .sum())
    low, high = wilson(right, len(labels), confidence)
    return right / len(labels), low, high


@pytest.fixture(scope="module")
def plain() -> list[Sample]:
    return samples_of()


def test_physics_tells_the_classes_apart(plain: list[Sample]) -> None:
    together = score(plain, lambda s: s.physics)
    alone = [score(plain, lambda s, k=k: [s.physics[k]])[0] for k in range(3)]  # type: ignore[misc]
    print(f"S/P, low/high and late waves together {together}, alone {alone}")
    assert together[0] > 0.85 and min(alone) > 0.75


@pytest.mark.parametrize("what", ["loudness", "noise", "clock"])
def test_nothing_else_does(plain: list[Sample], what: str) -> None:
    accuracy, low, high = score(plain, lambda s: getattr(s, what))
    print(f"{what} {accuracy:.3f} [{low:.3f}, {high:.3f}]")
    assert low <= 0.5 <= high


def test_given_noise_gives_nothing_away() -> None:
    rng = np.random.default_rng(3)
    arrays = [ArrayRecord(np.cumsum(rng.standard_normal((6, 4000)), axis=1).astype(np.float32), 200.0, name=str(k))
              for k in range(2)]
    samples = samples_of(ArrayNoise(arrays))
    for what in ("loudness", "noise"):
        # Wider than elsewhere: many intervals are looked at here, and the features of noise are few and coarse.
        _, low, high = score(samples, lambda s, what=what: getattr(s, what), 0.99)  # type: ignore[misc]
        assert low <= 0.5 <= high, what


def test_with_the_confound_the_clock_tells_them_apart() -> None:
    samples = samples_of(clock_confound=1.0)
    assert score(samples, lambda s: s.clock)[1] > 0.7
    # And only the clock: the recordings are those without it, at other times.
    _, low, high = score(samples, lambda s: s.noise)
    assert low <= 0.5 <= high
