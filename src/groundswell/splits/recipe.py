"""splits: the part of a recipe that says who may see what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import Field, field_validator, model_validator

from groundswell.core.recipe import RecipePart

Regime = Literal["grouped", "kfold", "leave_one_out", "blocks", "stratified", "ungrouped", "published", "spatial",
                 "temporal", "spatiotemporal", "buffered", "knndm"]
Cells = Literal["squares", "h3", "healpix"]
PLACED: tuple[Regime, ...] = ("published", "spatial", "temporal", "spatiotemporal", "buffered", "knndm")
"""Regimes of samples that have a place."""
_GOES_WITH: dict[str, tuple[Regime, ...]] = {
    "by": ("kfold", "leave_one_out"),
    "holdout": ("grouped", "kfold", "leave_one_out", "blocks", "stratified", "ungrouped"),
    "buffer_m": ("spatial", "spatiotemporal", "buffered", "knndm"),
    "together": ("spatial", "temporal", "spatiotemporal", "buffered", "knndm"),
    "interior": ("spatial", "spatiotemporal"),
    "test_from": ("temporal", "spatiotemporal"),
    "match_months": ("temporal", "spatiotemporal"),
    "leave_out": ("buffered",),
    "space": ("knndm",),
}
"""Regimes that keep what a key promises; with another one it would promise in vain. Mere sizes are not looked at."""


class SplitRecipe(RecipePart):
    """How samples are divided. Groups are never divided, except by stratified and ungrouped."""

    regime: Regime = "grouped"
    """grouped: train/validation/test by group; kfold: folds of groups; leave_one_out: one group a fold; blocks: folds
    that follow one another in time, with an embargo around each; stratified: folds of single samples by chance, and
    ungrouped: one division of them (both leak; only with allow_leakage). Of samples with a place: spatial:
    train/validation/test by cells; temporal: test_from and later is the test; spatiotemporal: seen and unseen places,
    past and future, tested apart; buffered: folds that leave out one cell or group each, and its surroundings; knndm:
    folds that lie as far from training as what is to be predicted; published: one that was published with its data."""
    validation: float = Field(0.2, gt=0, lt=1)
    """Share of all groups for validation (grouped), of a fold's training groups (kfold, leave_one_out), or of its
    training samples (blocks, stratified, buffered, knndm); of all samples, by cells (spatial, spatiotemporal), or of
    the past, its end (temporal). What holdout takes does not count."""
    test: float = Field(0.1, gt=0, lt=1)
    """Share of all groups for the test (grouped), or of samples (ungrouped, and by cells spatial, spatiotemporal; of
    what is left in seen places also by group)."""
    folds: int = Field(5, ge=0)
    """Number of folds (kfold, stratified, blocks, buffered, knndm); 0: one for each cell or group (buffered)."""
    by: str = Field("group", min_length=1)
    """Column whose values are tested whole, such as station (kfold, leave_one_out)."""
    purge: bool = True
    """With by: take out of training what a tested sample shares a group, an event, a record, its content or a stretch
    of its record with. Without purging such a split leaks (only with allow_leakage)."""
    embargo_days: float = Field(30.0, ge=0, le=36500)
    """Least gap in time between samples of different parts (blocks only)."""
    holdout: float = Field(0.0, ge=0, lt=1)
    """Share that no fold ever sees, to score ensembles of folds on: of the groups by chance, or of the samples at the
    end of the record (blocks). Not for samples by place."""
    cells: Cells = "squares"
    """What places are dealt out by: squares of cell_km, or the cells of H3 or HEALPix at cell_level (spatial,
    spatiotemporal, buffered)."""
    cell_km: float = Field(10.0, ge=0.01, le=5000)
    """Edge of a square (squares)."""
    cell_level: int = Field(6, ge=0, le=29)
    """Resolution of H3 (0 to 15; at 6 about 36 km² a cell), or order of HEALPix (0 to 29)."""
    interior: bool = False
    """Test and validate only in cells that have samples on all sides, not at the edge of what is known (spatial,
    spatiotemporal)."""
    buffer_m: float = Field(0.0, ge=0)
    """No training sample lies within so many metres of a tested or validated one, nor a validated one of a tested one:
    those that would are left out (spatial, spatiotemporal, buffered, knndm). 0 leaves none out."""
    leave_out: Literal["cells", "groups"] = "cells"
    """What is tested together (buffered)."""
    together: tuple[str, ...] = ()
    """Further columns of which no value is in two parts, such as observer (regimes by place)."""
    test_from: str = ""
    """Date, such as 2025-01-01, from which on samples are the future (temporal, spatiotemporal)."""
    match_months: bool = False
    """Leave out the months of the year that only the past or only the future has, so that what is tested differs in
    years and not in seasons (temporal, spatiotemporal)."""
    space: Literal["geographic", "feature"] = "geographic"
    """Where distances are measured: on the Earth, or between features (knndm)."""
    prediction_points: str = ""
    """CSV of latitude and longitude (with space=feature: of features) of where the model will be applied; empty: a grid
    over the samples (knndm)."""
    seed: int = 42
    """Of the drawing of groups and cells."""
    allow_leakage: str = ""
    """Why a split that fails its audit may be trained on all the same; the reason stands beside every number."""

    @field_validator("test_from")
    @classmethod
    def _is_a_date(cls, text: str) -> str:
        if text:
            _date(text)
        return text

    @model_validator(mode="after")
    def _keys_go_together(self) -> SplitRecipe:
        single = self.regime in ("grouped", "ungrouped", "spatial", "spatiotemporal")
        if single and self.validation + self.test >= 1:
            raise ValueError("validation and test together leave nothing to train on")
        for key, regimes in _GOES_WITH.items():
            value = getattr(self, key)
            if value != type(self).model_fields[key].default and self.regime not in regimes:
                words = ", ".join(regimes[:-1]) + (" or " if len(regimes) > 1 else "") + regimes[-1]
                raise ValueError(f"{key}={value} goes with regime {words}, and not with {self.regime}")
        if self.folds < 2 and not (self.folds == 0 and self.regime == "buffered"):
            raise ValueError("there are 2 folds or more, or with regime buffered 0 for one each")
        if self.cells == "h3" and self.cell_level > 15:
            raise ValueError(f"H3 has the resolutions 0 to 15, and cell_level is {self.cell_level}")
        if self.regime in ("temporal", "spatiotemporal") and not self.test_from:
            raise ValueError(f"{self.regime} needs test_from, the date that the future begins at")
        if self.regime == "buffered" and not self.buffer_m:
            raise ValueError("buffered needs buffer_m, metres around what is tested that training keeps out of")
        if len(set(self.together)) < len(self.together) or "" in self.together:
            raise ValueError("together names columns, each once")
        return self

    @property
    def future(self) -> datetime | None:
        """``test_from`` as a moment, UTC where it names no other zone; None where there is none."""
        return _date(self.test_from) if self.test_from else None


def _date(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError("a date is written as 2025-01-01") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
