"""das: what a fibre classifier is held against: a clock, the noise around the events, and MiniRocket with a ridge."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV

from groundswell.core.errors import InputError
from groundswell.core.names import NOISE
from groundswell.core.optional import require
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
    broadcast,
    learning_rows,
    majority,
    permuted_labels,
    resplit,
)
from groundswell.evaluate.units import event_classes, units_of
from groundswell.splits.manifest import TEST, TRAIN, VALIDATION, SplitManifest

ReadWindows = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Gives the windows at some rows of the table, preprocessed as the network sees them but at their own length:
float32, shape (rows, time samples, channels), zero beyond a record's channels."""

START_HOUR = Control(
    "start_hour", "start hour only", "null",
    "Knows nothing but the hour of day (UTC) at which the record begins.",
    "A clock alone", "the hour of day",
    "the classes are recorded at different hours of the day; the score does not show that the network uses the "
    "waveform.")

NOISE_WINDOWS = Control(
    "noise_windows", "noise windows only", "null",
    "The same network, trained and tested the same way, but only on windows before and after the events, each under "
    "the class of its record's event.",
    "The noise around the events alone", "the noise around the events",
    "the background noise of the records gives the classes away (time, season, instrument or traffic); the score does "
    "not show that the network uses the events.")

MINIROCKET = Control(
    "minirocket", "MiniRocket + ridge", "rival",
    "Random convolutions (MiniRocket) and a ridge classifier on the same windows, channels averaged in groups.",
    "MiniRocket with a ridge")


def das_controls(names: Sequence[str], fit_of: Callable[[str], Fit], windows: ReadWindows,
                 seed: int = 0) -> list[tuple[Control, Runner]]:
    """The controls a recipe names, ready to be run.

    Args:
        names: as in ``evaluate.controls`` of the recipe.
        fit_of: gives the fit that the control of that name is to use (each keeps its own folder).
        windows: reads windows for the rival.
        seed: of permutations and random convolutions.

    Raises:
        InputError: there is no control of some name.
    """
    known: dict[str, tuple[Control, Callable[[], Runner]]] = {
        "majority": (MAJORITY, lambda: majority),
        "start_hour": (START_HOUR, lambda: start_hour),
        "noise_windows": (NOISE_WINDOWS, lambda: noise_windows(fit_of("noise_windows"))),
        "permuted_labels": (PERMUTED, lambda: permuted_labels(fit_of("permuted_labels"), seed)),
        "minirocket": (MINIROCKET, lambda: minirocket(windows, seed)),
    }
    for name in names:
        if name not in known:
            raise InputError(f"There is no control '{name}'", where="evaluate.controls",
                             fix=f"Known controls: {', '.join(known)}")
    return [(known[name][0], known[name][1]()) for name in names]


def start_hours(table: SampleTable) -> NDArray[np.float64]:
    """UTC hour of day at which the earliest record of each unit begins, nan where unknown; shape (units,).

    A record begins where its first window in the table does.

    Raises:
        InputError: the table has no times.
    """
    if not table.has("time") or table.column("time").isna().all():
        raise InputError("The records do not say when they begin")
    units = units_of(table)
    begin = table.frame.groupby("record")["time"].transform("min")
    first = begin[units.of_row >= 0].groupby(units.of_row[units.of_row >= 0]).min().reindex(range(len(units)))
    hours = (first - first.dt.floor("D")) / pd.Timedelta(hours=1)
    return np.asarray(hours, dtype=np.float64)


