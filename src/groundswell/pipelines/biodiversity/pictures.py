"""biodiversity: a map of a run's answers for its report."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.figure import Figure

from groundswell.evaluate.evaluation import Evaluation
from groundswell.evaluate.report import Picture
from groundswell.pipelines.archive import Archive

RIGHT, WRONG = "#0072b2", "#d55e00"  # told apart by people who confuse red and green


def answer_map(archive: Archive, evaluation: Evaluation) -> list[Picture]:
    """Where the tested observations lie, and which were named rightly."""
    table, tested = archive.table, evaluation.predictions["windows"]
    rows = table.positions(tested.sample_id.tolist())
    latitude = table.column("latitude").to_numpy(np.float64)
    longitude = table.column("longitude").to_numpy(np.float64)
    right = tested.predicted == tested.truth
    figure = Figure(figsize=(7.5, 6), layout="constrained")
    axes = figure.subplots()
    axes.scatter(longitude, latitude, s=3, color="0.85", linewidths=0, label="other observations")
    for mask, colour, marker, name in ((~right, WRONG, "x", "wrong"), (right, RIGHT, "o", "right")):
        axes.scatter(longitude[rows][mask], latitude[rows][mask], s=14, color=colour, marker=marker, linewidths=0.8,
                     label=f"{name}: {int(mask.sum())}")
    middle = float(np.clip(np.abs(latitude).mean(), 0, 85))
    axes.set_aspect(1 / np.cos(np.radians(middle)))
    axes.set(xlabel="longitude (degrees)", ylabel="latitude (degrees)")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    simulated = " Embeddings simulated." if table.origin.get("simulated") else ""
    return [Picture(buffer.getvalue(), f"Tested observations, by whether the species was named rightly.{simulated}",
                    "Map of the tested observations with right and wrong answers in two colours and markers.")]
