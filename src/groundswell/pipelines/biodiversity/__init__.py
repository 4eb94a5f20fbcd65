"""biodiversity: observations with vision and language embeddings, to species models under splits in space and time."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from groundswell.core.registry import Pipeline

PIPELINE = Pipeline(
    name="biodiversity",
    title="Species from embeddings of observations",
    module="groundswell.pipelines.biodiversity",
    recipe="BiodiversityRecipe",
    steps=("download", "import", "pool", "simulate", "split", "audit", "pretrain", "train", "bench", "serve"),
    extras=("biodiversity", "export"),
)

_MODULES = {
    "ids": ("ObservationIdError", "create_observation_id", "get_available_observation_ids", "parse_observation_id",
            "parse_observation_ids"),
    "batch": ("get_training_batch",),
    "dataset": ("DeepEarthDataset", "load_train_test_split"),
    "loop": ("evaluate_model", "train_epoch"),
    "models.classifiers": ("FusionClassifier", "LanguageClassifier", "VisionClassifier"),
    "models.masked": ("MultimodalMaskedAutoencoder",),
    "models.modalities": ("Modality", "known_modalities", "register"),
    "models.place": ("PlaceEncoder",),
    "observations": ("observation_table", "read_observations"),
    "published_json": ("read_split_json", "write_split_json"),
    "importing": ("import_dataset",),
    "pooling": ("pool_store",),
    "download": ("download_dataset",),
    "maps": ("draw_map", "write_geojson"),
    "wire": ("fetch_batch",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = ["PIPELINE", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    """The functions and classes for notebooks, imported when they are asked for: this package itself stays light."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
