"""geomag: k-fold training and whole studies as single calls, for notebooks and scripts.

One function for all families: what used to be a copy for each is the argument ``model``. Each call is a study, so that
folds hold events together where groups are known, the epoch is chosen on an inner part, and everything is on disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from groundswell.core.errors import InputError
from groundswell.core.files import read_json
from groundswell.core.recipe import build_recipe
from groundswell.pipelines.geomag.ensembles import open_ensemble
from groundswell.pipelines.geomag.layout import (
    MINUTES_A_DAY,
    WINDOW_DAYS,
    WindowWriter,
    read_layout,
    window_folder,
    window_name,
)
from groundswell.pipelines.geomag.models.ensemble import F1WeightedEnsemble
from groundswell.pipelines.geomag.recipe import NETWORKS, GeomagRecipe
from groundswell.pipelines.geomag.study.folder import TITLES, StudyFolder
from groundswell.pipelines.geomag.study.run import Engine, StudyOutcome, run_study

_MODEL_KEYS = {"hidden_sizes", "use_batch_norm", "bidirectional", "nonlinearity", "activation", "d_model", "nhead",
               "num_encoder_layers", "dim_feedforward"}
_IGNORED = {"input_size", "output_size", "num_layers", "device", "device_ids"}
"""Follow from the windows and from hidden_sizes, or are the machine's business."""


def main(model: str, base_path: str | Path = ".", *, windows: Sequence[str | int] = WINDOW_DAYS,
         sets: Sequence[str] = (), optimize: bool = False, workers: int = 1) -> StudyOutcome:
    """Train one family on every window length below ``base_path/data``, with ensembles of its folds.

    Args:
        model: gru, lstm, rnn, mlp, transformer or minirocket.
        base_path: holds ``data/window-7`` and so on; the study goes to ``base_path/<model>_study``, the seed's files to
            its ``results``.
        windows: lengths in days, as numbers or text.
        sets: further keys of the recipe, as ``"train.epochs=50"``.
        optimize: there is no search: one that looks at the folds it reports on would flatter them. Only False.
        workers: fits at once.

    Raises:
        InputError: no such model, window or data; or ``optimize`` is asked for.
    """
    if optimize:
        raise InputError("There is no search for better settings: chosen on the folds that are reported they would "
                         "flatter the score", where="optimize", fix="Compare recipes by studies of their own, with "
                         "split.holdout groups that none of them sees")
    base = Path(base_path)
    recipe = build_recipe(GeomagRecipe, {
        "data": {"folder": str((base / "data").resolve())}, "train": {"checkpoint_epochs": 0, "tensorboard": False},
        "study": {"models": [model], "windows": [int(days) for days in windows]}}, sets, where="main")
    return run_study(recipe, base / f"{model}_study", Engine("loky" if workers > 1 else "inline", workers))


def kfold_train_eval(model: str, dataset: Dataset[Any], output_dir: str | Path, *,
                     groups: Sequence[Any] | None = None, sidecar: pd.DataFrame | None = None,
                     loss_fn: nn.Module | None = None, optimizer_class: type[Any] = torch.optim.AdamW,
                     optimizer_kwargs: Mapping[str, float] | None = None, scheduler_class: type[Any] | None = None,
                     scheduler_kwargs: Mapping[str, Any] | None = None, epochs: int = 100, batch_size: int = 32,
                     num_folds: int = 5, random_state: int = 42, sets: Sequence[str] = (),
                     **model_params: Any) -> dict[str, Any]:
    """Train one family in folds and score each fold once.

    Args:
        model: family.
        dataset: of (window, label): windows float32 (minutes,) or (days, 1440), not scaled: scaling is fitted in each
            fold.
        output_dir: for the study; its windows are written there too.
        groups: the event of each window; without it scores are marked as ungrouped.
        sidecar: instead of ``groups``, the whole table: event_id, station, start_time, latitude, longitude.
        loss_fn: cross-entropy, with or without weights: with weights the classes are weighted, by the recipe's method
            and within each fold.
        optimizer_class: AdamW; nothing else is used here.
        optimizer_kwargs: ``lr`` and ``weight_decay``.
        scheduler_class: ReduceLROnPlateau or CosineAnnealingLR; by default that of the family.
        scheduler_kwargs: ``patience`` and ``factor`` of the first.
        epochs, batch_size, num_folds, random_state: as their names say.
        sets: further keys of the recipe.
        model_params: ``hidden_sizes``, ``dropout_prob``, ``activation`` and so on.

    Returns:
        What ``_summary.json`` holds: ``val_f1s``, ``val_mccs``, ``best_fold``, ``best_val_f1``, ``fold_metrics``,
        ``average_metrics``; and ``study``, the folder.

    Raises:
        InputError: something of this cannot be used.
    """
    out = Path(output_dir)
    values = _values(model, loss_fn, optimizer_class, optimizer_kwargs or {}, scheduler_class, scheduler_kwargs or {},
                     model_params, epochs)
    days = write_dataset(out / "data", dataset, groups, sidecar)
    values["train"] |= {"epochs": epochs, "batch_size": batch_size, "seed": random_state}
    values |= {"data": {"folder": str((out / "data").resolve())}, "split": {"folds": num_folds, "seed": random_state}}
    values["study"] = {"models": [model], "windows": [days],
                       "cosine": [model] if values["train"].get("scheduler") == "cosine" else []}
    run_study(build_recipe(GeomagRecipe, values, sets, where="kfold_train_eval"), out / "study")
    folder = StudyFolder(out / "study")
    summary: dict[str, Any] = read_json(folder.files(model) / f"{folder.stem(model, days)}_summary.json")
    return {**summary, "study": str(folder.path)}


