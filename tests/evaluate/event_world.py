"""A small world of events for tests: a table of windows, a split by event, and a fit that learns from one feature."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.splits.manifest import TEST, TRAIN, VALIDATION, SplitManifest

CLASSES = ("earthquake", "quarry_blast", "noise")


def make_table(events: int = 40, windows: int = 12, loud: int = 3, *, seed: int = 0, confounded: bool = False,
               skill: float = 3.0, noise_skill: float = 0.0, simulated: bool = True) -> SampleTable:
    """One record an event; its middle windows hold the event, the others are noise.

    ``feature`` is what there is to learn from: shifted by ``skill`` for blasts where there is an event, and by
    ``noise_skill`` where there is none. ``confounded`` has blasts happen by day only.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for e in range(events):
        label = e % 2
        hour = rng.uniform(8, 14) if confounded and label else rng.uniform(0, 24)
        begin = pd.Timestamp("2022-09-01", tz="UTC") + pd.Timedelta(days=int(e)) + pd.Timedelta(hours=hour)
        first = windows // 2
        for w in range(windows):
            event = first <= w < first + loud
            shift = (skill if event else noise_skill) * label
            rows.append({"sample_id": f"r{e}.h5:{w * 512}", "record": f"r{e}.h5", "label": label if event else 2,
                         "group": f"g{e}", "event": f"ev{e}", "time": begin + pd.Timedelta(seconds=2 * w),
                         "start": w * 512, "stop": w * 512 + 1024, "channels": 16,
                         "feature": rng.normal() + shift, "loudness": rng.normal() + 4 * event})
    return SampleTable(pd.DataFrame(rows), CLASSES, pipeline="das", origin={"simulated": True} if simulated else {})


def make_split(table: SampleTable, folds: int = 5, *, grouped: bool = True) -> SplitManifest:
    """Folds by event, classes alike; a fifth of what is not tested validates. Ungrouped: windows by chance."""
    rng = np.random.default_rng(1)
    name = table.column("event") if grouped else table.column("sample_id")
    codes, names = pd.factorize(name)
    order = np.zeros(len(names), dtype=int)
    kinds = np.arange(len(names)) % 2
    for kind in (0, 1):
        which = rng.permutation(np.flatnonzero(kinds == kind))
        order[which] = np.arange(len(which)) if folds < len(names) else 2 * np.arange(len(which)) + kind
    assignment = np.full((len(table), folds), TRAIN, np.int8)
    for fold in range(folds):
        assignment[(order % folds == (fold + 1) % folds)[codes] & (order // folds % 2 == 0)[codes], fold] = VALIDATION
        assignment[(order % folds == fold)[codes], fold] = TEST
    return SplitManifest.of(table, assignment, "kfold" if grouped else "ungrouped", 1, {})


def logistic_fit(table: SampleTable, manifest: SplitManifest) -> Predictions:
    """A fit: logistic regression on the two features, folds pooled."""
    x = table.frame[["feature", "loudness"]].to_numpy()
    return pooled_fit(table, manifest, x, lambda: LogisticRegression())


def pooled_fit(table, manifest, x, model, part=TEST):
    names, labels, parts = table.column("sample_id").to_numpy(object), table.labels(), []
    for fold in range(manifest.folds):
        taught, asked = manifest.rows(TRAIN, fold), manifest.rows(part, fold)
        fitted = model().fit(x[taught], labels[taught])
        probability = np.zeros((len(asked), len(table.classes)))
        probability[:, fitted.classes_] = fitted.predict_proba(x[asked])
        parts.append(Predictions.of(names[asked], labels[asked], probability, table.classes, fold=fold))
    return Predictions.concatenate(parts)


def validation_fit(table, manifest):
    """Predictions of the validation samples by the same models as :func:`logistic_fit`."""
    return pooled_fit(table, manifest, table.frame[["feature", "loudness"]].to_numpy(), LogisticRegression, VALIDATION)
