"""geomag: several trained networks that answer as one, each weighted by the F1 it reached in validation.

Shape letters: b batch, f minutes of a window, m member, k class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import torch
from torch import Tensor, nn

from groundswell.core.errors import InputError
from groundswell.pipelines.geomag.preprocess import Preprocess

Strategy = Literal["weighted_mean", "voting", "max_confidence"]
STRATEGIES: tuple[Strategy, ...] = ("weighted_mean", "voting", "max_confidence")


class ScaledMember(nn.Module):
    """A network behind the scaling of its own training fold. Its state dict has the names of a trained task's.

    Args:
        network: from scaled windows (b, f) to logits (b, k).
        mean: taken from each minute, (f,).
        scale: each minute is divided by it, (f,).
        detrend: what is taken from each window first; see :class:`~groundswell.pipelines.geomag.preprocess.Preprocess`.
        scaling: "feature" uses ``mean`` and ``scale``, "window" each window's own, "none" neither.

    Raises:
        InputError: mean and scale differ in shape, or a scale is not above zero.
    """

    def __init__(self, network: nn.Module, mean: Tensor, scale: Tensor, *,
                 detrend: Literal["none", "mean", "linear"] = "none",
                 scaling: Literal["feature", "window", "none"] = "feature") -> None:
        super().__init__()
        if mean.dim() != 1 or mean.shape != scale.shape or not bool((scale > 0).all()):
            raise InputError(f"The scaling of a member must be two rows of equal length, the second above zero; they "
                             f"have the shapes {tuple(mean.shape)} and {tuple(scale.shape)}")
        self.network = network
        self.preprocess = Preprocess(len(mean), detrend, scaling)
        self.preprocess.mean.copy_(mean)
        self.preprocess.scale.copy_(scale)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, k) of windows as read, (b, f) or (b, t, i)."""
        # Fields of 50,000 nT lose their variations in half precision, whatever the network runs in.
        with torch.autocast(x.device.type, enabled=False):
            x_bf = self.preprocess(x.flatten(1))
        logits_bk: Tensor = self.network(x_bf)
        return logits_bk


class F1WeightedEnsemble(nn.Module):
    """Members, always in evaluation mode, and the weight of each.

    weighted_mean: mean of the members' probabilities. voting: each member gives its weight to the class it finds most
    likely; of classes with equal shares the first is chosen. max_confidence: for each window the probabilities of the
    member that is surest of its answer, whatever its weight.

    Args:
        models: from windows to logits (b, k); trained.
        weights: one of each, not negative: F1 on validation windows. They are divided by their sum; if all are zero the
            members weigh alike.
        strategy: how the members' answers become one.

    Raises:
        InputError: no members, another number of weights, one that is negative or not finite, an unknown strategy.
    """

    weights: Tensor

    def __init__(self, models: Sequence[nn.Module], weights: Sequence[float],
                 strategy: Strategy = "weighted_mean") -> None:
        super().__init__()
        if strategy not in STRATEGIES:
            raise InputError(f"There is no strategy '{strategy}'", fix=f"Choose one of: {', '.join(STRATEGIES)}")
        self.strategy: Strategy = strategy
        self.members = nn.ModuleList(models)
        self.register_buffer("weights", normalised(weights, len(self.members)))
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: members are not trained any more."""
        return super().train(False)

    def member_probabilities(self, x: Tensor) -> Tensor:
        """What each member says by itself, float32 (m, b, k)."""
        return torch.stack([torch.softmax(member(x).float(), dim=1) for member in self.members])

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities of the classes, float32 (b, k), of windows."""
        return self._joined(self.member_probabilities(x))

    def _joined(self, p_mbk: Tensor) -> Tensor:
        if self.strategy == "max_confidence":
            surest_b = p_mbk.amax(dim=2).argmax(dim=0)
            return p_mbk[surest_b, torch.arange(p_mbk.shape[1], device=p_mbk.device)]
        if self.strategy == "voting":
            p_mbk = nn.functional.one_hot(p_mbk.argmax(dim=2), p_mbk.shape[2]).to(p_mbk)
        return (self.weights.to(p_mbk)[:, None, None] * p_mbk).sum(dim=0)

    @torch.inference_mode()
    def classify_with_confidence(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The ensemble's answers and how far its members agree.

        Returns:
            classes, int64 (b,); confidence, float32 (b,): probability of the chosen class (when voting, its share of
            the votes); variance, float32 (b,): weighted variance among members of their probability of that class.
        """
        p_mbk = self.member_probabilities(x)
        confidence_b, class_b = self._joined(p_mbk).max(dim=1)
        chosen_mb = p_mbk.gather(2, class_b.expand(len(p_mbk), -1)[:, :, None])[:, :, 0]
        weight_m1 = self.weights.to(p_mbk)[:, None]
        apart_mb = chosen_mb - (weight_m1 * chosen_mb).sum(dim=0)
        return class_b, confidence_b, (weight_m1 * apart_mb.square()).sum(dim=0)


def normalised(weights: Sequence[float], members: int) -> Tensor:
    """Weights that sum to 1, float64 (m,); alike if all are zero.

    Raises:
        InputError: there are not as many as members, or one is negative or not finite.
    """
    given = torch.as_tensor([float(weight) for weight in weights], dtype=torch.float64)
    if not members or len(given) != members:
        raise InputError(f"An ensemble of {members} members needs at least one of them and as many weights, not "
                         f"{len(given)}")
    if not bool(torch.isfinite(given).all()) or bool((given < 0).any()):
        raise InputError(f"The weights of an ensemble must be numbers of at least 0, not {given.tolist()}",
                         fix="Give the F1 that each member reached in validation")
    return given / given.sum() if float(given.sum()) else torch.full_like(given, 1 / members)
