"""How often a fit writes what it can be resumed from."""

from __future__ import annotations

import pytest
from toy import ToySetup, make_recipe

from groundswell.train.fit import fit


@pytest.mark.parametrize(("every", "kept"), [(1, [3, 4, 5]), (2, [2, 4, 5]), (0, [])])
def test_checkpoints_come_as_often_as_asked_and_at_the_end(tmp_path, every, kept) -> None:
    recipe = make_recipe(epochs=5, checkpoint_epochs=every, keep=3, checkpoint_every=0)
    fit(ToySetup(recipe), recipe, tmp_path, quiet=True)
    names = sorted((tmp_path / "checkpoints").glob("*.ckpt"))
    assert [int(path.stem.rsplit("-", 1)[1]) for path in names] == kept


def test_without_checkpoints_a_fit_that_is_begun_again_ends_alike(tmp_path) -> None:
    for name, every in (("whole", 1), ("again", 0), ("again", 0)):
        recipe = make_recipe(epochs=4, checkpoint_epochs=every)
        fit(ToySetup(recipe), recipe, tmp_path / name, resume=True, quiet=True)
    for name in ("logs/epochs.csv", "logs/steps.csv", "weights/best.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
