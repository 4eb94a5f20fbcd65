"""train: weights on their own: the best ones of a fit, and plain state dicts for other programs."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path
from groundswell.train.checkpoint import DamagedError, full_disk
from groundswell.train.tagged import flatten, storage

BEST = Path("weights") / "best.safetensors"
NEXT = BEST.with_name("next.safetensors")
"""Better ones than the best, of an epoch that no checkpoint holds yet."""
_FACTS = "groundswell"


def _checksum(tensors: dict[str, Tensor], facts: dict[str, Any]) -> int:
    crc = zlib.crc32(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, crc)
    return crc


def write_weights(path: Path, task: nn.Module | Mapping[str, Tensor], facts: dict[str, Any]) -> None:
    """Write the state dict of ``task``, or tensors by name, as safetensors, atomically, with ``facts`` (JSON-able), a
    checksum beside them.

    The same weights and facts give the same bytes.

    Raises:
        FailureError: the disk is full; what was at ``path`` is still there.
    """
    state = task.state_dict() if isinstance(task, nn.Module) else task
    tensors = storage({name: value.detach().cpu().contiguous() for name, value in state.items()})
    # One entry only: safetensors writes several in any order, and the bytes would differ from run to run.
    note = json.dumps({"crc32": _checksum(tensors, facts), "facts": facts}, sort_keys=True)
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(safetensors.torch.save(tensors, {_FACTS: note}))
    except OSError as error:
        raise full_disk(error, path) from error


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the facts that :func:`write_weights` wrote.

    Raises:
        InputError: there is no such file.
        DamagedError: it is not as it was written.
    """
    if not path.is_file():
        raise InputError("There are no such weights", where=path, fix="Train first, or resume the run")
    try:
        with safe_open(path, framework="pt") as file:
            note = json.loads((file.metadata() or {})[_FACTS])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
        intact = _checksum(tensors, note["facts"]) == note["crc32"]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"The weights cannot be read: {error}", where=path) from error
    if not intact:
        raise DamagedError("The weights' checksum does not match: the file is damaged", where=path)
    return tensors, note["facts"]


def facts_of(path: Path) -> dict[str, Any]:
    """The facts that :func:`write_weights` wrote beside the weights; empty if there are none that can be read."""
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads((file.metadata() or {})[_FACTS])["facts"]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return {}
    return facts


def load_best(task: nn.Module, folder: Path) -> dict[str, Any]:
    """Load the best weights of the fit in ``folder`` into ``task``.

    Returns:
        facts: ``epoch`` (from 1), ``step``, ``monitor``, ``metrics`` (of that epoch, by name).

    Raises:
        InputError: there are none, they are damaged, or they are another network's.
    """
    path = folder / BEST
    tensors, facts = read_weights(path)
    try:
        task.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"These weights belong to another network: {error}", where=path) from error
    return facts


def write_pth(path: Path, content: dict[str, Any]) -> None:
    """Write plain Python and tensors with ``torch.save``, atomically, for programs that read ``.pth`` files.

    Args:
        path: the file.
        content: the customary keys are ``epoch``, ``model_state_dict``, ``val_metrics``, ``config``.

    Raises:
        TypeError: something in it is neither plain Python nor a tensor.
    """
    plain = {name: dict(value) if name == "model_state_dict" else value for name, value in content.items()}
    flatten(plain)
    # By way of memory: torch's own file writer does not say that a disk is full.
    file = io.BytesIO()
    torch.save(plain, file)
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(file.getbuffer())
    except OSError as error:
        raise full_disk(error, path) from error


def read_pth(path: Path) -> dict[str, Any]:
    """Read a ``.pth`` file of tensors and plain Python; nothing else is ever unpickled.

    Raises:
        InputError: there is no such file, or it holds more than that.
        DamagedError: a member's checksum does not match.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except FileNotFoundError as error:
        raise InputError("There is no such file", where=path) from error
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DamagedError(f"Not a .pth file, or a damaged one: {error}", where=path) from error
    if bad is not None:
        raise DamagedError(f"The file is damaged in its member '{bad}'", where=path)
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError("This .pth file holds more than tensors and plain Python, or is damaged", where=path,
                         fix="Save it again with only a state dict and plain values in it") from error
    return content
