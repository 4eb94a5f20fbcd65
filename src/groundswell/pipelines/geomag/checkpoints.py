"""geomag: checkpoints of a loop at the notebook: one ``.pth`` of plain tensors each, written whole or not at all.

Runs keep theirs by :mod:`groundswell.train.checkpoint`, which resumes exactly.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path
from groundswell.train.weights import read_pth, write_pth

BEST_NAME = "best_model.pth"
_WRAPPERS = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before every name
_STATE_KEYS = ("model_state_dict", "state_dict")
_SHOWN = 3


def plain_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict without the prefixes that wrappers of a network put before its names."""
    plain = dict(state)
    for prefix in _WRAPPERS:
        while plain and all(name.startswith(prefix) for name in plain):
            plain = {name.removeprefix(prefix): value for name, value in plain.items()}
    return plain


def _plain(value: Any, where: str) -> Any:
    """Plain Python and tensors for numpy's numbers and arrays and for paths."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item, f"{where}['{key}']") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item, f"{where}[{k}]") for k, item in enumerate(value))
    if value is None or isinstance(value, bool | int | float | str | Tensor):
        return value
    raise InputError(f"A checkpoint holds numbers, text, lists, dictionaries and arrays; this is a "
                     f"{type(value).__name__}", where=where, fix="Leave it out, or describe it in such terms")


def save_checkpoint(model: nn.Module, optimizer: torch.optim.Optimizer | None, epoch: int, loss: float,
                    checkpoint_dir: str | Path, additional_info: Mapping[str, Any] | None = None) -> Path:
    """Write the state of a training as ``checkpoint_<UTC time>_epoch_<n>.pth``; the path.

    A classifier's own ``load_checkpoint`` reads the file too.

    Args:
        model: network; prefixes of a wrapper around it are not kept.
        optimizer: its state, or ``None``.
        epoch: finished epochs.
        loss: of the epoch.
        checkpoint_dir: made if need be.
        additional_info: plain values, numpy's too. With a true ``is_best`` in it, ``best_model.pth`` becomes a copy.

    Raises:
        InputError: the folder cannot be written to, or something is not plain.
        FailureError: the disk is full; earlier files are untouched.
    """
    now = datetime.now(UTC)
    info = _plain(dict(additional_info or {}), "additional_info")
    path = Path(checkpoint_dir) / f"checkpoint_{now:%Y%m%d_%H%M%S_%f}_epoch_{int(epoch)}.pth"
    inner = model.module if isinstance(model, nn.DataParallel) else getattr(model, "_orig_mod", model)
    config = getattr(inner, "config", None)
    write_pth(path, {
        "config": _plain(config, "config") if isinstance(config, Mapping) else {},
        "model_state_dict": plain_state(model.state_dict()),
        "optimizer_state_dict": None if optimizer is None else optimizer.state_dict(),
        "epoch": int(epoch), "loss": float(loss), "additional_info": info, "model_class": type(inner).__name__,
        "saved": now.isoformat(timespec="seconds")})
    if info.get("is_best"):
        with atomic_path(path.with_name(BEST_NAME)) as temporary:
            shutil.copyfile(path, temporary)
    return path


def load_checkpoint(checkpoint_path: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None,
                    device: torch.device | str | None = None,
                    ) -> tuple[nn.Module, torch.optim.Optimizer | None, int, float, dict[str, Any]]:
    """Load what :func:`save_checkpoint` or a classifier's own wrote, or a bare state dict, into ``model``.

    Either all of it is loaded or nothing is changed. Names written by a network inside DataParallel fit too.

    Args:
        checkpoint_path: the file; whatever device it was written on.
        model: of the same architecture.
        optimizer: takes the state it had, if given.
        device: where the network goes; absent, it stays where it is.

    Returns:
        ``(model, optimizer, epoch, loss, info)``; epoch 0 and loss NaN where the file does not say.

    Raises:
        InputError: no such file, it holds no network or another one, or it lacks the optimizer's state.
        DamagedError: it is not as it was written.
    """
    path = Path(checkpoint_path)
    content = read_pth(path)
    state = _network_state(content, path)
    _check_same(model, state, path)
    if device is not None:
        model.to(device)
    if optimizer is not None:
        kept = content.get("optimizer_state_dict")
        if kept is None:
            raise InputError("This file holds no state of an optimizer", where=path, fix="Leave optimizer out")
        try:
            optimizer.load_state_dict(kept)
        except (ValueError, KeyError) as error:
            raise InputError(f"The optimizer's state does not fit: {error}", where=path,
                             fix="Make the optimizer as it was made in training") from error
    own = model.state_dict()
    model.load_state_dict({name: state[plain] for name, plain in zip(own, plain_state(own), strict=True)})
    loss = content.get("loss")
    info = content.get("additional_info") or content.get("metrics")
    return (model, optimizer, int(content.get("epoch") or 0), math.nan if loss is None else float(loss),
            dict(info) if isinstance(info, Mapping) else {})


def _network_state(content: Any, path: Path) -> dict[str, Tensor]:
    known = isinstance(content, Mapping)
    inner = next((content[key] for key in _STATE_KEYS if key in content), content) if known else None
    if not isinstance(inner, Mapping) or not inner or not all(isinstance(v, Tensor) for v in inner.values()):
        raise InputError("This file holds no weights of a network", where=path,
                         fix="Give a checkpoint, or a state dict saved with torch.save")
    return plain_state(inner)


def _check_same(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """See that the file's tensors are the network's, by name and shape, before anything is changed."""
    wanted = plain_state(model.state_dict())
    differences = [f"it lacks {name}" for name in wanted if name not in state]
    differences += [f"it has {name}, which the network has not" for name in state if name not in wanted]
    differences += [f"{name} is {tuple(state[name].shape)} in it and {tuple(value.shape)} in the network"
                    for name, value in wanted.items() if name in state and state[name].shape != value.shape]
    if differences:
        more = f" and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        raise InputError(f"The checkpoint is of another architecture than this {type(model).__name__}: "
                         f"{'; '.join(differences[:_SHOWN])}{more}", where=path,
                         fix="Create the network with the same class, input_size, hidden_sizes and options as the one "
                             "that was saved")
