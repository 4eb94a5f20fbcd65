"""geomag: geomagnetic windows before earthquakes and matched controls, from raw minutes to an honest study."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from groundswell.core.registry import Pipeline

PIPELINE = Pipeline(
    name="geomag",
    title="Geomagnetic windows before earthquakes and matched controls",
    module="groundswell.pipelines.geomag",
    recipe="GeomagRecipe",
    steps=("build", "simulate", "analyze", "split", "train", "study", "figures"),
    extras=("geomag", "cluster", "export"),
    series=(("study.yaml", "study"),),
)

_MODULES = {
    "environment": ("check_environment", "check_version_compatibility", "clear_gpu_memory", "get_device",
                    "get_memory_usage", "print_environment_info", "set_random_seeds", "suggest_batch_size"),
    "analysis": ("DatasetAnalyzer", "analyze", "quick_analyze"),
    "utilities": ("calculate_binary_metrics", "calculate_class_weights", "count_parameters", "create_model",
                  "set_seed", "setup_device", "setup_logging"),
    "loading": ("create_balanced_sampler", "create_data_loaders", "create_data_loaders_balanced"),
    "epochs": ("run_epoch",),
    "checkpoints": ("load_checkpoint", "save_checkpoint"),
    "reshaping": ("add_positional_encoding", "prepare_mlp_data", "reshape_data_for_gru", "reshape_data_for_lstm",
                  "reshape_data_for_rnn", "reshape_data_for_transformer"),
    "models.recurrent": ("GRUClassifier", "LSTMClassifier", "RNNClassifier"),
    "models.mlp": ("MLPClassifier",),
    "models.transformer": ("TransformerClassifier",),
    "models.ensemble": ("F1WeightedEnsemble", "ScaledMember"),
    "models.ensemble_files": ("load_ensemble_model", "save_ensemble"),
    "training": ("kfold_train_eval", "main", "perform_model_ensemble", "train_eval"),
    "study.run": ("Engine", "plan_study", "run_study"),
    "figures.draw": ("draw_figures",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = ["PIPELINE", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    """The functions and classes for notebooks, imported when they are asked for: this package itself stays light."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