def _cycles(hours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hour of day as two cycles (a day, half a day), so that midnight is no edge; shape (units, 4)."""
    angle = 2 * np.pi * hours / 24
    return np.stack([np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle)], axis=1)


def start_hour(table: SampleTable, manifest: SplitManifest) -> Outcome:
    """Logistic regression on the hour of day, fitted in each fold to the events the model may learn from.

    Raises:
        InputError: no times, or no event to learn from.
    """
    units, hours = units_of(table), start_hours(table)
    seen = _cycles(np.nan_to_num(hours))

    def answer(fold: int) -> NDArray[np.float64]:
        taught = np.unique(units.of_row[learning_rows(manifest, fold)])
        taught = taught[(taught >= 0) & (units.truth[taught] >= 0)]
        if not len(taught):
            raise InputError("There is no event with a known class to learn from", where=f"fold {fold + 1}")
        shares = np.bincount(units.truth[taught], minlength=len(units.classes)) / len(taught)
        probability = np.tile(shares, (len(units), 1))
        told, timed = taught[np.isfinite(hours[taught])], np.isfinite(hours)
        if len(np.unique(units.truth[told])) > 1:
            clock = LogisticRegression(C=10.0, max_iter=1000).fit(seen[told], units.truth[told])
            probability[timed] = 0.0
            probability[np.ix_(timed, clock.classes_)] = clock.predict_proba(seen[timed])
        return probability

    return Outcome(broadcast(table, manifest, answer, "start_hour"), table)


def quiet_rows(table: SampleTable) -> NDArray[np.int64]:
    """Rows labelled noise that keep a whole window's length away from every window of their record with an event.

    Closer ones may hold the edge of an event that was too little of them to give them its label.
    """
    if NOISE not in table.classes:
        raise InputError("The labels hold for whole records, so that no window is known to be noise",
                         fix="Give labels with start and stop to have this control")
    frame = table.frame[["record", "start", "stop"]]
    labels, noise = table.labels(), table.classes.index(NOISE)
    quiet = labels == noise
    for _, part in frame.groupby("record"):
        rows, start, stop = (np.asarray(column) for column in (part.index, part["start"], part["stop"]))
        loud = np.flatnonzero(labels[rows] != noise)
        loud = loud[np.argsort(start[loud], kind="stable")]
        if not len(loud):
            continue
        length = stop - start
        before = np.searchsorted(start[loud], stop + length)  # loud windows that begin too early to be far behind
        latest = np.maximum.accumulate(stop[loud])[np.maximum(before - 1, 0)]
        quiet[rows[(before > 0) & (latest > start - length)]] = False
    return np.flatnonzero(quiet)


def noise_windows(fit: Fit) -> Runner:
    """A runner that fits the network to noise windows, each under the class of its event.

    Raises (when run):
        InputError: there are no such windows, or too few to train and test on both classes.
    """

    def run(table: SampleTable, manifest: SplitManifest) -> Outcome:
        units = units_of(table)
        rows = quiet_rows(table)
        rows = rows[units.of_row[rows] >= 0]
        truth = units.truth[units.of_row[rows]]
        rows, truth = rows[truth >= 0], truth[truth >= 0]
        if not len(rows):
            raise InputError("No record with an event has windows of noise at a distance from it")
        frame = table.take(rows).frame.assign(label=truth)
        quiet = SampleTable(frame, units.classes, pipeline=table.pipeline, origin=table.origin)
        kept = resplit(manifest, quiet, manifest.assignment[rows])
        for fold in range(kept.folds):
            parts = [kept.rows(part, fold) for part in (VALIDATION, TEST)]
            if len(np.unique(truth[kept.rows(TRAIN, fold)])) < 2 or not all(len(part) for part in parts):
                raise InputError("Too few records have windows of noise at a distance from their event",
                                 where=f"fold {fold + 1}")
        return Outcome(fit(quiet, kept), quiet)

    return run


def group_channels(x_btc: NDArray[np.float32], channels: NDArray[np.int64], groups: int) -> NDArray[np.float32]:
    """Windows scaled as a whole, their channels averaged in groups of neighbours.

    Args:
        x_btc: shape (windows, time, channels).
        channels: how many of them are real in each window, shape (windows,).
        groups: how many groups to make; fewer channels than that are repeated.

    Returns:
        float32, shape (windows, groups, time).
    """
    out = np.empty((len(x_btc), groups, x_btc.shape[1]), np.float32)
    for i, window in enumerate(x_btc):
        real = window[:, :max(int(channels[i]), 1)]
        edges = np.linspace(0, real.shape[1], groups + 1)
        for g in range(groups):
            first = min(int(edges[g]), real.shape[1] - 1)
            out[i, g] = real[:, first:max(int(edges[g + 1]), first + 1)].mean(axis=1)
        out[i] /= np.std(out[i]) + 1e-12
    return out


def minirocket(windows: ReadWindows, seed: int = 0, *, groups: int = 8, kernels: int = 4000,
               most_windows: int = 4000) -> Runner:
    """A runner for MiniRocket (Dempster et al. 2021) with a ridge classifier, fitted in each fold.

    Args:
        windows: reads windows.
        seed: of the random convolutions.
        groups: channel groups the windows are averaged into.
        kernels: features of the transform.
        most_windows: training windows used in a fold; of more, noise is thinned out evenly first.

    Raises (when run):
        MissingExtraError: aeon is not installed.
    """

    def run(table: SampleTable, manifest: SplitManifest) -> Outcome:
        rocket = require("aeon.transformations.collection.convolution_based", extra="das",
                         purpose="The rival MiniRocket").MiniRocket
        labels, names = table.labels(), table.column("sample_id").to_numpy(dtype=object)
        # Of the longest cable; averaging neighbouring channels before leaves the same share of them real.
        share = np.ones(len(table))
        if table.has("channels"):
            share = table.column("channels").to_numpy(dtype=np.float64) / table.column("channels").max()
        parts = []

        def read(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            pieces = []
            for i in range(0, len(rows), 64):
                x_btc = windows(rows[i:i + 64])
                real = np.ceil(share[rows[i:i + 64]] * x_btc.shape[2]).astype(np.int64)
                pieces.append(group_channels(x_btc, real, groups))
            return np.concatenate(pieces)

        for fold in range(manifest.folds):
            taught, asked = learning_rows(manifest, fold), manifest.rows(TEST, fold)
            taught = _thinned(taught[labels[taught] >= 0], labels, table.classes, most_windows)
            present = np.unique(labels[taught])
            if len(present) < 2:
                raise InputError("There are windows of only one class to learn from", where=f"fold {fold + 1}")
            transform = rocket(n_kernels=kernels, random_state=derive_seed(seed, "minirocket", fold) % 2**31, n_jobs=1)
            probability = np.zeros((len(asked), len(table.classes)))
            probability[:, present] = _ridge_shares(np.asarray(transform.fit_transform(read(taught)), np.float32),
                                                    labels[taught],
                                                    np.asarray(transform.transform(read(asked)), np.float32))
            parts.append(Predictions.of(names[asked], labels[asked], probability, table.classes, member="minirocket",
                                        fold=fold))
        return Outcome(Predictions.concatenate(parts), table)

    return run


def _ridge_shares(taught: NDArray[np.float32], labels: NDArray[np.int64],
                  asked: NDArray[np.float32]) -> NDArray[np.float64]:
    """What a ridge classifier thinks of the classes that occur in ``labels``, shape (asked, classes), rows sum to one.

    Classes are weighted to count alike. The ridge regresses on -1 and 1, hence half of (its value + 1), cut at 0 and 1
    and normalised, is its own estimate of a class's probability.
    """
    middle, spread = taught.mean(axis=0), taught.std(axis=0) + 1e-6
    ridge = RidgeClassifierCV(alphas=np.logspace(-1, 4, 6), class_weight="balanced")
    ridge.fit((taught - middle) / spread, labels)
    value = ridge.decision_function((asked - middle) / spread)
    value = np.stack([-value, value], axis=1) if value.ndim == 1 else value
    share = np.clip((value + 1) / 2, 1e-6, 1.0)
    return np.asarray(share / share.sum(axis=1, keepdims=True), np.float64)


def _thinned(rows: NDArray[np.int64], labels: NDArray[np.int64], classes: Sequence[str],
             most: int) -> NDArray[np.int64]:
    """At most ``most`` rows: windows of events first, then evenly spread ones of noise."""
    if len(rows) <= most:
        return rows
    loud = np.isin(labels[rows], event_classes(tuple(classes)))
    events, noise = rows[loud], rows[~loud]
    if len(events) >= most:
        return events[np.linspace(0, len(events) - 1, most).astype(np.int64)]
    return np.sort(np.concatenate([events, noise[np.linspace(0, len(noise) - 1, most - len(events)).astype(np.int64)]]))
