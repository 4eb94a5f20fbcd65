"""geomag: an ensemble on disk: its tensors in one ``.pth``, everything else about it in a JSON file beside it."""

from __future__ import annotations

import math
import statistics
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from groundswell.core.errors import InputError
from groundswell.core.files import read_json, write_json
from groundswell.pipelines.geomag.models.base import Classifier, classifier_class
from groundswell.pipelines.geomag.models.ensemble import STRATEGIES, F1WeightedEnsemble, ScaledMember
from groundswell.train.weights import read_pth, write_pth

METHOD = "f1_weighted"
_KEYS = {"model_name": str, "window_name": str, "model_class": str, "model_params": dict, "ensemble_weights": list,
         "ensemble_method": str, "strategy": str, "model_crc32": int}


def save_ensemble(model_path: Path, config_path: Path, ensemble: F1WeightedEnsemble, *, model_name: str,
                  window_name: str, fold_metrics: Mapping[str, Sequence[float | None]],
                  members: Sequence[str] = (), facts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Write an ensemble of networks of one class and architecture.

    The ``.pth`` is the ensemble's state dict, tensors only. The JSON file names the class, its arguments, the weights
    and the scores, and carries the ``.pth`` file's checksum.

    Args:
        model_path: the ``.pth`` file.
        config_path: the JSON file.
        ensemble: members are classifiers, or :class:`ScaledMember` around them.
        model_name: such as "GRUModel".
        window_name: such as "7day".
        fold_metrics: of each member, by name; NaN is written as null.
        members: names of the files that the members came from.
        facts: further entries (``split``, ``ungrouped``, ``simulated``), JSON-able.

    Returns:
        what the JSON file holds.

    Raises:
        InputError: members differ in class, architecture or kind of scaling, or are no classifiers.
        FailureError: the disk is full.
    """
    model_class, params, scaling = _common(ensemble)
    # The tensors first: a configuration is never there without them.
    write_pth(Path(model_path), {name: value.detach().cpu() for name, value in ensemble.state_dict().items()})
    kept = {name: [_number(value) for value in values] for name, values in fold_metrics.items()}
    config = {**dict(facts or {}), "model_name": model_name, "window_name": window_name, "model_class": model_class,
              "model_params": params, "preprocess": scaling, "ensemble_method": METHOD, "strategy": ensemble.strategy,
              "ensemble_weights": ensemble.weights.tolist(), "members": list(members), "fold_metrics": kept,
              "average_metrics": average_metrics(kept), "model_crc32": zlib.crc32(Path(model_path).read_bytes())}
    write_json(Path(config_path), config)
    return config


def average_metrics(fold_metrics: Mapping[str, Sequence[float | None]]) -> dict[str, float | None]:
    """Mean of each metric over the folds that have it and, as ``<name>_std``, its standard deviation (of these folds,
    divided by their number); ``None`` where no fold has it."""
    averages: dict[str, float | None] = {}
    for name, values in fold_metrics.items():
        there = [value for value in map(_number, values) if value is not None]
        averages[name] = statistics.fmean(there) if there else None
        averages[f"{name}_std"] = statistics.pstdev(there) if there else None
    return averages


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _common(ensemble: F1WeightedEnsemble) -> tuple[str, dict[str, Any], dict[str, str] | None]:
    """Class, architecture and kind of scaling that all members share."""
    found: list[tuple[str, dict[str, Any], dict[str, str] | None]] = []
    for member in ensemble.members:
        network, scaling = member, dict[str, str]()
        if isinstance(member, ScaledMember):
            network = member.network
            scaling = {"detrend": member.preprocess.detrend, "scaling": member.preprocess.scaling}
        if not isinstance(network, Classifier):
            raise InputError(f"A {type(network).__name__} cannot be saved as a member of an ensemble",
                             fix="Make members of the classifiers themselves, or of ScaledMember around them")
        found.append((type(network).__name__, dict(network.config), scaling or None))
    if any(other != found[0] for other in found):
        raise InputError("The members of an ensemble to be saved must have one class, one architecture and one kind of "
                         "scaling")
    return found[0]


def load_ensemble_model(model_path: str | Path, config_path: str | Path, device: str | torch.device | None = None,
                        model_class: type[nn.Module] | None = None,
                        device_ids: Sequence[int] | None = None) -> F1WeightedEnsemble:
    """The ensemble that :func:`save_ensemble` wrote, in evaluation mode.

    Args:
        model_path: the ``.pth`` file.
        config_path: the JSON file.
        device: where to put it; absent, a GPU if there is one.
        model_class: what its members must be; absent, what the configuration names.
        device_ids: the first one is the GPU to use if ``device`` is absent; members answer on one device.

    Raises:
        InputError: a file is missing, damaged or not an ensemble's, the two do not belong together, the class is
            another one, or the weights do not fit it.
    """
    model_path, config_path = Path(model_path), Path(config_path)
    config = _read_config(config_path)
    if model_class is not None and model_class.__name__ != config["model_class"]:
        raise InputError(f"The ensemble's members are of {config['model_class']}, not of {model_class.__name__}",
                         where=config_path)
    state = read_pth(model_path)
    if zlib.crc32(model_path.read_bytes()) != config["model_crc32"]:
        raise InputError("These weights are not the ones that the configuration was written with", where=model_path,
                         fix=f"Find the file that belongs to {config_path.name}, or make the ensemble again")
    kind = model_class or classifier_class(config["model_class"])
    try:
        ensemble = _assembled(kind, config, state)
    except (InputError, TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise InputError(f"The weights and the configuration make no ensemble of {kind.__name__}: {error}",
                         where=model_path) from error
    return ensemble.to(_place(device, device_ids))


def _read_config(path: Path) -> dict[str, Any]:
    given = read_json(path)
    config: dict[str, Any] = given if isinstance(given, dict) else {}
    wrong = [key for key, kind in _KEYS.items() if not isinstance(config.get(key), kind)]
    if wrong:
        raise InputError(f"This is no ensemble's configuration: it lacks a proper {', '.join(wrong)}", where=path)
    if config["ensemble_method"] != METHOD or config["strategy"] not in STRATEGIES:
        raise InputError(f"An ensemble of the method '{config['ensemble_method']}' and the strategy "
                         f"'{config['strategy']}' is not known", where=path)
    weights = config["ensemble_weights"]
    if not weights or not all(isinstance(w, int | float) and 0 <= w <= 1 for w in weights) \
            or not math.isclose(math.fsum(weights), 1.0, abs_tol=1e-6):
        raise InputError(f"The weights of an ensemble must be at least 0 and sum to 1, not {weights}", where=path)
    return config


def _assembled(kind: type[Any], config: dict[str, Any], state: dict[str, Tensor]) -> F1WeightedEnsemble:
    members: list[nn.Module] = []
    for k in range(len(config["ensemble_weights"])):
        member: nn.Module = kind(**config["model_params"])
        if config.get("preprocess") is not None:
            blank = torch.ones_like(state[f"members.{k}.preprocess.mean"])
            member = ScaledMember(member, torch.zeros_like(blank), blank, **config["preprocess"])
        members.append(member)
    ensemble = F1WeightedEnsemble(members, config["ensemble_weights"], config["strategy"])
    said = ensemble.weights.clone()
    ensemble.load_state_dict(state)
    if not torch.allclose(ensemble.weights, said, rtol=0, atol=1e-9):
        raise InputError(f"The configuration gives the members the weights {said.tolist()}, the file "
                         f"{ensemble.weights.tolist()}")
    return ensemble


def _place(device: str | torch.device | None, device_ids: Sequence[int] | None) -> torch.device:
    try:
        if device is None:
            device = f"cuda:{device_ids[0] if device_ids else 0}" if torch.cuda.is_available() else "cpu"
        place = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"There is no device '{device}'", fix="Choose cpu or cuda") from error
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise InputError(f"The device '{place}' is not there", fix="Choose cpu")
    return place
