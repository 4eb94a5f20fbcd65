"""splits: the split that was published with the Central Florida plants, step by step, so that it can be made again.

Candidates are drawn by chance from the rows that count. The first of them is a centre; then, again and again, the one
that lies farthest from its nearest centre. Around each centre lies a square: what is in a square is tested for its
place, and of the rest what is of one year is tested for its time.

It is kept as it was, flaws and all: there is no buffer around a square, its farthest points are the rim of the data,
and a year is told from the others together with its season. The other regimes of this room do better.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable
from groundswell.splits.checks import lack
from groundswell.splits.division import Division
from groundswell.splits.folds import draw_parts
from groundswell.splits.groups import Groups
from groundswell.splits.parts import EXCLUDED, TEST, TRAIN, VALIDATION
from groundswell.splits.published_regions import PUBLISHED, PublishedRule, Region, choose_regions
from groundswell.splits.recipe import SplitRecipe

__all__ = ["Published", "PublishedRule", "Region", "divide_published", "draw_validation", "published_division"]


@dataclass(frozen=True)
class Published:
    """A frame divided by the published procedure.

    Attributes:
        rule: its numbers.
        regions: fewer than the rule wants where candidates lie too close together.
        kept_km: the least distance that was asked of all centres; below the rule's where it had to be relaxed.
        eligible: whether a row counts, bool, shape (n,); the others are in no part.
        region: number of the square each row is tested for, int64, shape (n,), 0 for none. Of several squares that a
            row lies in, the first.
        future: whether a row is of the tested year, in a square or not, bool, shape (n,).
    """

    rule: PublishedRule
    regions: tuple[Region, ...]
    kept_km: float
    eligible: NDArray[np.bool_]
    region: NDArray[np.int64]
    future: NDArray[np.bool_]

    @property
    def test(self) -> NDArray[np.bool_]:
        """Whether a row is tested, shape (n,)."""
        return np.asarray((self.region > 0) | self.future, bool)

    @property
    def train(self) -> NDArray[np.bool_]:
        """Whether a row may be trained on, shape (n,)."""
        return np.asarray(self.eligible & ~self.test, bool)

    @property
    def temporal(self) -> NDArray[np.bool_]:
        """Whether a row is tested for its time alone, shape (n,)."""
        return np.asarray(self.future & (self.region == 0), bool)

    @property
    def stratum(self) -> NDArray[np.object_]:
        """``"temporal"`` or ``"spatial region 1"`` for what is tested, else ``""``; object, shape (n,)."""
        return self._words("temporal", "spatial region {}", "")

    @property
    def reason(self) -> NDArray[np.object_]:
        """The published words for each row, object, shape (n,).

        They are ``"temporal_train"``, ``"temporal_test"``, ``"spatial_test_region_1"`` and so on; ``""`` where a row
        does not count.
        """
        return self._words("temporal_test", "spatial_test_region_{}", "temporal_train")

    def _words(self, temporal: str, spatial: str, train: str) -> NDArray[np.object_]:
        words = np.full(len(self.region), "", object)
        words[self.train], words[self.temporal] = train, temporal
        for region in self.regions:
            words[self.region == region.number] = spatial.format(region.number)
        return words


def published_division(frame: pd.DataFrame, rule: PublishedRule | None = None) -> Published:
    """Divide rows into training and test as the Central Florida data set was divided.

    Candidates are drawn by ``DataFrame.sample``, which goes by position: the order of the rows is part of the input,
    and only the observation table's own order gives the published squares. Given the squares, it matters no more.

    Args:
        frame: ``latitude``, ``longitude`` in degrees; ``year``, or ``time`` in its stead; ``has_vision`` where some
            rows do not count (the published procedure looks at rows with vision only).
        rule: other numbers than the published ones.

    Raises:
        InputError: no row counts, or one that does lacks its place or its year; or training, the tested year or a
            square is left without a row.
        MissingExtraError: geopy is not installed.
    """
    rule = rule or PublishedRule()
    eligible = np.ones(len(frame), bool)
    if "has_vision" in frame:
        eligible = frame["has_vision"].astype("boolean").fillna(False).to_numpy(bool)
    if not eligible.any():
        raise InputError("There is no observation to split" + (" that has vision" if len(frame) else ""),
                         where=PUBLISHED, fix="Give a table of observations of which some have vision")
    latitude, longitude = _degrees(frame, "latitude", 90, eligible), _degrees(frame, "longitude", 180, eligible)
    future = eligible & (_years(frame, eligible) == rule.test_year)
    rows = pd.Series(np.flatnonzero(eligible))
    drawn = rows.sample(min(rule.candidates, len(rows)), random_state=rule.seed).to_numpy(np.int64)
    regions, kept_km = choose_regions(latitude, longitude, drawn, rule)
    number = np.zeros(len(frame), np.int64)
    for region in reversed(regions):
        number[eligible & region.holds(latitude, longitude)] = region.number
    made = Published(rule, regions, kept_km, eligible, number, future)
    _check_parts(made)
    return made


def divide_published(table: SampleTable, recipe: SplitRecipe, rule: PublishedRule | None = None) -> Division:
    """Divide a table as :func:`published_division` does, and draw a validation part from what is left for training.

    The rows must be in the order of the observation table; see there. The published split has no validation part: here
    one is drawn of whole groups, which does not depend on that order once the squares are known.

    Args:
        table: with the columns of :func:`published_division`.
        recipe: of it, ``validation`` and ``seed`` are looked at.
        rule: other numbers than the published ones.

    Returns:
        One fold. Strata are ``"temporal"`` and ``"spatial region 1"`` and so on. A sample of the tested year in a
        square is of the square's stratum; the settings say how many of these there are.

    Raises:
        InputError: as :func:`published_division`; or there are too few groups to validate on.
    """
    made = published_division(table.frame, rule)
    part = np.full(len(table), EXCLUDED, np.int8)
    part[made.train], part[made.test] = TRAIN, TEST
    part[draw_validation(table, made.train, recipe)] = VALIDATION
    names = table.column("sample_id")
    squares = [{**asdict(region), "centre": names[region.row], "samples": int((made.region == region.number).sum()),
                "future": int((made.future & (made.region == region.number)).sum())} for region in made.regions]
    return Division(part[:, None], made.stratum, {
        "rule": asdict(made.rule), "kept_km": made.kept_km, "squares": squares,
        "squares_lost": made.rule.regions - len(made.regions), "tested_for_time": int(made.temporal.sum()),
        "tested_for_place": int((made.region > 0).sum()), "not_eligible": int((~made.eligible).sum())})


def draw_validation(table: SampleTable, train: NDArray[np.bool_], recipe: SplitRecipe) -> NDArray[np.bool_]:
    """Draw whole groups of the training rows for validation, each class as near its share as it can be.

    The drawing depends on the names of the groups and the seed, not on the order of the rows.

    Args:
        table: the samples.
        train: the rows that there are for training and validation together, shape (n,).
        recipe: ``validation``, the share of groups, and ``seed``.

    Returns:
        The rows to validate on, shape (n,).

    Raises:
        InputError: no group can be spared.
    """
    groups = Groups.of_table(table, train)
    drawn = draw_parts(groups.stratum, (1 - recipe.validation, recipe.validation), recipe.seed, "validation") == 1
    held = np.asarray(train & drawn[groups.of_row], bool)
    missing = lack(np.where(held, VALIDATION, TRAIN).astype(np.int8), table.labels(), table.classes, VALIDATION,
                   every_class=False)
    if missing:
        raise InputError(f"With {len(groups)} group(s) to train on, none of which can be spared, {missing}",
                         where=PUBLISHED, fix="Add observations, or choose smaller groups")
    return held


def _degrees(frame: pd.DataFrame, name: str, most: int, eligible: NDArray[np.bool_]) -> NDArray[np.float64]:
    values = _numbers(frame, name)
    _refuse(frame, eligible & ~(np.abs(values) <= most), f"no {name} between -{most} and {most}")
    return values


def _years(frame: pd.DataFrame, eligible: NDArray[np.bool_]) -> NDArray[np.float64]:
    if "year" not in frame and "time" in frame:
        frame = frame.assign(year=pd.to_datetime(frame["time"], utc=True).dt.year)
    values = _numbers(frame, "year")
    _refuse(frame, eligible & np.isnan(values), "no year, so that nobody knows whether they are to be tested for it")
    return values


def _numbers(frame: pd.DataFrame, name: str) -> NDArray[np.float64]:
    if name not in frame:
        raise InputError(f"The published split needs the column '{name}'", where=PUBLISHED,
                         fix=f"There are: {', '.join(map(str, frame.columns))}")
    return np.asarray(pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64, na_value=np.nan), np.float64)


def _refuse(frame: pd.DataFrame, bad: NDArray[np.bool_], lacking: str) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        called = next((f" ('{frame[c].iloc[rows[0]]}')" for c in ("sample_id", "observation_id") if c in frame), "")
        raise InputError(f"{len(rows)} observation(s) have {lacking}; the first is in row {rows[0] + 1}{called}",
                         where=PUBLISHED, fix="Correct them or leave them out")


def _check_parts(made: Published) -> None:
    rule, fix = made.rule, "Ask for fewer or smaller regions"
    buried = [r.number for r in made.regions if not (made.region == r.number).any()]
    if not made.train.any():
        lacking = f"nothing is left to train on: all are of {rule.test_year} or in a square"
    elif not made.temporal.any():
        inside = " outside the squares" if made.future.any() else ""
        lacking, fix = f"none{inside} is of {rule.test_year}, the year to test", "Name a year that there is"
    elif buried:
        lacking = (f"none is left to test in region {buried[0]}: what lies in its square of {rule.region_km:g} km lies "
                   "in earlier ones")
    else:
        return
    raise InputError(f"Of {int(made.eligible.sum()):,} observations {lacking}", where=PUBLISHED, fix=fix)
