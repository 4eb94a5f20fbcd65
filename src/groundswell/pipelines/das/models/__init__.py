"""das: the networks, from a prepared window to one logit for each class. Importing this package imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from groundswell.pipelines.das.recipe import DasModelRecipe


def build_model(recipe: DasModelRecipe, channels: int, samples: int, classes: int) -> nn.Module:
    """The network that a recipe names.

    ``fibre_cnn`` is called with a prepared window of any number of channels and its spacing; the others with
    ``x_bct``, float32 (batch, ``channels``, ``samples``). All return logits (batch, ``classes``).

    Args:
        recipe: type and size.
        channels: of the windows, after averaging of channels; ``fibre_cnn`` does not use it.
        samples: of the windows, after decimation.
        classes: number of classes.
    """
    width, layers, dropout = recipe.hidden_dim, recipe.num_layers, recipe.dropout
    if recipe.type == "temporal_cnn":
        from groundswell.pipelines.das.models.temporal_cnn import TemporalCnn
        return TemporalCnn(channels, samples, classes, width=width, blocks=layers, dropout=dropout)
    if recipe.type == "lstm":
        from groundswell.pipelines.das.models.lstm import LstmClassifier
        return LstmClassifier(channels, classes, width=width, layers=layers, bidirectional=recipe.bidirectional,
                              dropout=dropout)
    if recipe.type == "transformer":
        from groundswell.pipelines.das.models.transformer import TransformerClassifier
        return TransformerClassifier(channels, samples, classes, width=width, layers=layers, heads=recipe.heads,
                                     dropout=dropout)
    from groundswell.pipelines.das.models.fibre_cnn import FibreCnn
    return FibreCnn(samples, classes, width=width, blocks=layers, dropout=dropout)
