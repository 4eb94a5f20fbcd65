"""marine: the contrastive loss of MoCo v3: each query finds its own key among the keys of the batch, of all processes.

Shape letters: b image of this process, n image of all processes, d number of a vector.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, distributed


class Keys(NamedTuple):
    """What queries are compared with.

    Attributes:
        vectors: of unit length, (n, d).
        weight: (n,); a key without weight is no rival.
        first: where this process's own keys begin.
    """

    vectors: Tensor
    weight: Tensor
    first: int


def gather(vectors: Tensor, weight: Tensor) -> Keys:
    """The keys (b, d) of this process together with those of all others, which all have as many; no gradient."""
    vectors = F.normalize(vectors.detach().float(), dim=1)
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return Keys(vectors, weight, 0)
    world, rank = distributed.get_world_size(), distributed.get_rank()
    every, weights = ([torch.empty_like(one) for _ in range(world)] for one in (vectors, weight))
    distributed.all_gather(every, vectors.contiguous())
    distributed.all_gather(weights, weight.contiguous())
    return Keys(torch.cat(every), torch.cat(weights), rank * len(vectors))


def contrast(query: Tensor, keys: Keys, weight: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy of finding the own key among all (InfoNCE; van den Oord et al. 2018), and whether it was nearest.

    The own key stands among them once, as what is to be found, and never as a rival: were all other keys at right
    angles to it and it the query itself, the loss would be log(1 + (n - 1) exp(-1 / temperature)).

    Args:
        query: (b, d).
        keys: see :func:`gather`.
        weight: of the queries, (b,); those without weight give 0.
        temperature: of the softmax.

    Returns:
        loss, float32 (b,), and bool (b,).
    """
    likeness = F.normalize(query.float(), dim=1) @ keys.vectors.T / temperature
    counts = weight > 0
    likeness = likeness.masked_fill(counts[:, None] & (keys.weight <= 0)[None], -torch.inf)
    own = keys.first + torch.arange(len(query), device=query.device)
    loss = F.cross_entropy(likeness, own, reduction="none")
    return torch.where(counts, loss, 0.0), counts & (likeness.argmax(1) == own)
