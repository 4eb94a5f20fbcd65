"""geomag: ensembles of a run's folds, in memory and on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from groundswell.core.errors import InputError
from groundswell.core.files import read_json, write_json
from groundswell.core.run import RunFolder
from groundswell.pipelines.geomag.models.ensemble import F1WeightedEnsemble, ScaledMember, Strategy
from groundswell.pipelines.geomag.models.ensemble_files import load_ensemble_model, save_ensemble
from groundswell.pipelines.geomag.ship import tasks_of
from groundswell.pipelines.geomag.task import GeomagTask


def member_of(task: GeomagTask) -> ScaledMember:
    """A trained task as a member: its network behind the scaling of its own training part."""
    preprocess = task.preprocess
    return ScaledMember(task.network, preprocess.mean, preprocess.scale, detrend=preprocess.detrend,
                        scaling=preprocess.scaling)


def ensemble_of_run(run: RunFolder, folds: Sequence[int], weights: Sequence[float] | None = None,
                    strategy: Strategy = "weighted_mean") -> F1WeightedEnsemble:
    """The networks of a run's folds as one; equal weights if none are given."""
    members = [member_of(task) for task in tasks_of(run, folds)]
    return F1WeightedEnsemble(members, list(weights) if weights is not None else [1.0] * len(members), strategy)


def write_fold_ensemble(run: RunFolder, files: Path, stem: str, folds: int, config: dict[str, Any]) -> None:
    """Write ``_ensemble.pth`` and ``_ensemble_config.json`` of a run whose folds are all fitted."""
    ensemble = ensemble_of_run(run, range(folds), config["ensemble_weights"], config["strategy"])
    own = {"model_name", "window_name", "fold_metrics", "average_metrics", "ensemble_weights", "ensemble_method",
           "strategy", "members"}
    path = files / f"{stem}_ensemble_config.json"
    written = save_ensemble(files / f"{stem}_ensemble.pth", path, ensemble, model_name=config["model_name"],
                            window_name=config["window_name"], fold_metrics=config["fold_metrics"],
                            members=config["members"], facts={k: v for k, v in config.items() if k not in own})
    write_json(path, {**written, "average_metrics": config["average_metrics"]})


def open_ensemble(config_path: Path, device: str = "cpu") -> tuple[F1WeightedEnsemble, int]:
    """The ensemble of a configuration file and the ``.pth`` beside it, and the minutes of its windows.

    Raises:
        InputError: one of the files is missing or damaged, or they do not belong together.
    """
    if not config_path.name.endswith("_config.json"):
        raise InputError("An ensemble's configuration ends in _ensemble_config.json", where=config_path)
    weights = config_path.with_name(config_path.name.removesuffix("_config.json") + ".pth")
    ensemble = load_ensemble_model(weights, config_path, device=device)
    return ensemble, minutes_of(ensemble, read_json(config_path)["window_name"])


def minutes_of(ensemble: F1WeightedEnsemble, window: str) -> int:
    """Minutes of the windows that an ensemble takes."""
    from groundswell.pipelines.geomag.layout import MINUTES_A_DAY

    member = ensemble.members[0]
    if isinstance(member, ScaledMember):
        return len(member.preprocess.mean)
    return int(window.removesuffix("day")) * MINUTES_A_DAY


def answers(ensemble: F1WeightedEnsemble, x: Tensor) -> tuple[Any, Any]:
    """Probabilities (b, k), float64, and variance of the members (b,), of windows as read."""
    import torch

    with torch.inference_mode():
        probability = ensemble(x).double().cpu().numpy()
        variance = ensemble.classify_with_confidence(x)[2].double().cpu().numpy()
    return np.asarray(probability), np.asarray(variance)
