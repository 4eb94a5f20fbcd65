"""geomag: the five families of networks and their ensembles, from windows to one logit for each class. Importing this
package imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from groundswell.pipelines.geomag.models.base import Classifier
    from groundswell.pipelines.geomag.recipe import GeomagModelRecipe


def build_model(recipe: GeomagModelRecipe, minutes: int, classes: int = 2) -> Classifier:
    """The network that a recipe names, freshly initialised.

    It takes windows, float32 (batch, ``minutes``), already scaled, and returns logits (batch, ``classes``).

    Args:
        recipe: family and size.
        minutes: of a window; the sequence families take any whole number of days afterwards, the MLP this length only.
        classes: number of logits.

    Raises:
        InputError: the sizes contradict one another.
    """
    from groundswell.pipelines.geomag.layout import MINUTES_A_DAY
    from groundswell.pipelines.geomag.models.base import classifier_class

    dropout, sizes = recipe.dropout_prob, tuple(recipe.hidden_sizes)
    family: Callable[..., Classifier] = classifier_class(recipe.type)
    if recipe.type == "transformer":
        return family(input_size=MINUTES_A_DAY, output_size=classes, d_model=recipe.d_model, nhead=recipe.nhead,
                      num_encoder_layers=recipe.num_encoder_layers, dim_feedforward=recipe.dim_feedforward,
                      dropout_prob=dropout)
    if recipe.type == "mlp":
        return family(input_size=minutes, hidden_sizes=sizes, output_size=classes, dropout_prob=dropout,
                      use_batch_norm=recipe.use_batch_norm, activation=recipe.activation)
    own = {"nonlinearity": recipe.nonlinearity} if recipe.type == "rnn" else {}
    return family(input_size=MINUTES_A_DAY, hidden_sizes=sizes, output_size=classes, dropout_prob=dropout,
                  use_batch_norm=recipe.use_batch_norm, bidirectional=recipe.bidirectional, **own)
