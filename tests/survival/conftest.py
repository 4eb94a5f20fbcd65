"""A simulated archive, a recipe that trains on it in a second, and what an uninterrupted run of it leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
from survivors import Command

from groundswell.core.recipe import dump_recipe
from groundswell.pipelines.das.data import WORKFLOW


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``archive/`` and ``recipe.yaml``."""
    folder = tmp_path_factory.mktemp("survival")
    recipe = WORKFLOW.small(folder, 5)
    split = recipe.split.model_copy(update={"regime": "grouped", "validation": 0.3, "test": 0.3})
    train = recipe.train.model_copy(update={"epochs": 3, "batch_size": 4, "checkpoint_every_steps": 2, "keep": 3})
    recipe = recipe.model_copy(update={"split": split, "train": train})
    (folder / "recipe.yaml").write_text(dump_recipe(recipe))
    return folder


@pytest.fixture(scope="session")
def whole(place: Path) -> Path:
    """A run of it that nothing happened to."""
    command = Command(place / "whole-said", "das", "train", place / "recipe.yaml", "--out", place / "whole")
    assert command.end() == 0, command.said
    return place / "whole"
