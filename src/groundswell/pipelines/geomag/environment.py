"""geomag: what this machine offers a session at the notebook: versions, device, memory, and chance that repeats.

The names are those that the notebooks of this field have long used; what they do is the house's.
"""

from __future__ import annotations

import copy
import gc
import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import psutil
import torch
from torch import nn

from groundswell.core.errors import InputError
from groundswell.core.progress import say
from groundswell.core.provenance import package_versions
from groundswell.core.seeds import seed_everything

GB = 2**30
"""Bytes in what this module calls a GB, as drivers and torch count it."""
CHECKED = ("torch", "numpy", "scikit-learn", "scipy", "pandas", "psutil")
"""Packages whose version is compared with what Groundswell asks for."""
_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
_TRAINING_COPIES = 4  # of the weights: themselves, their gradients, and two running means of AdamW
_WORKING_SPACE = 2.0  # bytes in use at the peak, over those that backward keeps: what operators hold while they run


def numpy_mode() -> str:
    """``numpy_2`` under NumPy 2.x: which of its rules for mixing types hold."""
    return f"numpy_{np.__version__.split('.')[0]}"


def check_environment() -> dict[str, Any]:
    """Look at the versions and the hardware of this machine.

    Returns:
        ``python_version``, ``pytorch_version``, ``numpy_version``, ``numpy_mode``, ``sklearn_version``,
        ``packages`` (versions by name), ``cpu_count`` (cores this process may use), ``memory_gb``,
        ``cuda_available``, ``cuda_version`` (or ``None``), ``cudnn_version`` (or ``None``), ``gpu_count``, ``gpus``
        (name and ``memory_gb`` of each), ``device`` (``cuda:0`` or ``cpu``), ``device_name``, ``device_memory_gb`` and
        ``compatibility`` (see :func:`check_version_compatibility`). JSON-able.
    """
    packages = package_versions()
    gpus = _gpus()
    memory_gb = psutil.virtual_memory().total / GB
    return {
        "python_version": platform.python_version(), "pytorch_version": torch.__version__,
        "numpy_version": np.__version__, "numpy_mode": numpy_mode(), "sklearn_version": packages.get("scikit-learn"),
        "packages": packages, "cpu_count": usable_cores(), "memory_gb": memory_gb, "cuda_available": bool(gpus),
        "cuda_version": torch.version.cuda if gpus else None,
        "cudnn_version": torch.backends.cudnn.version() if gpus else None,  # type: ignore[no-untyped-call]
        "gpu_count": len(gpus), "gpus": gpus,
        "device": "cuda:0" if gpus else "cpu", "device_name": gpus[0]["name"] if gpus else platform.machine(),
        "device_memory_gb": gpus[0]["memory_gb"] if gpus else memory_gb,
        "compatibility": check_version_compatibility()}


def _gpus() -> list[dict[str, Any]]:
    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(k) for k in range(torch.cuda.device_count())]
    return [{"name": each.name, "memory_gb": each.total_memory / GB} for each in found]


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment_text(env: Mapping[str, Any]) -> str:
    """What :func:`check_environment` found, as a few lines for people."""
    line = "=" * 40
    wrong = [f"  {name}: {fact['installed'] or 'not installed'}, and {fact['required']} is asked for"
             for name, fact in env["compatibility"].items() if not fact["ok"]]
    return "\n".join([
        "PyTorch Environment Information", line, "Software:",
        f"  Python:    {env['python_version']}", f"  PyTorch:   {env['pytorch_version']}",
        f"  NumPy:     {env['numpy_version']} (Mode: {env['numpy_mode']})",
        f"  sklearn:   {env['sklearn_version'] or 'not installed'}", "", "Hardware:",
        f"  CPUs:      {env['cpu_count']}", f"  Memory:    {env['memory_gb']:.2f} GB",
        f"  CUDA:      {env['cuda_version'] or 'not available'}", f"  GPUs:      {env['gpu_count']}", "",
        *(["Versions that do not fit:", *wrong, ""] if wrong else []),
        f"Using device: {env['device']} ({env['device_name']}, {env['device_memory_gb']:.2f} GB)", line]) + "\n"


def print_environment_info(env: Mapping[str, Any] | None = None) -> str:
    """Write the findings of :func:`check_environment` (made now, if none are given) to stdout; the text is returned."""
    text = environment_text(check_environment() if env is None else env)
    sys.stdout.write(text)
    return text


def check_version_compatibility() -> dict[str, dict[str, Any]]:
    """Compare installed versions with those that Groundswell asks for.

    Returns:
        By name (``python`` and :data:`CHECKED`): ``installed`` (or ``None``), ``required`` and ``ok``.
    """
    from packaging.requirements import Requirement  # comes with matplotlib
    from packaging.specifiers import SpecifierSet

    ours = importlib.metadata.metadata("groundswell")
    wanted = {each.name: each.specifier for each in map(Requirement, importlib.metadata.requires("groundswell") or ())
              if each.marker is None}
    wanted["python"] = SpecifierSet(ours["Requires-Python"] or "")
    found: dict[str, dict[str, Any]] = {}
    for name in ("python", *CHECKED):
        try:
            installed = platform.python_version() if name == "python" else importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed = None
        fits = wanted.get(name, SpecifierSet())
        found[name] = {"installed": installed, "required": str(fits) or "any version",
                       "ok": installed is not None and fits.contains(installed, prereleases=True)}
    return found


