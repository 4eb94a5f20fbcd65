"""marine: weights that a user brings along. Nothing but tensors and plain Python is ever read from them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groundswell.core.errors import InputError
from groundswell.train.weights import read_pth

NESTED = ("state_dict", "model_state_dict", "model", "ema")
"""Where programs put a state dict beside other things."""


def read_user_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a ``.pth`` or ``.pt`` file, float32.

    The names are the network's own; those of YOLO networks are Ultralytics' (``model.0.conv.weight``).

    Raises:
        InputError: there is no such file, it is damaged, or it holds whole Python objects, as Ultralytics' own ``.pt``
            files do; the message says how to turn those into a plain state dict.
    """
    path = Path(path)
    if path.is_file() and _holds_objects(path):
        raise InputError(
            "This file holds whole Python objects, as Ultralytics' .pt files do. Reading it would run whatever code it "
            "names, so it is not read", where=path,
            fix="If you trust it, turn it into a plain state dict where Ultralytics is installed, python -c \"import "
                f"torch; from ultralytics import YOLO; torch.save(YOLO('{path.name}').model.float().state_dict(), "
                f"'{path.stem}.pth')\", and name the .pth file instead")
    found: Any = read_pth(path)
    for name in NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
            break
    if not isinstance(found, Mapping) or not found:
        raise InputError("There is no state dict in this file", where=path, fix="Save network.state_dict() in it")
    strange = [str(name) for name, value in found.items() if not isinstance(value, Tensor)]
    if strange:
        raise InputError(f"'{strange[0]}' in this file is no tensor", where=path, fix="Save network.state_dict() in it")
    return {str(name): value.float() if value.is_floating_point() else value for name, value in found.items()}


def _holds_objects(path: Path) -> bool:
    """Whether an intact file names anything beyond tensors and plain Python; nothing of it is run."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return False
        return bool(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # damaged in some way, which reading it will tell
        return False
