"""marine: the three levels of augmentation, as changes to a recipe's defaults."""

from __future__ import annotations

from groundswell.pipelines.marine.recipe import AugmentRecipe, Level

LEVELS: dict[Level, dict[str, float]] = {
    "light": {"hsv_h": 0.01, "hsv_s": 0.5, "hsv_v": 0.3, "translate": 0.05, "scale": 0.3, "fliplr": 0.3, "mosaic": 0.5},
    "medium": {},
    "heavy": {"degrees": 10.0, "translate": 0.2, "scale": 0.9, "shear": 5.0, "perspective": 0.001, "flipud": 0.1,
              "mixup": 0.15},
}
"""Of each level: the keys of ``augment`` that differ from the defaults, as the seed has them."""


def augment_of(level: Level, recipe: AugmentRecipe | None = None) -> AugmentRecipe:
    """A level as a recipe.

    Args:
        level: light, medium or heavy.
        recipe: whose keys a level leaves alone are kept (``close_mosaic`` and ``sizes``); None: the defaults'.
    """
    kept = {} if recipe is None else {"close_mosaic": recipe.close_mosaic, "sizes": recipe.sizes}
    return AugmentRecipe.model_validate({**LEVELS[level], **kept})