def set_random_seeds(seed: int = 42, strict_determinism: bool = False) -> None:
    """Seed python, numpy and torch (all devices), and say how strictly results must repeat.

    Without ``strict_determinism`` cuDNN is held to algorithms that repeat; with it torch refuses every operation that
    could differ from run to run (``torch.use_deterministic_algorithms``) and cuBLAS gets a workspace of fixed size.
    The last call holds: calling again without it lets such operations pass again. What python's hash seed decides (the
    order of sets) is fixed only by setting PYTHONHASHSEED before python starts.
    """
    seed_everything(seed)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if strict_determinism and _CUBLAS not in os.environ:
        os.environ[_CUBLAS] = ":4096:8"
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            say(f"The GPU was in use before {_CUBLAS} was set: matrix products already begun may not repeat exactly. "
                "Call set_random_seeds first in a new session.")
    torch.use_deterministic_algorithms(strict_determinism)


def get_device(gpu_memory_fraction: float | None = None) -> torch.device:
    """The first GPU, or the CPU where there is none.

    Args:
        gpu_memory_fraction: largest share of the GPU's memory that this process may take, in (0, 1].

    Raises:
        InputError: the share is outside that range.
    """
    if gpu_memory_fraction is not None and not 0 < gpu_memory_fraction <= 1:
        raise InputError(f"gpu_memory_fraction is {gpu_memory_fraction}; it is a share of the GPU's memory",
                         fix="Give a number above 0 and up to 1")
    if not torch.cuda.is_available():
        if gpu_memory_fraction is not None:
            say("There is no GPU: gpu_memory_fraction has no effect, and everything runs on the CPU.")
        return torch.device("cpu")
    device = torch.device("cuda", 0)
    if gpu_memory_fraction is not None:
        torch.cuda.set_per_process_memory_fraction(gpu_memory_fraction, device)
    return device


def get_memory_usage(device: torch.device | str | None = None) -> dict[str, float]:
    """Memory of ``device`` (that of :func:`get_device` by default) at this moment, in GB of 2**30 bytes.

    Returns:
        ``total_gb``, ``used_gb``, ``free_gb``, ``percent`` (used), and ``process_gb``: what this process holds
        (on a GPU: what its tensors hold). What torch keeps of a GPU's memory without using it counts as free.
    """
    device = get_device() if device is None else torch.device(device)
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        own = torch.cuda.memory_allocated(device)
        free += torch.cuda.memory_reserved(device) - own
    else:
        memory = psutil.virtual_memory()
        free, total, own = memory.available, memory.total, psutil.Process().memory_info().rss
    return {"total_gb": total / GB, "used_gb": (total - free) / GB, "free_gb": free / GB,
            "percent": 100 * (total - free) / total, "process_gb": own / GB}


def clear_gpu_memory() -> float:
    """Give back GPU memory that torch keeps without using it; GB given back (0 without a GPU)."""
    gc.collect()
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return 0.0
    before = sum(torch.cuda.memory_reserved(k) for k in range(torch.cuda.device_count()))
    torch.cuda.empty_cache()
    torch.cuda.ipc_collect()  # type: ignore[no-untyped-call]
    return (before - sum(torch.cuda.memory_reserved(k) for k in range(torch.cuda.device_count()))) / GB


def suggest_batch_size(model: nn.Module, sample_shape: Sequence[int], device: torch.device | str | None = None, *,
                       free_gb: float | None = None, share: float = 0.8, largest: int = 512) -> int:
    """The largest power of two that should fit into memory in training with AdamW.

    A copy of the network is run on the CPU with two and with four random samples; the bytes it keeps for the way back
    grow by so many a sample. That is an estimate: operators take working space of their own, for which as much again
    is allowed.

    Args:
        model: network; neither its weights nor its running statistics change.
        sample_shape: of one sample, float32, without the batch.
        device: where it will be trained; its free memory counts.
        free_gb: count on this instead, in GB.
        share: of the free memory that may be used.
        largest: never suggest more.

    Raises:
        InputError: not even two samples fit (batch normalisation needs two).
    """
    free = get_memory_usage(device)["free_gb"] if free_gb is None else free_gb
    trial = copy.deepcopy(model).cpu().train()
    with torch.random.fork_rng(devices=[]):
        few, more = (_kept_bytes(trial, (count, *sample_shape)) for count in (2, 4))
    each = _WORKING_SPACE * max((more - few) / 2, 1.0)
    fixed = _TRAINING_COPIES * sum(p.numel() * p.element_size() for p in model.parameters())
    fitting = int((share * free * GB - fixed) / each)
    if fitting < 2:
        raise InputError(f"About {free:.2f} GB are free; the network takes {fixed / GB:.2f} GB in training and "
                         f"{each / GB:.4f} GB a sample", fix="Free some memory, or choose a smaller network")
    return 1 << (min(fitting, max(largest, 2)).bit_length() - 1)


def _kept_bytes(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Bytes that a forward pass keeps for the backward pass, weights counted once."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        held.append(tensor)  # while it is held, its address cannot be given to another
        return tensor

    held: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.randn(shape))
    return sum(kept.values())
