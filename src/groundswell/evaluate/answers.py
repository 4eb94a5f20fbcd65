"""evaluate: one row for each unit, for those who want to see which ones are wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.evaluate.areas import MANY_CLASSES
from groundswell.evaluate.metrics import TOP
from groundswell.evaluate.units import units_of


def answer_rows(answered: Predictions, predictions: Predictions, table: SampleTable) -> list[dict[str, Any]]:
    """Rows of ``answers`` in ``metrics.json``.

    With many classes a row holds the probabilities of the five most probable ones and of the true one; all of them are
    in ``predictions.parquet``.

    Args:
        answered: for units.
        predictions: of windows.
        table: holds both.
    """
    units = units_of(table)
    counted = np.bincount(units.of_row[table.positions(predictions.sample_id.tolist())] + 1, minlength=len(units) + 1)
    windows = dict(zip(units.names.tolist(), counted[1:].tolist(), strict=True))
    names, shown = answered.classes, _shown(answered)
    predicted = answered.predicted
    return [{"name": str(answered.sample_id[i]), "truth": names[t] if (t := int(answered.truth[i])) >= 0 else None,
             "predicted": names[int(predicted[i])],
             "probability": {names[k]: float(answered.probability[i, k]) for k in shown[i]},
             "right": bool(predicted[i] == t) if t >= 0 else None,
             "fold": int(answered.fold[i]) + 1 if answered.fold[i] >= 0 else None,
             "member": str(answered.member[i]), "windows": int(windows[answered.sample_id[i]])}
            for i in range(len(answered))]


def _shown(answered: Predictions) -> list[list[int]]:
    """Which classes' probabilities each row holds."""
    classes = len(answered.classes)
    if classes <= MANY_CLASSES:
        return [list(range(classes))] * len(answered)
    first = np.argsort(-answered.probability, axis=1, kind="stable")[:, :TOP].tolist()
    return [row if t < 0 or t in row else [*row, t] for row, t in zip(first, answered.truth.tolist(), strict=True)]