def _values(model: str, loss_fn: nn.Module | None, optimizer_class: type[Any], optimizer: Mapping[str, float],
            scheduler_class: type[Any] | None, scheduler: Mapping[str, Any],
            model_params: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    if model not in TITLES:
        raise InputError(f"There is no model '{model}'", fix=f"Choose one of: {', '.join(TITLES)}")
    if optimizer_class is not torch.optim.AdamW:
        raise InputError(f"The optimiser is AdamW, not {optimizer_class.__name__}", where="optimizer_class",
                         fix="Leave it out; lr and weight_decay go into optimizer_kwargs")
    if loss_fn is not None and not isinstance(loss_fn, nn.CrossEntropyLoss):
        raise InputError(f"The loss is cross-entropy, not {type(loss_fn).__name__}", where="loss_fn",
                         fix="For the focal loss give sets=['train.use_focal_loss=true']")
    _check_named_twice(model, model_params, optimizer, scheduler)
    unknown = [k for k in model_params if k not in _MODEL_KEYS | _IGNORED | {"dropout_prob", "model_class"}]
    if unknown:
        raise InputError(f"There is no parameter {', '.join(unknown)}", where=f"model '{model}'",
                         fix=f"Known: {', '.join(sorted(_MODEL_KEYS))}, dropout_prob")
    network = {k: v for k, v in model_params.items() if k in _MODEL_KEYS}
    if "dropout_prob" in model_params:
        network["dropout"] = model_params["dropout_prob"]
    train: dict[str, Any] = {"checkpoint_epochs": 0, "tensorboard": False}
    if loss_fn is not None:
        train["use_class_weights"] = loss_fn.weight is not None
    train |= {ours: optimizer[theirs] for theirs, ours in (("lr", "learning_rate"), ("weight_decay", "weight_decay"))
              if theirs in optimizer}
    train |= {f"plateau_{key}": scheduler[key] for key in ("patience", "factor") if key in scheduler}
    train["scheduler"] = _scheduler(model, scheduler_class)
    if scheduler.get("T_max", epochs) != epochs or scheduler.get("mode", "min") != "min":
        raise InputError(f"The cosine ends with the last epoch ({epochs}), and a plateau is one of the loss",
                         where="scheduler_kwargs", fix="Leave T_max and mode out")
    return {"model": {"type": model if model in NETWORKS else "gru", **network}, "train": train}


def _check_named_twice(model: str, model_params: Mapping[str, Any], optimizer: Mapping[str, float],
                       scheduler: Mapping[str, Any]) -> None:
    """See that what follows from something else agrees with it, and that nothing given is passed over in silence.

    Raises:
        InputError: it does not, or it would be.
    """
    given = model_params.get("model_class")
    if given is not None and getattr(given, "__name__", given) != f"{TITLES[model]}Classifier":
        raise InputError(f"model_class is {getattr(given, '__name__', given)} and model is '{model}'",
                         where="model_class", fix="Leave model_class out: model says which family it is")
    layers, sizes = model_params.get("num_layers"), model_params.get("hidden_sizes", (512, 256))
    if layers is not None and layers != len(sizes):
        raise InputError(f"num_layers is {layers} and hidden_sizes names {len(sizes)} layers", where="num_layers",
                         fix="Leave num_layers out: each of hidden_sizes is a layer")
    other = [k for k in optimizer if k not in ("lr", "weight_decay")]
    other += [k for k in scheduler if k not in ("mode", "patience", "factor", "T_max")]
    if other:
        raise InputError(f"These are not used: {', '.join(other)}", where="optimizer_kwargs, scheduler_kwargs",
                         fix="Give lr and weight_decay, and patience and factor")


def _scheduler(model: str, given: type[Any] | None) -> str:
    known = {None: "cosine" if model == "transformer" else "plateau",
             torch.optim.lr_scheduler.ReduceLROnPlateau: "plateau",
             torch.optim.lr_scheduler.CosineAnnealingLR: "cosine"}
    if given not in known:
        raise InputError(f"The scheduler {getattr(given, '__name__', given)} is not known", where="scheduler_class",
                         fix="Give ReduceLROnPlateau or CosineAnnealingLR, or nothing")
    return known[given]


def train_eval(model: str, dataset: Dataset[Any], output_dir: str | Path, **options: Any) -> dict[str, Any]:
    """One division into training, validation and test instead of folds; else as :func:`kfold_train_eval`."""
    sets = [*options.pop("sets", ()), "split.regime=grouped"]
    return kfold_train_eval(model, dataset, output_dir, sets=sets, **options)


def write_dataset(root: Path, dataset: Dataset[Any], groups: Sequence[Any] | None,
                  sidecar: pd.DataFrame | None) -> int:
    """Write a data set of windows and labels in the layout of files; the windows' length in days.

    Raises:
        InputError: windows of no known length, labels that are not 0 and 1, or another number of groups.
    """
    windows, labels = _stacked(dataset)
    days = next((d for d in WINDOW_DAYS if d * MINUTES_A_DAY == windows.shape[1]), 0)
    if not days:
        raise InputError(f"The windows have {windows.shape[1]} values; known lengths are "
                         f"{', '.join(str(d * MINUTES_A_DAY) for d in WINDOW_DAYS)} minutes", where="dataset")
    if set(np.unique(labels)) - {0, 1}:
        raise InputError(f"The labels are {np.unique(labels)[:5].tolist()}; they must be 0 or 1", where="dataset")
    table = _sidecar(labels, groups, sidecar, days)
    rows = [np.flatnonzero(labels == label) for label in (0, 1)]
    if window_folder(root, days).exists():
        _check_same(root, days, [windows[chosen] for chosen in rows])
        return days
    with WindowWriter(root, days, (len(rows[0]), len(rows[1]))) as writer:
        for label, chosen in enumerate(rows):
            for row, position in enumerate(chosen):
                writer.put(label, row, windows[position])
        place = np.empty(len(labels), np.int64)
        for chosen in rows:
            place[chosen] = np.arange(len(chosen))
        writer.finish(None if table is None else table.assign(label=labels, row=place), {"made_by": "kfold_train_eval"})
    return days


def _check_same(root: Path, days: int, windows: Sequence[np.ndarray[Any, Any]]) -> None:
    """See that the windows which an earlier call wrote are these.

    Raises:
        InputError: they are others.
    """
    layout = read_layout(root, days)
    written = [layout.read(np.flatnonzero(layout.labels() == label)) for label in (0, 1)]
    if not all(np.array_equal(a, b) for a, b in zip(written, windows, strict=True)):
        raise InputError("The folder holds other windows, of an earlier call", where=layout.folder,
                         fix="Choose another output_dir for another data set")


def _stacked(dataset: Dataset[Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    if isinstance(dataset, TensorDataset):
        x, y = dataset.tensors
    else:
        pairs = [dataset[i] for i in range(len(dataset))]  # type: ignore[arg-type]
        x, y = torch.stack([torch.as_tensor(a) for a, _ in pairs]), torch.as_tensor([int(b) for _, b in pairs])
    flat: Tensor = x.reshape(len(x), -1).float()
    return flat.numpy(), y.numpy().astype(np.int64)


def _sidecar(labels: np.ndarray[Any, Any], groups: Sequence[Any] | None, sidecar: pd.DataFrame | None,
             days: int) -> pd.DataFrame | None:
    if sidecar is not None:
        if len(sidecar) != len(labels):
            raise InputError(f"The table has {len(sidecar)} rows for {len(labels)} windows", where="sidecar")
        return sidecar.reset_index(drop=True).drop(columns=["label", "row"], errors="ignore")
    if groups is None:
        return None
    if len(groups) != len(labels):
        raise InputError(f"There are {len(groups)} groups for {len(labels)} windows", where="groups")
    names = pd.Series(groups).astype(str)
    mixed = pd.Series(labels).groupby(names).transform("nunique") > 1
    # What happened once has one class; parts of a group that differ stay together by their time.
    events = names.where(~mixed, names + " (class " + pd.Series(labels).astype(str) + ")")
    # Times are not known; one event after another, so that none overlap but those of one event.
    start = pd.Timestamp("1970-01-01", tz="UTC") + pd.to_timedelta(pd.factorize(names)[0] * days, unit="D")
    return pd.DataFrame({"event_id": events, "station": "unknown", "start_time": start, "latitude": np.nan,
                         "longitude": np.nan})


def perform_model_ensemble(study: str | Path, model: str, window: str | int = 7) -> F1WeightedEnsemble:
    """The F1-weighted ensemble of a family's folds, as a study or :func:`main` left it.

    Args:
        study: folder of the study.
        model: family.
        window: 7, "7" or "7day".
    """
    days = int(str(window).removesuffix("day"))
    folder = StudyFolder(Path(study))
    return open_ensemble(folder.files(model) / f"{TITLES[model]}Model_{window_name(days)}_ensemble_config.json")[0]
