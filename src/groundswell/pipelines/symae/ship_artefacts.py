"""symae: what the seed saves of a training: weights, parameters and loss history, with the time and sizes in names."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from groundswell.core.files import write_bytes, write_json
from groundswell.core.run import RunFolder
from groundswell.pipelines.archive import load_archive
from groundswell.pipelines.symae.data import axis_of
from groundswell.pipelines.symae.recipe import SymaeRecipe
from groundswell.pipelines.workflow import folds_of
from groundswell.train.weights import BEST, read_weights, write_pth

FOLDER = "SavedModels"


def savename(parameters: dict[str, Any]) -> str:
    """Parameters as part of a file's name, such as ``nt=192_p=30_q=30_k=1``."""
    return "_".join(f"{name}={value}" for name, value in parameters.items())


def save_artefacts(run: RunFolder) -> list[Path]:
    """Write each fold's model, parameters and loss history into ``SavedModels``; what is there already is left.

    ``syn_model-TIME-SIZES.pth`` (a plain state dict), ``syn_para-TIME-SIZES.json`` and
    ``syn_loss_history-TIME-SIZES.csv``; TIME is when the weights were written, UTC. Nothing is pickled but tensors and
    plain values, as ``torch.load(..., weights_only=True)`` reads them.

    Returns:
        Those that were written now.

    Raises:
        InputError: the run is not trained, or its weights are damaged.
    """
    recipe, axis = run.recipe(SymaeRecipe), axis_of(load_archive(run.path))
    sizes = {"nt": axis.nt, "p": recipe.model.p, "q": recipe.model.q, "k": recipe.model.k}
    written: list[Path] = []
    folds = folds_of(run, 0)
    for fold in folds:
        place = run.fold_path(fold)
        when = datetime.fromtimestamp((place / BEST).stat().st_mtime, UTC).strftime("%Y-%m-%dT%H-%M-%S")
        ending = f"{when}-{savename(sizes)}" + (f"-fold={fold + 1}" if len(folds) > 1 else "")
        folder = run.path / FOLDER
        model, history = folder / f"syn_model-{ending}.pth", folder / f"syn_loss_history-{ending}.csv"
        if model.exists():
            continue
        tensors, facts = read_weights(place / BEST)
        # A recipe holds nothing but plain values once it has been JSON.
        config = json.loads(recipe.model_dump_json())
        write_pth(model, {"epoch": facts["epoch"], "model_state_dict": tensors, "val_metrics": facts["metrics"],
                          "config": config})
        parameters = folder / f"syn_para-{ending}.json"
        write_json(parameters, {"symae_parameters": sizes, "model": recipe.model.type, "dt": axis.dt, "t0": axis.t0,
                                "recipe": config})
        write_bytes(history, (place / "logs" / "epochs.csv").read_bytes())
        written += [model, parameters, history]
    return written
