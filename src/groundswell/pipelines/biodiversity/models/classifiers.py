"""biodiversity: classifiers of single modalities, as the seed has them, and of several by late fusion.

Shape letters: b batch, w numbers of a vector, d width of the shared space, k class, m modality.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from groundswell.core.errors import InputError
from groundswell.pipelines.biodiversity.models.modalities import Encoder, Modality, Pooled, get_modalities


def _perceptron(width: int, hidden_dim: int, num_classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden_dim), nn.ReLU(), nn.Dropout(dropout),
                         nn.Linear(hidden_dim, hidden_dim), nn.ReLU(), nn.Dropout(dropout),
                         nn.Linear(hidden_dim, num_classes))


class VectorClassifier(nn.Module):
    """A front that makes one vector of what is read, and a perceptron of two hidden layers.

    Args:
        num_classes: number of logits.
        front: module to (b, w); its ``width`` is w.
        hidden_dim: width of the hidden layers.
        dropout: share of their activations dropped in training.
    """

    def __init__(self, num_classes: int, front: nn.Module, hidden_dim: int = 128, dropout: float = 0.2) -> None:
        super().__init__()
        self.front = front
        width = int(getattr(front, "width"))  # noqa: B009 - every front has one
        self.classifier = _perceptron(width, hidden_dim, num_classes, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, k)."""
        logits: Tensor = self.classifier(self.front(x).float())
        return logits


class LanguageClassifier(VectorClassifier):
    """Species from language vectors: 7168, 128, 128, classes; dropout 0.2 (the seed's).

    The vectors are one for each species: it learns to look up, and its score says nothing of new observations.
    """

    def __init__(self, num_classes: int, embedding_dim: int = 7168, hidden_dim: int = 128) -> None:
        super().__init__(num_classes, Pooled(embedding_dim), hidden_dim, 0.2)

    def forward(self, language_embeddings: Tensor) -> Tensor:
        """Logits (b, k) of vectors (b, 7168)."""
        return super().forward(language_embeddings)


class VisionClassifier(VectorClassifier):
    """Species from vision embeddings: mean, 1408, 128, 128, classes; dropout 0.3 (the seed's)."""

    def __init__(self, num_classes: int, hidden_dim: int = 128) -> None:
        super().__init__(num_classes, Pooled(1408), hidden_dim, 0.3)

    def forward(self, vision_embeddings: Tensor) -> Tensor:
        """Logits (b, k) of embeddings (b, 8, 24, 24, 1408), or of any pooled tier: (b, 8, 3, 3, 1408), (b, 8, 1408),
        (b, 1408)."""
        return super().forward(vision_embeddings)


class FusionClassifier(nn.Module):
    """Late fusion: each modality has a classifier of its own, and their opinions are pooled by learnt weights.

    The result is ``sum_m w_m log p_m(k | x_m)`` with ``w_m = exp(log_weights_m) > 0``, a logarithmic opinion pool
    (Genest and Zidek 1986), up to a constant the log-probability of class k. Weights begin at 1 / M; they need not sum
    to one, since independent opinions should add up to more certainty than their mean has. One modality alone has
    weight 1, and the network is then the seed's, to the parameter.

    The classifier of a modality is the seed's perceptron or, with ``encoder_dim``, the masked autoencoder's encoder
    ``<name>_encoder`` of that width, which can start from pretrained weights, and a head ``<name>_head``.

    Args:
        num_classes: number of logits.
        modalities: names, at least one.
        hidden_dim: width of the hidden layers.
        encoder_dim: width of the encoders; 0 for none.
        place_size: size of the place encoder.
        widths: vectors of another width than usual, by name.

    Raises:
        InputError: there is no such modality or size.
    """

    def __init__(self, num_classes: int, modalities: Sequence[str] = ("vision", "language"), *, hidden_dim: int = 128,
                 encoder_dim: int = 0, place_size: str = "small", widths: Mapping[str, int] | None = None) -> None:
        super().__init__()
        found = get_modalities(modalities, widths)
        self.modalities = tuple(modality.name for modality in found)
        for modality in found:
            self._add(modality, num_classes, hidden_dim, encoder_dim, place_size)
        start = torch.full((len(found),), -math.log(len(found)))
        if len(found) > 1:
            self.log_weights = nn.Parameter(start)
        else:
            self.register_buffer("log_weights", start, persistent=False)

    def _add(self, modality: Modality, classes: int, hidden: int, encoder_dim: int, size: str) -> None:
        if not encoder_dim:
            front = modality.front(modality.width, size)
            self.add_module(f"{modality.name}_classifier", VectorClassifier(classes, front, hidden, modality.dropout))
            return
        self.add_module(f"{modality.name}_encoder", Encoder(modality, encoder_dim, size))
        head = nn.Sequential(nn.Dropout(modality.dropout), nn.Linear(encoder_dim, hidden), nn.ReLU(),
                             nn.Dropout(modality.dropout), nn.Linear(hidden, classes))
        self.add_module(f"{modality.name}_head", head)

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each modality's opinion."""
        return dict(zip(self.modalities, self.log_weights.detach().exp().tolist(), strict=True))

    def opinion(self, name: str, raw: Tensor) -> Tensor:
        """Logits (b, k) of one modality alone."""
        if hasattr(self, f"{name}_classifier"):
            return cast(Tensor, self.get_submodule(f"{name}_classifier")(raw))
        shared = self.get_submodule(f"{name}_encoder")(raw)
        return cast(Tensor, self.get_submodule(f"{name}_head")(shared))

    def forward(self, inputs: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> Tensor:
        """Logits (b, k), float32.

        Args:
            inputs: what is read of each modality, by name; further entries are not looked at.
            present: bool (b,) by name: where false, that modality has no say (whatever the input holds there). All
                are there if not given. Without any modality all classes are equally probable.

        Raises:
            InputError: a modality is missing from ``inputs``.
        """
        missing = [name for name in self.modalities if name not in inputs]
        if missing:
            raise InputError(f"The classifier sees {', '.join(self.modalities)}; '{missing[0]}' was not given")
        total: Tensor | None = None
        for name, log_weight in zip(self.modalities, self.log_weights, strict=True):
            raw, there = inputs[name], None if present is None else present.get(name)
            if there is not None:  # whatever stands in for what is missing, even NaN, must not reach the gradient
                raw = torch.where(there.bool().reshape(-1, *[1] * (raw.dim() - 1)), raw, 0.0)
            said = log_weight.exp() * functional.log_softmax(self.opinion(name, raw).float(), dim=1)
            if there is not None:
                said = torch.where(there.bool()[:, None], said, 0.0)
            total = said if total is None else total + said
        assert total is not None
        return total
