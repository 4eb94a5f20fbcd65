"""train: nested Python values as JSON and tensors, and back, exactly. The one form in which state reaches the disk."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

_TAG = "~"


def flatten(value: Any) -> tuple[Any, dict[str, Tensor]]:
    """Divide a nested value into a JSON-able skeleton and tensors named by their path (``optimizer/state/0/exp_avg``).

    Dictionaries (keys: text or int), lists, tuples, text, numbers, bool, None and tensors are known; the order of
    dictionaries is kept, and so is every bit of a float.

    Raises:
        TypeError: anything else is in it.
    """
    tensors: dict[str, Tensor] = {}
    return _flatten(value, "", tensors), tensors


def _flatten(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {_TAG: "float", "is": repr(value)}
    if isinstance(value, Tensor):
        if path in tensors:
            raise TypeError(f"two tensors would both be called '{path}' in a checkpoint")
        tensors[path] = value.detach().cpu().contiguous()
        return {_TAG: "tensor", "is": path}
    if isinstance(value, list):
        return [_flatten(item, f"{path}/{k}".lstrip("/"), tensors) for k, item in enumerate(value)]
    if isinstance(value, tuple):
        return {_TAG: "tuple", "is": _flatten(list(value), path, tensors)}
    if isinstance(value, dict):
        inner = {key: _flatten(item, f"{path}/{key}".lstrip("/"), tensors) for key, item in value.items()}
        if all(isinstance(key, str) for key in inner) and _TAG not in inner:
            return inner
        if all(isinstance(key, str | int) and not isinstance(key, bool) for key in inner):
            return {_TAG: "dict", "is": [[key, item] for key, item in inner.items()]}
    raise TypeError(f"cannot keep {type(value).__name__} at '{path}' in a checkpoint")


def unflatten(skeleton: Any, tensors: dict[str, Tensor]) -> Any:
    """Undo :func:`flatten`.

    Raises:
        KeyError, ValueError: the skeleton and the tensors do not belong together.
    """
    if isinstance(skeleton, list):
        return [unflatten(item, tensors) for item in skeleton]
    if not isinstance(skeleton, dict):
        return skeleton
    kind = skeleton.get(_TAG)
    if kind is None:
        return {key: unflatten(item, tensors) for key, item in skeleton.items()}
    inner = skeleton["is"]
    if kind == "tensor":
        return tensors[inner]
    if kind == "tuple":
        return tuple(unflatten(inner, tensors))
    if kind == "dict":
        return {key: unflatten(item, tensors) for key, item in inner}
    if kind == "float":
        return float(inner)
    raise ValueError(f"an unknown tag '{kind}'")


def storage(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with a memory of their own each, as safetensors wants them (tied weights are written twice)."""
    owners: set[int] = set()
    own: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        pointer = tensor.untyped_storage().data_ptr()
        shared = tensor.numel() > 0 and (pointer in owners or tensor.untyped_storage().nbytes() != tensor.nbytes)
        own[name] = torch.clone(tensor) if shared else tensor
        owners.add(pointer)
    return own
