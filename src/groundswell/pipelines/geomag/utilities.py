"""geomag: the small tools of a training loop at the notebook: log, device, class weights, network.

The other tools are beside it and can be imported from here too: batches (``loading``), epochs and scores (``epochs``),
checkpoints (``checkpoints``), shapes (``reshaping``). Runs (``groundswell geomag train``) need none of this.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from groundswell.core.errors import InputError
from groundswell.core.files import inside
from groundswell.core.progress import QUIET, say
from groundswell.pipelines.geomag.checkpoints import load_checkpoint, save_checkpoint
from groundswell.pipelines.geomag.environment import set_random_seeds
from groundswell.pipelines.geomag.epochs import calculate_binary_metrics, run_epoch
from groundswell.pipelines.geomag.loading import (
    create_balanced_sampler,
    create_data_loaders,
    create_data_loaders_balanced,
)
from groundswell.pipelines.geomag.reshaping import (
    add_positional_encoding,
    prepare_mlp_data,
    reshape_data_for_gru,
    reshape_data_for_lstm,
    reshape_data_for_rnn,
    reshape_data_for_transformer,
)
from groundswell.train.imbalance import Method, class_weights

__all__ = [
    "add_positional_encoding", "calculate_binary_metrics", "calculate_class_weights", "count_parameters",
    "create_balanced_sampler", "create_data_loaders", "create_data_loaders_balanced", "create_model", "load_checkpoint",
    "prepare_mlp_data", "reshape_data_for_gru", "reshape_data_for_lstm", "reshape_data_for_rnn",
    "reshape_data_for_transformer", "run_epoch", "save_checkpoint", "set_seed", "setup_device", "setup_logging"]

LOGGER = "groundswell.geomag"
_ONE_DEVICE = ("A network at the notebook runs on one device. To share its batches among several, train by recipe: "
               "groundswell geomag train RECIPE --set train.devices=")


def setup_logging(log_file: str = "training.log", log_dir: str | Path | None = None, level: int | str = logging.INFO,
                  include_timestamp: bool = True) -> logging.Logger:
    """A logger that writes to a file and to the terminal (stderr; not where quiet is asked for).

    Calling again closes the file before it and begins another.

    Args:
        log_file: name inside the folder; with ``include_timestamp`` as ``training_20031029_061100.log`` (local time).
        log_dir: folder, made if need be; absent, that of the environment variable LOG_DIR, or ``./logs``.
        level: lowest level that is written, as a number or a name.
        include_timestamp: put the time into the file's name.

    Raises:
        InputError: an unknown level, a name that leads out of the folder, or a folder that cannot be written to.
    """
    number = logging.getLevelNamesMapping().get(level.upper()) if isinstance(level, str) else level
    if number is None:
        raise InputError(f"There is no logging level '{level}'", fix="Choose DEBUG, INFO, WARNING or ERROR")
    folder = Path(log_dir if log_dir is not None else os.environ.get("LOG_DIR") or "logs")
    path = inside(folder, log_file)
    if include_timestamp:
        path = path.with_name(f"{path.stem}_{datetime.now():%Y%m%d_%H%M%S}{path.suffix}")
    logger = logging.getLogger(LOGGER)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers: list[logging.Handler] = [logging.FileHandler(path, encoding="utf-8")]
    except OSError as error:
        raise InputError(f"The log cannot be written: {error.strerror}", where=path,
                         fix="Choose another log_dir") from error
    if not os.environ.get(QUIET):
        handlers.append(logging.StreamHandler())
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(number)
    logger.propagate = False
    return logger


def setup_device(gpu_ids: Sequence[int] | None = None) -> tuple[torch.device, list[int]]:
    """The device to train on, and the GPUs it stands for.

    Args:
        gpu_ids: GPUs to use, the first of which is the device; absent, the first there is, or the CPU; empty, the CPU.

    Returns:
        ``(device, gpu_ids)``; no ids on the CPU.

    Raises:
        InputError: there is no such GPU.
    """
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpu_ids is None:
        if there > 1:
            say(f"{there} GPUs are here, and the first is used. {_ONE_DEVICE}{there}")
        gpu_ids = range(min(there, 1))
    missing = [k for k in gpu_ids if not 0 <= k < there]
    if missing:
        raise InputError(f"There is no GPU {', '.join(map(str, missing))}: {there} GPU(s) are here",
                         where="gpu_ids", fix="Leave gpu_ids out to use what there is")
    if len(gpu_ids) > 1:
        say(f"GPU {gpu_ids[0]} of {len(gpu_ids)} is used. {_ONE_DEVICE}{len(gpu_ids)}")
    return (torch.device("cuda", gpu_ids[0]) if gpu_ids else torch.device("cpu")), list(gpu_ids)


def set_seed(seed: int = 42, strict: bool = False) -> None:
    """Seed all chance; see :func:`groundswell.pipelines.geomag.environment.set_random_seeds`."""
    set_random_seeds(seed, strict)


def calculate_class_weights(labels: ArrayLike | Tensor, method: Method = "inverse", normalize: bool = True) -> Tensor:
    """Weights by class for ``nn.CrossEntropyLoss(weight=...)``; see :func:`~groundswell.train.imbalance.class_weights`.

    Args:
        labels: of the training samples only, whole numbers from 0, shape (n,).
        method: inverse, balanced (the same), sqrt or effective.
        normalize: scale so that the mean weight over the samples is 1; inverse weights are so by their formula.

    Returns:
        float32, shape (classes,).
    """
    known = _classes_of(labels)
    weights = class_weights(known, int(known.max(initial=1)) + 1, method, normalise=normalize)
    return torch.as_tensor(weights, dtype=torch.float32)


def _classes_of(labels: ArrayLike | Tensor) -> NDArray[np.int64]:
    return np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels).astype(np.int64).ravel()


def create_model(model_class: type[nn.Module], input_size: int, hidden_sizes: Sequence[int] | None = None,
                 output_size: int = 2, dropout_prob: float = 0.3, device: torch.device | str | None = None,
                 device_ids: Sequence[int] | None = None, **more: Any) -> nn.Module:
    """A network on its device.

    Args:
        model_class: such as ``GRUClassifier``.
        input_size: features of a step, or of a whole window (MLP).
        hidden_sizes: width of each layer; passed on only where given and where the class has layers of such widths.
        output_size: classes.
        dropout_prob: share of activations dropped in training.
        device: where it goes; absent, the first of ``device_ids``, or the CPU.
        device_ids: GPUs. One is used: several are not wrapped in DataParallel, and a line says what to do instead.
        more: whatever else the class takes, such as ``bidirectional`` or ``nhead``.

    Raises:
        InputError: the class cannot be made with these.
    """
    ids = list(device_ids or ())
    given = {"input_size": input_size, "output_size": output_size, "dropout_prob": dropout_prob, **more}
    if hidden_sizes is not None:
        if _takes(model_class, "hidden_sizes"):
            given["hidden_sizes"] = list(hidden_sizes)
        else:
            say(f"{model_class.__name__} has no hidden_sizes; they are left out.")
    try:
        model = model_class(**given)
    except TypeError as error:
        raise InputError(f"{model_class.__name__} cannot be made with these: {error}", where="create_model",
                         fix=f"It is called as {model_class.__name__}{inspect.signature(model_class)}") from error
    if len(ids) > 1:
        say(f"{model_class.__name__} goes to one device, not to the {len(ids)} named. {_ONE_DEVICE}{len(ids)}")
    return model.to(device if device is not None else torch.device("cuda", ids[0]) if ids else "cpu")


def _takes(model_class: type[nn.Module], name: str) -> bool:
    parameters = inspect.signature(model_class).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def count_parameters(model: nn.Module, trainable_only: bool = True) -> int:
    """How many numbers training may change, or how many there are."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable_only)
