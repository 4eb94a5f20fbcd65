"""splits: how well distances of folds were matched to those of predictions, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from groundswell.splits.spatial_words import metres_text


def matching_in_words(settings: Mapping[str, Any]) -> list[str]:
    """What the settings of a split of regime ``knndm`` say of its distances, in two sentences; of others nothing.

    Args:
        settings: of a manifest, with what :func:`groundswell.splits.knndm.divide_knndm` puts there.
    """
    if "w_of_training" not in settings:
        return []

    def said(value: float) -> str:
        return metres_text(value) if settings["distance_in"] == "m" else f"{value:.3g} {settings['distance_in']}"

    median = {name: said(value) for name, value in settings["median_distance"].items()}
    way = f"{settings['clusters']:,} clusters merged into {settings['folds']} folds"
    if settings["folds_by_chance"]:
        way = "folds by chance; " + ("no clusters come nearer" if settings["candidates"] else
                                     "samples lie no nearer to one another than predictions to them")
    return [f"Median distance to the nearest sample: {median['prediction_to_samples']} from where predictions are "
            f"made; {median['tested_to_other_folds']} from tested samples to other folds "
            f"({median['tested_to_training']} to training), and {median['random_to_other_folds']} if folds were by "
            "chance.",
            f"{way[0].upper()}{way[1:]}: mean difference (Wasserstein) {said(settings['w'])}, by chance "
            f"{said(settings['w_random'])}, of what training keeps {said(settings['w_of_training'])}."]
