"""geomag: example windows for a run's report."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.figure import Figure

from groundswell.evaluate.report import Picture
from groundswell.pipelines.archive import Archive
from groundswell.pipelines.geomag.data import reader_of
from groundswell.pipelines.geomag.layout import MINUTES_A_DAY
from groundswell.pipelines.geomag.recipe import GeomagRecipe

_EXAMPLES = 3


def example_windows(recipe: GeomagRecipe, archive: Archive) -> list[Picture]:
    """A few windows of each class, each less its own mean, over the days before their end."""
    read = reader_of(archive)
    assert read is not None
    labels, classes = archive.table.labels(), archive.table.classes
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True, sharey=True)
    for label, axis in enumerate(axes):
        rows = np.flatnonzero(labels == label)
        chosen = rows[np.unique(np.linspace(0, len(rows) - 1, _EXAMPLES).astype(int))]
        for x in read(chosen):
            axis.plot((np.arange(len(x)) - len(x)) / MINUTES_A_DAY, x - x.mean(), linewidth=0.5)
        axis.set_ylabel("nT less mean")
        axis.set_title(f"{classes[label].replace('_', ' ')} (label {label})", fontsize=9, loc="left")
    axes[-1].set_xlabel("days before the end of the window")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    simulated = " Simulated." if archive.table.origin.get("simulated") else ""
    return [Picture(buffer.getvalue(), f"Some windows of {recipe.data.window} days of each class.{simulated}",
                    "Line plots of the magnetic field over the days of a few windows of each class.")]
