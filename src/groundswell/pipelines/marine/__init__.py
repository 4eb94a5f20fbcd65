"""marine: from underwater images and few labels to detectors of species that are calibrated and can be deployed."""

from __future__ import annotations

from groundswell.core.registry import Pipeline

PIPELINE = Pipeline(
    name="marine",
    title="Detectors of marine species, from underwater images and few labels",
    module="groundswell.pipelines.marine",
    recipe="MarineRecipe",
    steps=("species", "fathomnet", "deepfish", "simulate", "organise", "convert", "stats", "split", "prepare",
           "pretrain", "probe", "train", "select", "import", "mine", "fuse", "calibrate", "pipeline", "track", "budget",
           "deploy"),
    extras=("marine", "yolo", "export"),
    series=(("chain.yaml", "pipeline"),),
)
