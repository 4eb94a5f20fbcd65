"""biodiversity: networks from embeddings, places and times to species. Importing this package imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from groundswell.pipelines.biodiversity.models.classifiers import FusionClassifier
    from groundswell.pipelines.biodiversity.recipe import BiodiversityModelRecipe


def build_network(recipe: BiodiversityModelRecipe, widths: Mapping[str, int], classes: int) -> FusionClassifier:
    """The classifier that a recipe names, freshly initialised.

    With ``init_from`` it has the encoders of that pretraining; their weights are copied by
    :func:`groundswell.pipelines.biodiversity.pretrained.init_from`.

    Args:
        recipe: modalities and sizes.
        widths: numbers of a vector, by modality.
        classes: number of logits.

    Raises:
        InputError: there is no such modality or pretraining, or embeddings would be scaled twice.
    """
    from groundswell.core.errors import InputError
    from groundswell.pipelines.biodiversity.models.classifiers import FusionClassifier

    encoder_dim, size = 0, recipe.place_size
    if recipe.init_from:
        from groundswell.pipelines.biodiversity.pretrained import Pretrained

        run = Pretrained.open(Path(recipe.init_from))
        encoder_dim, size = run.fusion_dim, run.place_size
        if recipe.scaling != "none":
            raise InputError("Pretrained encoders scale embeddings themselves, as they were pretrained",
                             where=f"model.scaling={recipe.scaling}", fix="Set model.scaling=none")
    return FusionClassifier(classes, recipe.modalities, hidden_dim=recipe.hidden_dim, encoder_dim=encoder_dim,
                            place_size=size, widths=widths)
