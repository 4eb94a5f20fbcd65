"""splits: the part of a recipe that says who may see what."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from groundswell.core.recipe import RecipePart

Regime = Literal["grouped", "kfold", "leave_one_out", "blocks", "stratified", "ungrouped"]


class SplitRecipe(RecipePart):
    """How samples are divided. Groups are never divided, except by stratified and ungrouped."""

    regime: Regime = "grouped"
    """grouped: train/validation/test by group; kfold: folds of groups; leave_one_out: one group a fold; blocks: folds
    that follow one another in time, with an embargo around each; stratified: folds of single samples by chance, and
    ungrouped: one division of them (both leak; only with allow_leakage)."""
    validation: float = Field(0.2, gt=0, lt=1)
    """Share of all groups for validation (grouped), of a fold's training groups (kfold, leave_one_out), or of its
    training samples (blocks, stratified). What holdout takes does not count."""
    test: float = Field(0.1, gt=0, lt=1)
    """Share of all groups for the test (grouped), or of samples (ungrouped)."""
    folds: int = Field(5, ge=2)
    """Number of folds (kfold, stratified, blocks)."""
    by: str = Field("group", min_length=1)
    """Column whose values are tested whole, such as station (kfold, leave_one_out)."""
    purge: bool = True
    """With by: take out of training what a tested sample shares a group, an event, a record, its content or a stretch
    of its record with. Without purging such a split leaks (only with allow_leakage)."""
    embargo_days: float = Field(30.0, ge=0, le=36500)
    """Least gap in time between samples of different parts (blocks only)."""
    holdout: float = Field(0.0, ge=0, lt=1)
    """Share that no fold ever sees, to score ensembles of folds on: of the groups by chance, or of the samples at the
    end of the record (blocks)."""
    seed: int = 42
    """Of the drawing of groups."""
    allow_leakage: str = ""
    """Why a split that fails its audit may be trained on all the same; the reason stands beside every number."""

    @model_validator(mode="after")
    def _keys_go_together(self) -> SplitRecipe:
        if self.regime in ("grouped", "ungrouped") and self.validation + self.test >= 1:
            raise ValueError("validation and test together leave nothing to train on")
        if self.by != "group" and self.regime not in ("kfold", "leave_one_out"):
            raise ValueError(f"by={self.by} goes with regime kfold or leave_one_out, and not with {self.regime}")
        return self
