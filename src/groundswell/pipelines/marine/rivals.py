"""marine: what stands beside a detector's score, with the truth and the fits that it takes."""

from __future__ import annotations

from collections.abc import Callable

from groundswell.core.errors import InputError
from groundswell.evaluate.controls import Control, Fit, Runner
from groundswell.evaluate.detection_controls import DETECTION_CONTROLS, class_prior, permuted_boxes
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.labels import ClassMap
from groundswell.pipelines.marine.recipe import MarineRecipe
from groundswell.pipelines.marine.truth import truth_of


def marine_controls(recipe: MarineRecipe, images: ImageSet, told: ClassMap,
                    fit_of: Callable[[str], Fit]) -> list[tuple[Control, Runner]]:
    """The controls that a recipe names.

    Raises:
        InputError: there is none of a name.
    """
    runners: dict[str, Callable[[], Runner]] = {
        "class_prior": lambda: class_prior(lambda table: truth_of(images, told, table), most=recipe.evaluate.most,
                                           seed=recipe.split.seed),
        "permuted_labels": lambda: permuted_boxes(fit_of("permuted_labels"), recipe.split.seed)}
    unknown = [name for name in recipe.evaluate.controls if name not in runners]
    if unknown:
        raise InputError(f"There is no control '{unknown[0]}' here", where="evaluate.controls",
                         fix=f"Choose from: {', '.join(runners)}")
    return [(DETECTION_CONTROLS[name], runners[name]()) for name in recipe.evaluate.controls]
