"""biodiversity: the part of a recipe that says how a masked autoencoder learns from observations without their labels.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from groundswell.core.recipe import RecipePart


class PretrainRecipe(RecipePart):
    """The masked autoencoder: what it sees, how large it is, what is hidden from it. How long it trains, and at what
    rate, is said by ``train``."""

    modalities: tuple[str, ...] = ("vision", "language")
    """What is hidden and predicted in turn: vision, language, place, or what was registered beside them."""
    fusion_dim: int = Field(512, ge=2)
    """Width of the space that all modalities share."""
    layers: int = Field(2, ge=1, le=12)
    """Attention blocks between encoders and predictors."""
    heads: int = Field(8, ge=1)
    """Attention heads; they divide fusion_dim."""
    hidden_dim: int = Field(1024, ge=1)
    """Width inside a block."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of activations dropped in training inside the blocks."""
    place_size: Literal["tiny", "small", "base"] = "small"
    """Size of the grid that encodes place and time (place)."""
    mask: tuple[float, ...] = (0.5,)
    """Probability that a modality is hidden, one for all or one for each. Of every observation at least one modality
    stays visible and at least one is hidden."""
    mse_weight: float = Field(1.0, ge=0)
    """Weight of the mean squared error of standardised numbers: 1 is what the mean of the training part scores."""
    cosine_weight: float = Field(0.1, ge=0)
    """Weight of one minus the cosine between a standardised vector and its prediction: direction whatever the length.
    """
    permutations: int = Field(5, ge=1)
    """How often visible and hidden modalities of the tested observations are paired anew, as a control."""

    @model_validator(mode="after")
    def _something_to_predict(self) -> PretrainRecipe:
        if len(self.modalities) < 2 or len(set(self.modalities)) < len(self.modalities):
            raise ValueError("pretrain.modalities names at least two things, each once: one is predicted from another")
        if len(self.mask) not in (1, len(self.modalities)) or not all(0 < p < 1 for p in self.mask):
            raise ValueError(f"pretrain.mask is one probability, or one for each of {len(self.modalities)} modalities, "
                             "between 0 and 1")
        if self.fusion_dim % self.heads:
            raise ValueError(f"pretrain.fusion_dim {self.fusion_dim} cannot be divided among {self.heads} heads")
        if not self.mse_weight and not self.cosine_weight:
            raise ValueError("pretrain.mse_weight and pretrain.cosine_weight cannot both be 0: nothing would be learnt")
        return self

    @property
    def mask_probabilities(self) -> dict[str, float]:
        """Probability of being hidden, by modality."""
        every = self.mask if len(self.mask) > 1 else self.mask * len(self.modalities)
        return dict(zip(self.modalities, every, strict=True))
