"""das: distributed acoustic sensing, from raw fibre records to a classifier of events and a catalogue."""

from __future__ import annotations

from groundswell.core.registry import Pipeline

PIPELINE = Pipeline(
    name="das",
    title="Earthquakes and quarry blasts in distributed acoustic sensing records",
    module="groundswell.pipelines.das",
    recipe="DasRecipe",
    steps=("scan", "verify", "repack", "label", "index", "split", "simulate", "train", "detect", "plot"),
    extras=("das", "export"),
)
