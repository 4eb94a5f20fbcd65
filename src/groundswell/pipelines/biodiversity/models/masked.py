"""biodiversity: the masked autoencoder, which learns what kinds of observation have to do with each other.

Shape letters: b batch, m modality, w numbers of a vector, d width of the shared space, h head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from groundswell.core.errors import InputError
from groundswell.pipelines.biodiversity.models.modalities import Encoder, Modality, get_modalities

SHORT = 0.3
"""See :meth:`MultimodalMaskedAutoencoder.losses`."""


class Block(nn.Module):
    """Attention among the modalities of an observation and a perceptron for each, both residual and pre-normalised.

    Args:
        dim: width.
        heads: they divide it.
        hidden_dim: width inside the perceptron.
        dropout: share of what either adds that is dropped in training.
    """

    def __init__(self, dim: int, heads: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(dim), nn.LayerNorm(dim)])
        self.asked = nn.Linear(dim, 3 * dim)
        self.answered = nn.Linear(dim, dim)
        self.perceptron = nn.Sequential(nn.Linear(dim, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_bmd: Tensor) -> Tensor:
        """Of the same shape (b, m, d)."""
        batch, tokens, dim = x_bmd.shape
        asked = self.asked(self.norms[0](x_bmd)).reshape(batch, tokens, 3, self.heads, dim // self.heads)
        query, key, value = asked.permute(2, 0, 3, 1, 4).unbind(0)  # b h m d/h
        seen = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, tokens, dim)
        x_bmd = x_bmd + self.dropout(self.answered(seen))
        added: Tensor = self.dropout(self.perceptron(self.norms[1](x_bmd)))
        return x_bmd + added


class MultimodalMaskedAutoencoder(nn.Module):
    """Predicts hidden modalities of an observation from visible ones (the seed's idea; masks act on what goes *in*).

    Of a hidden modality the first layer is given a learnt token in the place of the observation's own numbers, so that
    nothing of them can reach the prediction. Encoders (linear, layer normalisation, ReLU) lead to a shared space;
    blocks of attention let each modality look at the others; a linear layer predicts each. Predictors begin at zero:
    before any training the prediction is the mean.

    A mask is bool or float (b,), and 1 means hidden, to be predicted. (In the seed masks multiply predictions, 1
    keeping them: the modalities it keeps are those that are hidden here.)

    Args:
        vision_dim, language_dim: numbers of their vectors.
        fusion_dim: width of the shared space.
        modalities: names, at least two.
        layers: blocks.
        heads: of attention.
        hidden_dim: width inside the blocks.
        dropout: inside the blocks, in training.
        place_size: size of the place encoder.
        widths: vectors of other modalities that are of another width than usual, by name.

    Raises:
        InputError: there are fewer than two modalities, one is not known, or heads do not divide the width.
    """

    def __init__(self, vision_dim: int = 1408, language_dim: int = 7168, fusion_dim: int = 512, *,
                 modalities: Sequence[str] = ("vision", "language"), layers: int = 2, heads: int = 8,
                 hidden_dim: int = 1024, dropout: float = 0.1, place_size: str = "small",
                 widths: Mapping[str, int] | None = None) -> None:
        super().__init__()
        found = get_modalities(modalities, {"vision": vision_dim, "language": language_dim, **(widths or {})})
        if len(found) < 2:
            raise InputError("A masked autoencoder needs at least two modalities: one is predicted from another")
        if fusion_dim % heads:
            raise InputError(f"A width of {fusion_dim} cannot be divided among {heads} heads")
        self.modalities = tuple(modality.name for modality in found)
        self.fusion_dim, self.place_size = fusion_dim, place_size
        self.widths = {modality.name: modality.width for modality in found}
        self._same = {modality.name for modality in found if modality.is_vector}
        for modality in found:
            self._add(modality)
        self.kinds = nn.Parameter(torch.randn(len(found), fusion_dim) * 0.02)
        self.blocks = nn.Sequential(*(Block(fusion_dim, heads, hidden_dim, dropout) for _ in range(layers)))
        self.norm = nn.LayerNorm(fusion_dim)

    def _add(self, modality: Modality) -> None:
        name, encoder = modality.name, Encoder(modality, self.fusion_dim, self.place_size)
        self.add_module(f"{name}_encoder", encoder)
        self.register_parameter(f"{name}_token", nn.Parameter(torch.randn(encoder.width) * 0.02))
        predictor = nn.Linear(self.fusion_dim, modality.width)
        nn.init.zeros_(predictor.weight)
        nn.init.zeros_(predictor.bias)
        self.add_module(f"{name}_predictor", predictor)
        self.add_module(f"{name}_vector", modality.vector(modality.width))
        self.register_buffer(f"{name}_mean", torch.zeros(modality.width))
        self.register_buffer(f"{name}_scale", torch.ones(modality.width))

    def standardise_by(self, moments: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Take means and standard deviations of vectors, each (w,), by modality; kept with the weights.

        Numbers that do not vary, but for rounding, are only centred.
        """
        for name, (mean, deviation) in moments.items():
            scale = torch.where(deviation > 1e-6 * mean.abs() + 1e-12, deviation, 1.0)
            buffers = [(f"{name}_mean", mean), (f"{name}_scale", scale)]
            if name in self._same:
                buffers += [(f"{name}_encoder.mean", mean), (f"{name}_encoder.scale", scale)]
            for buffer, value in buffers:
                self.get_buffer(buffer).copy_(value)

    def vector(self, name: str, raw: Tensor) -> Tensor:
        """What stands for a modality when it is predicted, float32 or float64 (b, w), not standardised."""
        return cast(Tensor, self.get_submodule(f"{name}_vector")(raw))

    def standardised(self, name: str, vector: Tensor) -> Tensor:
        """Float32 (b, w) of such a vector or its prediction."""
        scaled: Tensor = (vector - self.get_buffer(f"{name}_mean")) / self.get_buffer(f"{name}_scale")
        return scaled.float()

    def reconstruct(self, inputs: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Predict all modalities from those of ``inputs`` that ``masks`` do not hide.

        Args:
            inputs: what is read of each modality, by name; further entries are not looked at.
            masks: bool or float (b,), 1 for hidden, by name; a modality without one is visible.

        Returns:
            ``<name>_reconstruction`` (b, w) in the units of the vector, float32: of what is visible it is a mere copy
            with losses; and ``shared_<name>`` (b, d), what the encoder makes of what it was shown.

        Raises:
            InputError: a modality is missing, or an observation has nothing visible.
        """
        hidden = {name: mask.bool() for name, mask in masks.items() if name in self.modalities}
        self._check(inputs, hidden)
        shared = []
        for name in self.modalities:
            encoder = cast(Encoder, self.get_submodule(f"{name}_encoder"))
            lifted = encoder.lift(inputs[name])
            if name in hidden:
                lifted = torch.where(hidden[name][:, None], self.get_parameter(f"{name}_token"), lifted)
            shared.append(encoder.project(lifted))
        fused = self.norm(self.blocks(torch.stack(shared, dim=1) + self.kinds))
        found = {}
        for k, name in enumerate(self.modalities):
            predicted = self.get_submodule(f"{name}_predictor")(fused[:, k]).float()
            found[f"{name}_reconstruction"] = (predicted * self.get_buffer(f"{name}_scale")
                                               + self.get_buffer(f"{name}_mean"))
            found[f"shared_{name}"] = shared[k]
        return found

    def _check(self, inputs: Mapping[str, Tensor], hidden: Mapping[str, Tensor]) -> None:
        missing = [name for name in self.modalities if name not in inputs]
        if missing:
            raise InputError(f"The autoencoder was not given '{missing[0]}'",
                             fix=f"It takes {', '.join(self.modalities)}")
        if torch.compiler.is_exporting() or len(hidden) < len(self.modalities):
            return
        blind = torch.stack(list(hidden.values())).all(0)
        if bool(blind.any()):
            raise InputError(f"{int(blind.sum())} observation(s) of a batch have every modality hidden, so that "
                             "nothing is left to predict from", fix="Leave at least one visible")

    def cross_modal(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Predict each modality from all others, itself being hidden.

        Returns:
            as :meth:`reconstruct`, but every prediction is of something hidden, and ``shared_<name>`` of what is read.
        """
        found: dict[str, Tensor] = {}
        for name in self.modalities:
            mask = torch.ones(inputs[name].shape[0], dtype=torch.bool, device=inputs[name].device)
            outputs = self.reconstruct(inputs, {name: mask})
            found[f"{name}_reconstruction"] = outputs[f"{name}_reconstruction"]
            for other in self.modalities:
                if other != name:
                    found[f"shared_{other}"] = outputs[f"shared_{other}"]
        return found

    def forward(self, vision_emb: Tensor, language_emb: Tensor, vision_mask: Tensor | None = None,
                language_mask: Tensor | None = None, **more: Tensor | None) -> dict[str, Tensor]:
        """The seed's call. Without any mask each modality is predicted from the others.

        Args:
            vision_emb: (b, ..., 1408), of any tier.
            language_emb: (b, 7168).
            vision_mask, language_mask: (b,), 1 for hidden; see :meth:`reconstruct`.
            more: further modalities by name, and their masks as ``<name>_mask``.

        Returns:
            ``vision_reconstruction`` (b, 1408), ``language_reconstruction`` (b, 7168), ``shared_vision`` and
            ``shared_language`` (b, d), and the like of further modalities.

        Raises:
            InputError: a modality is missing, or an observation has nothing visible.
        """
        given = {"vision": vision_emb, "language": language_emb, "vision_mask": vision_mask,
                 "language_mask": language_mask, **more}
        known = {key for name in self.modalities for key in (name, f"{name}_mask")}
        strange = [key for key, value in given.items() if key not in known and value is not None]
        if strange:
            raise InputError(f"The autoencoder of {', '.join(self.modalities)} takes no '{strange[0]}'")
        inputs = {name: value for name in self.modalities if (value := given.get(name)) is not None}
        masks = {name: mask for name in self.modalities if (mask := given.get(f"{name}_mask")) is not None}
        return self.reconstruct(inputs, masks) if masks else self.cross_modal(inputs)

    def losses(self, outputs: Mapping[str, Tensor], inputs: Mapping[str, Tensor], masks: Mapping[str, Tensor], *,
               mse_weight: float = 1.0, cosine_weight: float = 0.1) -> dict[str, Tensor]:
        """How far predictions are off, of hidden modalities alone.

        Vectors are standardised by the training part, so that no few large numbers outweigh the rest and 1 is what the
        mean scores. On them the squared error, averaged over numbers, says how much is explained, and is what is
        reported; where little can be known its best prediction shrinks to the mean, and there it hardly cares for
        direction, which is what embeddings are compared by. One minus the cosine does, whatever the length. Of
        predictions shorter than :data:`SHORT` root mean square the product with the truth stands for the cosine, whose
        slope grows without bound towards zero, where predictions begin.

        Returns:
            ``loss`` (b,): the weighted sum of both, averaged over the observation's hidden modalities, 0 where none is;
            and for each modality, hidden or not, ``<name>_error`` (b,), the squared error, and ``<name>_reference``
            (b,), that of the training part's mean.
        """
        found: dict[str, Tensor] = {}
        total, count = [], []
        for name in self.modalities:
            with torch.no_grad():
                truth = self.standardised(name, self.vector(name, inputs[name]))
            predicted = self.standardised(name, outputs[f"{name}_reconstruction"])
            error = (predicted - truth).square().mean(dim=1)
            aligned = functional.cosine_similarity(predicted, truth, dim=1, eps=SHORT * truth.shape[1] ** 0.5)
            found |= {f"{name}_error": error, f"{name}_reference": truth.square().mean(dim=1)}
            if name in masks:
                hidden = masks[name].bool()
                total.append(torch.where(hidden, mse_weight * error + cosine_weight * (1 - aligned), 0.0))
                count.append(hidden.float())
        if not total:
            return {**found, "loss": torch.zeros_like(found[f"{self.modalities[0]}_error"])}
        return {**found, "loss": torch.stack(total).sum(0) / torch.stack(count).sum(0).clamp(min=1)}
