"""What the marine pipeline promises and no other file of tests holds: defaults, and defects that must not come back."""

from __future__ import annotations

import pytest

from groundswell.core.recipe import build_recipe
from groundswell.pipelines.marine.recipe import MarineRecipe


@pytest.mark.parametrize("key, value", [("split.seed", 3), ("variants.recall.weight", 0.5), ("train.seed", 1)])
def test_setting_one_key_leaves_its_neighbours_at_their_defaults(key: str, value: float) -> None:
    whole, changed = MarineRecipe().model_dump(), build_recipe(MarineRecipe, {}, [f"{key}={value}"]).model_dump()
    *parents, last = key.split(".")
    place = changed
    for parent in parents:
        place = place[parent]
    assert place.pop(last) == value
    place = whole
    for parent in parents:
        place = place[parent]
    place.pop(last)
    assert changed == whole
    assert (whole["split"]["validation"], whole["split"]["test"]) == (0.15, 0.15)
