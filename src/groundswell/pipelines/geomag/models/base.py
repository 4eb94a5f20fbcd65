"""geomag: what all classifiers of windows have in common: shapes, files, and facts about themselves.

Shape letters: b batch, t day, i minutes of a day, f all minutes of a window, h feature, k class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from groundswell.core.errors import InputError
from groundswell.train.weights import read_pth, write_pth

C = TypeVar("C", bound=nn.Module)


class Classifier(nn.Module, ABC):
    """Base of the five families.

    Attributes:
        config: the constructor's arguments by name, plain values.
    """

    config: dict[str, Any]

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, k) of windows."""

    def save_checkpoint(self, filepath: str | Path, optimizer: torch.optim.Optimizer | None = None,
                        epoch: int | None = None, metrics: dict[str, float] | None = None) -> Path:
        """Write weights and architecture, and on request the state of training, as plain values and tensors.

        The file has the keys ``model_class``, ``config``, ``model_state_dict``, ``optimizer_state_dict``, ``epoch`` and
        ``metrics``; ``torch.load(weights_only=True)`` reads it.

        Returns:
            where it was written.

        Raises:
            TypeError: ``metrics`` holds more than plain values.
            FailureError: the disk is full.
        """
        path = Path(filepath)
        write_pth(path, {"model_class": type(self).__name__, "config": dict(self.config),
                         "model_state_dict": self.state_dict(), "epoch": epoch, "metrics": dict(metrics or {}),
                         "optimizer_state_dict": optimizer.state_dict() if optimizer is not None else None})
        return path

    @classmethod
    def load_checkpoint(cls, filepath: str | Path, device: str | torch.device = "cpu") -> Self:
        """The network of a file that :meth:`save_checkpoint` wrote, in evaluation mode.

        Raises:
            InputError: there is no such file, it is damaged, or it is another class's.
        """
        path = Path(filepath)
        content = read_pth(path)
        if not isinstance(content, dict) or not {"model_class", "config", "model_state_dict"} <= content.keys():
            raise InputError("This file holds no classifier with its architecture", where=path,
                             fix="Give a file that save_checkpoint wrote")
        if content["model_class"] != cls.__name__:
            raise InputError(f"The file holds a {content['model_class']}, not a {cls.__name__}", where=path,
                             fix="Load it with its own class")
        return from_parts(cls, content["config"], content["model_state_dict"], path).to(device)

    def get_model_info(self) -> dict[str, Any]:
        """Facts: ``name``, ``total_parameters``, ``trainable_parameters``, ``size_mb`` (10^6 bytes of parameters and
        buffers), ``architecture`` (the constructor's arguments) and ``layers`` (name, type and parameters of each)."""
        held = [*self.parameters(), *self.buffers()]
        layers = [{"name": name, "type": type(layer).__name__, "parameters": sum(p.numel() for p in layer.parameters())}
                  for name, layer in self.named_modules() if name and not list(layer.children())]
        return {"name": type(self).__name__, "total_parameters": sum(p.numel() for p in self.parameters()),
                "trainable_parameters": sum(p.numel() for p in self.parameters() if p.requires_grad),
                "size_mb": sum(tensor.nbytes for tensor in held) / 1e6, "architecture": dict(self.config),
                "layers": layers}

    def monitor_batch_norm_stats(self) -> dict[str, dict[str, Any]]:
        """By batch-norm layer: summaries (mean, std, min, max) of ``running_mean`` and ``running_var``, and
        ``batches_tracked``; empty for a network without batch normalisation."""
        return {name: {"running_mean": _spread(layer.running_mean), "running_var": _spread(layer.running_var),
                       "batches_tracked": int(layer.num_batches_tracked)}
                for name, layer in self.named_modules()
                if isinstance(layer, nn.BatchNorm1d) and layer.running_mean is not None
                and layer.running_var is not None and layer.num_batches_tracked is not None}


def _spread(values: Tensor) -> dict[str, float]:
    values = values.double()
    return {"mean": float(values.mean()), "std": float(values.std(correction=0)), "min": float(values.min()),
            "max": float(values.max())}


def from_parts(kind: type[C], config: dict[str, Any], weights: dict[str, Tensor], where: Path) -> C:
    """A network of ``kind`` with these weights, in evaluation mode.

    Raises:
        InputError: the architecture is not one of ``kind``, or the weights are another network's.
    """
    try:
        network = kind(**config)
        network.load_state_dict(weights)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise InputError(f"These are not the weights and the architecture of one {kind.__name__}: {error}",
                         where=where) from error
    return network.eval()


def classifier_class(name: str) -> type[Classifier]:
    """The class called ``name``: a family as in recipes ("gru") or the class itself ("GRUClassifier").

    Raises:
        InputError: there is none.
    """
    from groundswell.pipelines.geomag.models import mlp, recurrent, transformer

    kinds: tuple[type[Classifier], ...] = (recurrent.GRUClassifier, recurrent.LSTMClassifier, recurrent.RNNClassifier,
                                           mlp.MLPClassifier, transformer.TransformerClassifier)
    known = {kind.__name__: kind for kind in kinds}
    known |= {kind.__name__.removesuffix("Classifier").lower(): kind for kind in kinds}
    if name not in known:
        raise InputError(f"There is no network '{name}'", fix=f"Choose one of: {', '.join(list(known)[len(kinds):])}")
    return known[name]


def as_days(x: Tensor, day: int) -> Tensor:
    """A batch of windows as (b, t, i): flat ones (b, f) are cut into days of ``day`` values.

    Raises:
        InputError: it cannot be cut, or its days have another length.
    """
    if x.dim() == 2 and x.shape[1] and x.shape[1] % day == 0:
        return x.reshape(x.shape[0], -1, day)
    if x.dim() == 3 and x.shape[2] == day and x.shape[1]:
        return x
    raise InputError(f"A batch of shape {tuple(x.shape)} is no batch of windows of days of {day} values",
                     fix=f"Give (windows, days, {day}) or (windows, days * {day})")


def positive(**sizes: int) -> None:
    """See that sizes are at least 1.

    Raises:
        InputError: one is not.
    """
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise InputError(f"{name} must be a whole number of at least 1, not {size!r}")


def checked_sizes(hidden_sizes: Any) -> tuple[int, ...]:
    """Widths of layers as a tuple.

    Raises:
        InputError: there are none, or one is below 1.
    """
    sizes = tuple(hidden_sizes)
    if not sizes:
        raise InputError("hidden_sizes must name at least one layer")
    positive(**{f"hidden_sizes[{k}]": size for k, size in enumerate(sizes)})
    return sizes


def checked_share(dropout_prob: float) -> float:
    """A share of activations to drop.

    Raises:
        InputError: it is not at least 0 and below 1.
    """
    if not 0 <= dropout_prob < 1:
        raise InputError(f"dropout_prob must be at least 0 and below 1, not {dropout_prob!r}")
    return float(dropout_prob)


def xavier(layer: nn.Linear) -> nn.Linear:
    """The layer with uniform Xavier weights (Glorot and Bengio 2010) and biases of zero."""
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
