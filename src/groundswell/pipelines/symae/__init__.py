"""symae: the source of an earthquake, told apart from the paths to its stations."""

from __future__ import annotations

from groundswell.core.registry import Pipeline

PIPELINE = Pipeline(
    name="symae",
    title="The source of an earthquake, told apart from the paths to its stations",
    module="groundswell.pipelines.symae",
    recipe="SymaeRecipe",
    steps=("simulate", "prepare", "split", "train", "extract", "align", "redatum", "regions"),
    extras=("symae", "export"),
)
