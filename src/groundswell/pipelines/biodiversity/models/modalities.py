"""biodiversity: what can be known of an observation, by name. A further kind of embedding is registered, not built in.

Shape letters: b batch, w numbers of a vector, d width of the shared space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from groundswell.core.errors import InputError
from groundswell.pipelines.biodiversity.models.place import VECTOR_WIDTH, PlaceEncoder, place_vector


class Pooled(nn.Module):
    """Mean over all axes between the batch and the vector.

    Args:
        width: numbers of a vector.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """Vectors (b, w), float32 or float64, of (b, ..., w).

        Raises:
            InputError: the last axis is another one, or there is no batch.
        """
        if x.dim() < 2 or x.shape[-1] != self.width:
            raise InputError(f"A batch of shape {tuple(x.shape)} is no batch of vectors of {self.width} numbers")
        x = x if x.dtype == torch.float64 else x.float()
        return x if x.dim() == 2 else x.mean(dim=tuple(range(1, x.dim() - 1)))


class PlaceVector(nn.Module):
    """Module of :func:`~groundswell.pipelines.biodiversity.models.place.place_vector`."""

    width = VECTOR_WIDTH

    def forward(self, x: Tensor) -> Tensor:
        """Float64 (b, 7) of (b, 4)."""
        return place_vector(x)


@dataclass(frozen=True)
class Modality:
    """A kind of input, read as a field of this name.

    Attributes:
        name: a Python identifier.
        width: numbers of the vector that stands for it when it is predicted.
        dropout: share of activations that a classifier of it drops.
        vector: makes the module from what is read to that vector, (b, width); given ``width``.
        front: makes the module from what is read to what encoders and classifiers begin with, (b, ``.width``); given
            ``width`` and the size of the place encoder.
        is_vector: what is read is such vectors itself, (b, ..., width), and encoders standardise them.
    """

    name: str
    width: int
    dropout: float = 0.2
    vector: Callable[[int], nn.Module] = Pooled
    front: Callable[[int, str], nn.Module] = lambda width, size: Pooled(width)
    is_vector: bool = True


def _place_front(width: int, size: str) -> nn.Module:
    return PlaceEncoder(size)


_KNOWN = {modality.name: modality for modality in (
    Modality("vision", 1408, dropout=0.3), Modality("language", 7168),
    Modality("place", VECTOR_WIDTH, vector=lambda width: PlaceVector(), front=_place_front, is_vector=False))}


def register(modality: Modality) -> None:
    """Make a modality known by its name, for this process.

    Raises:
        InputError: the name is no identifier, or taken by another one.
    """
    if not modality.name.isidentifier():
        raise InputError(f"'{modality.name}' cannot be the name of a modality", fix="Use letters, digits and '_'")
    if _KNOWN.setdefault(modality.name, modality) != modality:
        raise InputError(f"There is a modality '{modality.name}' already", fix="Give the new one another name")


def known_modalities() -> tuple[str, ...]:
    """Names of all modalities."""
    return tuple(_KNOWN)


def get_modalities(names: Iterable[str], widths: Mapping[str, int] | None = None) -> list[Modality]:
    """The modalities of these names.

    Args:
        names: at least one, each once.
        widths: vectors that are of another width than usual, by name; what is read as something else is passed over.

    Raises:
        InputError: none is named, one twice, or one is not known.
    """
    names = list(names)
    unknown = [name for name in names if name not in _KNOWN]
    if unknown:
        raise InputError(f"There is no modality '{unknown[0]}'", where="modalities",
                         fix=f"Choose from: {', '.join(_KNOWN)}; or register it")
    if not names or len(set(names)) < len(names):
        raise InputError(f"A network needs at least one modality, each once, not [{', '.join(names)}]",
                         where="modalities")
    widths = widths or {}
    return [replace(_KNOWN[name], width=widths[name]) if name in widths and _KNOWN[name].is_vector else _KNOWN[name]
            for name in names]


class Encoder(nn.Module):
    """From what is read to the space that modalities share: linear, layer normalisation, ReLU, as the seed has it.

    Vectors are standardised first by ``mean`` and ``scale``, kept with the weights; 0 and 1 at the beginning.

    Args:
        modality: what is read.
        dim: width of the shared space.
        size: of the place encoder.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, modality: Modality, dim: int, size: str = "small") -> None:
        super().__init__()
        self.front = modality.front(modality.width, size)
        self.width = int(getattr(self.front, "width"))  # noqa: B009 - every front has one
        self.layers = nn.Sequential(nn.Linear(self.width, dim), nn.LayerNorm(dim), nn.ReLU())
        self.register_buffer("mean", torch.zeros(self.width))
        self.register_buffer("scale", torch.ones(self.width))

    def lift(self, raw: Tensor) -> Tensor:
        """What the first layer is given, float32 (b, ``width``)."""
        lifted: Tensor = (self.front(raw) - self.mean) / self.scale
        return lifted.float()

    def project(self, lifted: Tensor) -> Tensor:
        """The shared space (b, d) of what :meth:`lift` gave."""
        shared: Tensor = self.layers(lifted)
        return shared

    def forward(self, raw: Tensor) -> Tensor:
        """The shared space (b, d) of a batch as it is read."""
        return self.project(self.lift(raw))
