"""geomag: what a classifier of windows is held against: activity, station and date, earlier windows, surrogates.

All are fitted inside the model's own folds, and answer for single windows: stations of one event differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.fft import irfft, rfft
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from groundswell.core.errors import InputError
from groundswell.core.seeds import derive_seed
from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.evaluate.controls import (
    MAJORITY,
    PERMUTED,
    Control,
    Fit,
    Outcome,
    Runner,
    learning_rows,
    majority,
    permuted_labels,
    resplit,
)
from groundswell.pipelines.geomag.rocket import KERNELS, ReadWindows, fit_rocket
from groundswell.splits.manifest import TEST, SplitManifest

FloatArray = NDArray[np.float64]

INDICES = ("kp_", "ap_", "dst_")
"""How the names of columns with planetary indices begin."""
_BLOCK_BYTES = 64 << 20  # of windows, while the missing ones are looked for

SPACE_WEATHER = Control(
    "space_weather", "Kp, ap and Dst only", "null",
    "Logistic regression on the planetary indices of the window (standardised, ridge penalty of strength 1, no class "
    "weights).",
    "Planetary activity alone", "how disturbed the whole Earth's field was",
    "the classes differ in global magnetic activity. An association with the windows may be one with storms, which has "
    "nothing to do with where the station is.")

STATION_SEASON_YEAR = Control(
    "station_season_year", "station and date only", "null",
    "Knows the station, the day of year, the year and the hour at which the window begins: the mean of a logistic "
    "regression (standardised, ridge penalty of strength 1, no class weights) and a small gradient boosting.",
    "Station and date alone", "where and when the window was recorded",
    "the windows of the classes come from different stations, seasons, years or hours. An association may be one with "
    "how the samples were chosen.")

WINDOW_SHIFT = Control(
    "window_shift", "earlier windows", "null",
    "MiniRocket + ridge, fitted and tested on the same folds, but on windows of the same samples from an earlier time.",
    "The simple rival on earlier windows", "what station and season look like long before",
    "what tells the classes apart is there long before the events as well: a shortcut through station or season, "
    "another difference in how samples were chosen, or earthquakes that went before (foreshocks, swarms).")

SURROGATES = Control(
    "surrogates", "phases randomised", "null",
    "MiniRocket + ridge, fitted and tested on the same folds, but on surrogates: each window keeps its amplitude "
    "spectrum and gets random phases, so that its course in time is gone.",
    "The simple rival on windows without their course in time", "the amplitude spectrum",
    "the amplitude spectrum alone tells the classes apart, such as how disturbed the days were or how noisy the "
    "instrument is. An association does not need anything to happen at any particular time.")

MINIROCKET = Control(
    "minirocket", "MiniRocket + ridge", "rival",
    "Random convolutions (MiniRocket) and a ridge classifier on the same windows and folds.", "MiniRocket with a ridge")


def geomag_controls(names: Sequence[str], fit_of: Callable[[str], Fit], read: ReadWindows,
                    placebo_read: ReadWindows | None, seed: int = 0, threads: int = 0, *,
                    kernels: int = KERNELS) -> list[tuple[Control, Runner]]:
    """The controls a recipe names, ready to be run.

    Args:
        names: as in ``evaluate.controls`` of the recipe.
        fit_of: gives the fit that the control of that name is to use (each keeps its own folder).
        read: reads windows by rows of the table, float32 (rows, minutes).
        placebo_read: the same of earlier windows, all nan where there is none; ``None`` if the data have none.
        seed: of permutations, random convolutions and phases.
        threads: of random convolutions; 0 takes those that are allowed.
        kernels: features of MiniRocket.

    Raises:
        InputError: there is no control of some name.
    """

    def rocket(given: ReadWindows) -> Runner:
        return minirocket(given, seed, threads, kernels)

    known: dict[str, tuple[Control, Callable[[], Runner]]] = {
        "majority": (MAJORITY, lambda: majority),
        "permuted_labels": (PERMUTED, lambda: permuted_labels(fit_of("permuted_labels"), seed)),
        "space_weather": (SPACE_WEATHER, lambda: space_weather),
        "station_season_year": (STATION_SEASON_YEAR, lambda: station_season_year),
        "window_shift": (WINDOW_SHIFT, lambda: window_shift(placebo_read, seed, threads, kernels)),
        "surrogates": (SURROGATES, lambda: rocket(surrogates_of(read, seed))),
        "minirocket": (MINIROCKET, lambda: rocket(read)),
    }
    for name in names:
        if name not in known:
            raise InputError(f"There is no control '{name}'", where="evaluate.controls",
                             fix=f"Known controls: {', '.join(known)}")
    return [(known[name][0], known[name][1]()) for name in names]


Answer = Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], FloatArray]
"""From taught rows, their labels and asked rows to probabilities of class 1, shape (asked,)."""


def by_sample(table: SampleTable, manifest: SplitManifest, answer: Answer, member: str) -> Predictions:
    """Predictions of all labelled test rows, each fold's answer learnt from all that the model saw in it.

    Where a fold's samples to learn from are of one class, their share of it is the answer: 1.

    Raises:
        InputError: there are not two classes, or nothing to learn from.
    """
    if len(table.classes) != 2:
        raise InputError(f"This control tells two classes apart, and there are {len(table.classes)}")
    labels, names = table.labels(), table.column("sample_id").to_numpy(dtype=object)
    parts = []
    for fold in range(manifest.folds):
        taught, asked = learning_rows(manifest, fold), manifest.rows(TEST, fold)
        taught, asked = taught[labels[taught] >= 0], asked[labels[asked] >= 0]
        if not len(taught):
            raise InputError("There is no labelled window to learn from", where=f"fold {fold + 1}")
        if len(np.unique(labels[taught])) < 2:
            p = np.full(len(asked), float(labels[taught[0]]))
        else:
            p = answer(taught, labels[taught], asked) if len(asked) else np.empty(0)
        parts.append(Predictions.of(names[asked], labels[asked], np.stack([1 - p, p], axis=1), table.classes,
                                    member=member, fold=fold))
    return Predictions.concatenate(parts)


def _logistic(x: FloatArray, taught: NDArray[np.int64], labels: NDArray[np.int64],
              asked: NDArray[np.int64]) -> FloatArray:
    """Probability of class 1; columns standardised, gaps filled with the mean, both as the taught rows have them.

    Each window counts once, so an event counts as often as it has stations, and the penalty weighs less than events
    alone would have it.
    """
    x = x[:, np.isfinite(x[taught]).any(axis=0)]
    if not x.shape[1]:
        return np.full(len(asked), labels.mean())
    middle = np.nanmean(x[taught], axis=0)
    spread = np.nanstd(x[taught], axis=0)
    z = np.where(np.isfinite(x), (x - middle) / np.where(spread > 0, spread, 1.0), 0.0)
    model = LogisticRegression(C=1.0, max_iter=2000).fit(z[taught], labels)
    return np.asarray(model.predict_proba(z[asked])[:, 1], np.float64)


def space_weather(table: SampleTable, manifest: SplitManifest) -> Outcome:
    """Logistic regression on the columns whose names begin as in :data:`INDICES`; a gap counts as the mean, and as one.

    Raises:
        InputError: no such column has a value.
    """
    frame = table.frame
    columns = [name for name in frame.columns if name.startswith(INDICES)
               and pd.api.types.is_numeric_dtype(frame[name]) and frame[name].notna().any()]
    if not columns:
        raise InputError("No column says how disturbed the Earth's field was",
                         fix="Add kp_max, kp_mean, ap_mean, dst_min or dst_mean to samples.csv")
    x = frame[columns].to_numpy(dtype=np.float64, na_value=np.nan)
    gaps = ~np.isfinite(x)
    x = np.concatenate([x, gaps[:, gaps.any(axis=0)].astype(np.float64)], axis=1)
    return Outcome(by_sample(table, manifest, lambda *rows: _logistic(x, *rows), "space_weather"), table)


def place_and_date(table: SampleTable) -> FloatArray:
    """Each window's station as one column a station, and its beginning: year, two harmonics of the day of year, hour as
    a cycle; nan where unknown. Shape (rows, columns).

    Raises:
        InputError: the table says neither stations nor times.
    """
    parts: list[FloatArray] = []
    if table.has("station") and table.column("station").notna().any():
        code, names = pd.factorize(table.column("station"))
        parts.append((code[:, None] == np.arange(len(names))).astype(np.float64))
    if table.has("time") and table.column("time").notna().any():
        time = table.column("time").dt
        year = time.year.to_numpy(dtype=np.float64, na_value=np.nan)
        day = 2 * np.pi * (time.dayofyear.to_numpy(dtype=np.float64, na_value=np.nan) - 1) / 365.25
        hour = 2 * np.pi * (time.hour + time.minute / 60).to_numpy(dtype=np.float64, na_value=np.nan) / 24
        parts.append(np.stack([year, *(wave(k * day) for k in (1, 2) for wave in (np.sin, np.cos)), np.sin(hour),
                               np.cos(hour)], axis=1))
    if not parts:
        raise InputError("Nothing says at which station and when the windows were recorded",
                         fix="Add station and start_time in samples.csv")
    return np.concatenate(parts, axis=1)


def station_season_year(table: SampleTable, manifest: SplitManifest) -> Outcome:
    """The mean of a logistic regression and a small gradient boosting on :func:`place_and_date`.

    Raises:
        InputError: the table says neither stations nor times.
    """
    x = place_and_date(table)

    def answer(taught: NDArray[np.int64], labels: NDArray[np.int64], asked: NDArray[np.int64]) -> FloatArray:
        trees = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=8, min_samples_leaf=10, random_state=0,
                                               l2_regularization=1.0, early_stopping=False).fit(x[taught], labels)
        return np.asarray((_logistic(x, taught, labels, asked) + trees.predict_proba(x[asked])[:, 1]) / 2)

    return Outcome(by_sample(table, manifest, answer, "station_season_year"), table)


def minirocket(read: ReadWindows, seed: int = 0, threads: int = 0, kernels: int = KERNELS) -> Runner:
    """A runner for MiniRocket + ridge on the windows that ``read`` gives."""

    def run(table: SampleTable, manifest: SplitManifest) -> Outcome:
        return Outcome(fit_rocket(read, table, manifest, seed=seed, threads=threads, kernels=kernels).test, table)

    return run


def window_shift(placebo_read: ReadWindows | None, seed: int = 0, threads: int = 0, kernels: int = KERNELS) -> Runner:
    """A runner for MiniRocket + ridge on earlier windows of the same samples.

    Samples without an earlier window (nan) are left out of training and test alike; the predictions' note says of how
    many (``left_out``).

    Raises (when run):
        InputError: there are no earlier windows.
    """

    def run(table: SampleTable, manifest: SplitManifest) -> Outcome:
        if placebo_read is None:
            raise InputError("There are no earlier windows of the same samples",
                             fix="Build the windows with a placebo (placebo_0.npy and placebo_1.npy)")
        kept = complete_rows(placebo_read, len(table))
        if not len(kept):
            raise InputError(f"None of the {len(table)} samples has an earlier window")
        whole = len(kept) == len(table)
        given = table if whole else table.take(kept)
        split = manifest if whole else resplit(manifest, given, manifest.assignment[kept])
        found = fit_rocket(lambda rows: placebo_read(kept[rows]), given, split, seed=seed, threads=threads,
                           kernels=kernels).test
        return Outcome(replace(found, note={**found.note, "left_out": len(table) - len(kept)}), given)

    return run


def complete_rows(read: ReadWindows, rows: int) -> NDArray[np.int64]:
    """Of the first ``rows`` rows those whose windows have no gap, ascending."""
    if not rows:
        return np.empty(0, np.int64)
    step = max(1, _BLOCK_BYTES // (4 * read(np.arange(1)).shape[1]))
    return np.concatenate([start + np.flatnonzero(np.isfinite(read(np.arange(start, min(start + step, rows)))).all(1))
                           for start in range(0, rows, step)]).astype(np.int64)


def surrogates_of(read: ReadWindows, seed: int = 0) -> ReadWindows:
    """Reads surrogates of windows: the same amplitude spectrum and mean, random phases (Theiler et al. 1992).

    The phases of a sample depend on the seed and its row alone, so stations of one event get phases of their own.
    """

    def surrogates(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        x = read(rows)
        mean = x.mean(axis=1, keepdims=True, dtype=np.float64)
        spectrum = rfft(x - mean, axis=1)
        free = slice(1, (x.shape[1] + 1) // 2)  # the mean and, of even lengths, the highest wave have no phase
        for i, row in enumerate(rows.tolist()):
            chance = np.random.default_rng(derive_seed(seed, "surrogate", row))
            turned = np.exp(2j * np.pi * chance.random(len(spectrum[i, free])))
            spectrum[i, free] = np.abs(spectrum[i, free]) * turned
        return np.asarray(irfft(spectrum, x.shape[1], axis=1) + mean, np.float32)

    return surrogates
