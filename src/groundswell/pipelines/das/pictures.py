"""das: example windows for the report, one of each class, as recorded."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.evaluate.figures import png_of
from groundswell.evaluate.report import Picture
from groundswell.pipelines.archive import Archive
from groundswell.pipelines.das.data import records_of, window_source
from groundswell.pipelines.das.recipe import DasRecipe

CLIP_PERCENTILE = 99.0


def example_windows(recipe: DasRecipe, archive: Archive) -> list[Picture]:
    """The middle window of the first event of each class, and of noise.

    The choice depends on the table alone, not on how well the model did. Where the records are gone there are none.
    """
    try:
        return _pictures(recipe, archive)
    except InputError:  # the records have moved; the numbers stand without them
        return []


def _pictures(recipe: DasRecipe, archive: Archive) -> list[Picture]:
    table, labels = archive.table, archive.table.labels()
    source = window_source(recipe, records_of(archive), table, training=False)
    rate_hz, pictures = float(table.column("rate_hz").iloc[0]), []
    try:
        for label, name in enumerate(table.classes):
            rows = np.flatnonzero(labels == label)
            if not len(rows):
                continue
            first = table.column("record").iloc[rows[0]]
            same = rows[(table.column("record").iloc[rows] == first).to_numpy()]
            row = same[len(same) // 2:len(same) // 2 + 1]
            out = {field: shape.allocate(1) for field, shape in source.fields.items()}
            source.read(row, out)
            window = out["x"][0, :, :int(out["channels"][0])].astype(np.float64)
            words = name.replace("_", " ")
            pictures.append(Picture(
                png_of(_waterfall(window, rate_hz, float(out["spacing_m"][0])), 110),
                f"{words}: a window of {first}", f"Waterfall of a window labelled {words}: time against fibre."))
    finally:
        source.close()
    return pictures


def _waterfall(x_tc: NDArray[np.float64], rate_hz: float, spacing_m: float) -> Figure:
    figure = Figure(figsize=(3.4, 2.8), layout="constrained")
    axes = figure.add_subplot()
    x_tc = x_tc - x_tc.mean(axis=0)
    limit = float(np.percentile(np.abs(x_tc), CLIP_PERCENTILE)) or 1.0
    along = x_tc.shape[1] * (spacing_m / 1000 if spacing_m else 1.0)
    axes.imshow(x_tc.T, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, origin="lower",
                extent=(0.0, len(x_tc) / rate_hz, 0.0, along), interpolation="nearest")
    axes.set_xlabel("time (s)")
    axes.set_ylabel("fibre (km)" if spacing_m else "channel")
    return figure
