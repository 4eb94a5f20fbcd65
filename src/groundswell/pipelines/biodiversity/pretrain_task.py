"""biodiversity: the task of pretraining, which hides modalities of observations and scores how they are predicted.

Shape letters: b batch, w numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from groundswell.core.errors import InputError
from groundswell.pipelines.biodiversity.models.masked import MultimodalMaskedAutoencoder
from groundswell.pipelines.biodiversity.pretrain_recipe import PretrainRecipe
from groundswell.train.setup import Batches
from groundswell.train.task import Batch, Sums, Task


class PretrainTask(Task):
    """The masked autoencoder with its masks, losses and metrics. A batch has a field for each modality; labels are not
    looked at.

    In training the masks are drawn anew for each batch (:func:`draw_masks`). In validation each modality is hidden in
    turn and predicted from all others, so that its loss is free of chance.

    Args:
        recipe: of the autoencoder.
        widths: numbers of a vector, by modality, where they are not the usual ones.

    Raises:
        InputError: there is no such modality.
    """

    lower_is_better: ClassVar[frozenset[str]] = frozenset({"loss", "error"})

    def __init__(self, recipe: PretrainRecipe, widths: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.recipe = recipe
        self.network = MultimodalMaskedAutoencoder(
            fusion_dim=recipe.fusion_dim, modalities=recipe.modalities, layers=recipe.layers, heads=recipe.heads,
            hidden_dim=recipe.hidden_dim, dropout=recipe.dropout, place_size=recipe.place_size, widths=widths)

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> tuple[Tensor, Sums]:
        """Loss and sums; see :class:`~groundswell.train.task.Task`."""
        weight = batch["weight"].float()
        inputs = {name: batch[name] for name in self.recipe.modalities}
        if generator is not None:
            masks = draw_masks(self.recipe.mask_probabilities, len(weight), generator, weight.device)
            outputs = self.network.reconstruct(inputs, masks)
        else:
            masks = {name: torch.ones_like(weight, dtype=torch.bool) for name in inputs}
            outputs = self.network.cross_modal(inputs)
        found = self.network.losses(outputs, inputs, masks, mse_weight=self.recipe.mse_weight,
                                    cosine_weight=self.recipe.cosine_weight)
        total = (found["loss"] * weight).sum()
        loss = total / weight.sum().clamp(min=torch.finfo(torch.float32).tiny)
        with torch.no_grad():
            sums = {"loss_sum": total.double(), "count": weight.sum().double()}
            for name, mask in masks.items():
                counted = weight.double() * mask
                for what in ("error", "reference"):
                    sums[f"{name}_{what}"] = (found[f"{name}_{what}"].double() * counted).sum()
        return loss, sums

    def metrics(self, sums: Sums) -> dict[str, float]:
        """``loss``; ``error_<name>``, the squared error of standardised vectors over that of the training part's mean,
        which is 1; and ``error``, the mean of these."""
        tiny = torch.finfo(torch.float64).tiny
        errors = {f"error_{name}": float(sums[f"{name}_error"] / sums[f"{name}_reference"].clamp(min=tiny))
                  for name in self.recipe.modalities}
        return {"loss": float(sums["loss_sum"] / sums["count"].clamp(min=tiny)),
                "error": sum(errors.values()) / len(errors), **errors}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """Each modality predicted from all others: ``<name>_reconstruction``, float32 (b, w), in its own units."""
        outputs = self.network.cross_modal({name: batch[name] for name in self.recipe.modalities})
        return {f"{name}_reconstruction": outputs[f"{name}_reconstruction"] for name in self.recipe.modalities}

    def standardise_by(self, batches: Batches) -> None:
        """Take means and spreads of all vectors from one pass over the training part, summed in float64.

        Raises:
            InputError: a vector is not finite.
        """
        sums: Sums = {}
        for batch in batches.iterate(0):
            real = batch["weight"] > 0
            for name in self.recipe.modalities:
                vector = self.network.vector(name, batch[name][real]).double()
                bad = ~torch.isfinite(vector).all(dim=1)
                if bool(bad.any()):
                    row = int(batch["row"][real][bad][0])
                    raise InputError(f"A vector of {name} is not finite", where=f"row {row} of the sample table",
                                     fix="Leave out observations whose vectors are missing")
                for key, value in ((f"{name}_1", vector.sum(0)), (f"{name}_2", vector.square().sum(0))):
                    sums[key] = sums[key] + value if key in sums else value
            sums["count"] = sums.get("count", torch.zeros(())) + real.sum()
        moments = {}
        for name in self.recipe.modalities:
            mean = sums[f"{name}_1"] / sums["count"]
            moments[name] = (mean, (sums[f"{name}_2"] / sums["count"] - mean.square()).clamp(min=0).sqrt())
        self.network.standardise_by(moments)


def draw_masks(probabilities: Mapping[str, float], batch: int, generator: torch.Generator | None = None,
               device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Which modalities of which observations are hidden: bool (b,) by name.

    Each is hidden with its own probability. Where nothing would be hidden, one is, in proportion to the probabilities;
    where everything would be, one is left visible, in proportion to their complements. So of each observation at least
    one is visible and at least one is to be predicted.

    Args:
        probabilities: of at least two modalities, each between 0 and 1 exclusively.
        batch: observations.
        generator: source of chance, on ``device``; torch's own if not given.
        device: where the masks are wanted.
    """
    chance = torch.tensor(list(probabilities.values()), device=device).expand(batch, -1)
    hidden = torch.rand(batch, chance.shape[1], generator=generator, device=device) < chance
    one = torch.zeros_like(hidden).scatter(1, torch.multinomial(chance, 1, generator=generator), True)
    hidden = torch.where(hidden.any(1, keepdim=True), hidden, one)
    one = torch.zeros_like(hidden).scatter(1, torch.multinomial(1 - chance, 1, generator=generator), True)
    hidden = torch.where(hidden.all(1, keepdim=True), ~one, hidden)
    return dict(zip(probabilities, hidden.unbind(1), strict=True))
