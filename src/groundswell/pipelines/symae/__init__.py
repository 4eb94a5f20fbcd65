"""symae: the source of an earthquake, told apart from the paths to its stations."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from groundswell.core.registry import Pipeline

PIPELINE = Pipeline(
    name="symae",
    title="The source of an earthquake, told apart from the paths to its stations",
    module="groundswell.pipelines.symae",
    recipe="SymaeRecipe",
    steps=("simulate", "prepare", "split", "train", "extract", "align", "redatum", "regions"),
    extras=("symae", "export"),
)

_MODULES = {
    "store": ("BagStore", "StoreFacts"),
    "source": ("BagSource",),
    "prepare_recipe": ("PrepareRecipe",),
    "pixels": ("focal_pixel", "pixel_centre"),
    "polarity": ("polarities",),
    "models.reference": ("SymVAE",),
    "models.shift": ("advance", "delay"),
    "models.source": ("SourceNetwork",),
    "models.path": ("PathNetwork",),
    "reference_task": ("ReferenceTask",),
    "source_task": ("SourceTask",),
    "coherent": ("get_coherent_information",),
    "virtual": ("virtual_traces",),
    "trained": ("open_trained", "read_sources"),
    "figures": ("plot_loss_history", "plot_stf"),
    "ship_artefacts": ("save_artefacts", "savename"),
    "alignment.fourier": ("shift_traces",),
    "alignment.iccs": ("iccs",),
    "alignment.mccc": ("mccc",),
    "alignment.stacks": ("envelope", "windowed_stack"),
    "alignment.transfer": ("spectral_ratio_transfer",),
    "simulate.bags": ("simulate_bags",),
    "simulate.simulating": ("simulate_store",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = ["PIPELINE", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    """The functions and classes for notebooks, imported when they are asked for: this package itself stays light."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
