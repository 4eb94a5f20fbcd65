"""splits: the part of a recipe that says who may see what."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from groundswell.core.recipe import RecipePart


class SplitRecipe(RecipePart):
    """How samples are divided. Groups are never divided."""

    regime: Literal["grouped", "kfold", "leave_one_out", "ungrouped"] = "grouped"
    """grouped: train/validation/test by group; kfold: folds of groups; leave_one_out: one group a fold;
    ungrouped: samples by chance (leaks; only with allow_leakage)."""
    validation: float = Field(0.2, gt=0, lt=1)
    """Share of all groups for validation (grouped), or of a fold's training groups (kfold, leave_one_out)."""
    test: float = Field(0.1, gt=0, lt=1)
    """Share of all groups for the test (grouped only)."""
    folds: int = Field(5, ge=2)
    """Number of folds (kfold only)."""
    seed: int = 42
    """Of the drawing of groups."""
    allow_leakage: str = ""
    """Why a split that fails its audit may be trained on all the same; the reason stands beside every number."""

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> SplitRecipe:
        if self.regime == "grouped" and self.validation + self.test >= 1:
            raise ValueError("validation and test together leave nothing to train on")
        return self
