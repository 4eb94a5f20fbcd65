"""biodiversity: observations with vision and language embeddings, to species models under splits in space and time."""

from __future__ import annotations

from groundswell.core.registry import Pipeline

PIPELINE = Pipeline(
    name="biodiversity",
    title="Species from embeddings of observations",
    module="groundswell.pipelines.biodiversity",
    recipe="BiodiversityRecipe",
    steps=("download", "import", "pool", "simulate", "split", "audit", "pretrain", "train", "bench", "serve"),
    extras=("biodiversity", "export"),
)
