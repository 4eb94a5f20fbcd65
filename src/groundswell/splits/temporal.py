"""splits: the past for learning and the future for testing, in places that were learnt from and in others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.splits.buffer import near_rows, separate
from groundswell.splits.dealing import deal_units
from groundswell.splits.division import Division
from groundswell.splits.parts import EXCLUDED, TEST, TRAIN, VALIDATION
from groundswell.splits.places import Places
from groundswell.splits.recipe import SplitRecipe
from groundswell.splits.spatial import Units, deal_out, require_parts

Rows = NDArray[np.bool_]

STRATA = ("seen place, past", "seen place, future", "unseen place, past", "unseen place, future")
"""What the regime spatiotemporal tests, apart."""


@dataclass(frozen=True)
class _Ages:
    """Which samples are of the past and which of the future, shape (n,); of other months than both have, neither."""

    past: Rows
    future: Rows
    facts: dict[str, Any]


def by_time(places: Places, recipe: SplitRecipe) -> Division:
    """The test is what is of ``test_from`` or later; validation the end of what is before, nearest to its share of it.

    Samples of one moment are never divided. With ``match_months`` samples of the months of the year (January, ...) that
    only one side of ``test_from`` has are in no part, on either side: what is tested then differs from what was learnt
    in its years and not in its seasons. Places play no role here.

    Returns:
        One fold.
    """
    ages = _ages(places, recipe)
    assert places.time is not None
    part = np.full(len(places), EXCLUDED, np.int8)
    part[ages.future] = TEST
    times, counts = np.unique(places.time[ages.past], return_counts=True)
    # Validation begins at one of the moments, but the first: what would then come before it is nearest its share.
    before = np.cumsum(counts)[:-1]
    if not len(before):
        raise InputError("All samples of the past are of one moment, so that none can be validated on later ones",
                         where=f"split.test_from={recipe.test_from}", fix="Give times with days, or more of the past")
    begins = times[1:][np.argmin(abs(before - (1 - recipe.validation) * counts.sum()))]
    part[ages.past] = np.where(places.time[ages.past] < begins, TRAIN, VALIDATION)
    part, left_out = separate(part, places.lat, places.lon, 0.0, places.ties)
    require_parts(part, places.label, recipe)
    facts = {**ages.facts, "validation_from": _day(begins), "left_out_by_ties": left_out["left_out_by_ties"]}
    return Division(part[:, None], None, facts)


def by_place_and_time(places: Places, recipe: SplitRecipe) -> Division:
    """Test seen and unseen places in the past and in the future, each apart.

    Cells are dealt to training, validation and test as :func:`groundswell.splits.spatial.by_cells` does. Then

    - *training* is what is of the past in the training cells, but for a ``test`` share of its groups, drawn by chance;
    - *validation* is what is of the past in the validation cells. Their future is in no part: it is of places that
      training stopped by, neither seen nor unseen;
    - ``seen place, past`` is tested on the groups that were drawn in the training cells;
    - ``seen place, future`` on the future of the training cells;
    - ``unseen place, past`` and ``unseen place, future`` on the test cells.

    The buffer is kept around the tests of unseen places and around validation. A place is seen if training has a
    sample in its cell. A sample to be tested in a training cell that has none, as where nobody went before, is tested
    as of an unseen place if it keeps the buffer from training and validation, and is in no part if it does not.
    ``match_months`` is as for :func:`by_time`.

    Returns:
        One fold; strata as named.
    """
    ages = _ages(places, recipe)
    matched = ages.past | ages.future
    units = deal_out(places, recipe, matched, ages.future)
    here = units.part_of_row == 0
    part = np.full(len(places), EXCLUDED, np.int8)
    part[matched & (units.part_of_row == 2)] = TEST
    part[ages.past & (units.part_of_row == 1)] = VALIDATION
    part[ages.past & here] = TRAIN
    part[_drawn(places, part == TRAIN, recipe) | (ages.future & here)] = TEST
    part, left_out = separate(part, places.lat, places.lon, recipe.buffer_m, places.ties, ~here)
    seen, stranded = _seen(places, part, units, recipe)
    part[stranded] = EXCLUDED
    stratum = np.full(len(places), "", object)
    counts = {}
    for name, rows in zip(STRATA, (seen & ages.past, seen & ages.future, ~seen & ages.past, ~seen & ages.future),
                          strict=True):
        tested = rows & (part == TEST)
        stratum[tested], counts[name] = name, int(tested.sum())
    require_parts(part, places.label, recipe)
    for name, count in counts.items():
        if not count:
            raise InputError(f"There is no sample to test '{name}' on", where="split.regime=spatiotemporal",
                             fix="Use a larger split.test, smaller cells or buffer, or another split.test_from")
    unused = int((ages.future & (units.part_of_row == 1)).sum())
    return Division(part[:, None], stratum, {
        **units.facts, **ages.facts, **left_out, "strata": counts, "left_out_future_of_validation_cells": unused,
        "left_out_near_unlearnt_cells": int(stranded.sum())})


def _drawn(places: Places, training: Rows, recipe: SplitRecipe) -> Rows:
    # A test share of the training samples, by whole groups; samples without a group count as one.
    groups = places.ties.get("group")
    if groups is None:
        raise InputError("Seen places are tested by group, and the samples have no groups",
                         where="split.regime=spatiotemporal", fix="Give each sample its group, such as place and day")
    codes, sizes = np.unique(groups[training], return_counts=True)
    drawn = np.zeros(int(groups.max(initial=-1)) + 2, bool)
    drawn[codes[deal_units(sizes, (1 - recipe.test, recipe.test), recipe.seed, "seen places") == 1]] = True
    return np.asarray(training & drawn[groups], bool)


def _seen(places: Places, part: NDArray[np.int8], units: Units, recipe: SplitRecipe) -> tuple[Rows, Rows]:
    # Which samples are of a place that training knows; and which to be tested are of neither kind.
    learnt = np.zeros(int(units.of_row.max()) + 1, bool)
    learnt[units.of_row[part == TRAIN]] = True
    seen = learnt[units.of_row]
    doubtful = (part == TEST) & ~seen & (units.part_of_row == 0)
    known = (part == TRAIN) | (part == VALIDATION)
    stranded = near_rows(places.lat, places.lon, doubtful, known, recipe.buffer_m) if recipe.buffer_m else (
        np.zeros(len(part), bool))
    return seen, stranded


def _ages(places: Places, recipe: SplitRecipe) -> _Ages:
    if places.time is None:
        raise InputError("Past and future need to know when each sample is, and the samples have no times",
                         where=f"split.regime={recipe.regime}", fix="Give them times, or use split.regime=spatial")
    lost = np.flatnonzero(np.isnat(places.time))
    if len(lost):
        raise InputError(f"{len(lost)} sample(s) have no time, first {places.called(int(lost[0]))}, so that they are "
                         "neither past nor future", where=f"split.regime={recipe.regime}",
                         fix="Give them their dates (year, month and day), or leave them out of the data")
    assert recipe.future is not None
    future = places.time >= np.datetime64(int(recipe.future.timestamp() * 1_000_000), "us")
    if future.all() or not future.any():
        side = "before" if future.all() else "from it on"
        first, last = _day(places.time.min()), _day(places.time.max())
        raise InputError(f"There is no sample {side}: they are of {first} to {last}",
                         where=f"split.test_from={recipe.test_from}", fix="Choose a date within these")
    past = ~future
    facts: dict[str, Any] = {"samples_before_test_from": int(past.sum()), "samples_from_it_on": int(future.sum())}
    if not recipe.match_months:
        return _Ages(past, future, facts)
    month = places.time.astype("datetime64[M]").astype(np.int64) % 12
    shared = np.intersect1d(month[past], month[future])
    if not len(shared):
        raise InputError("No month of the year is both before test_from and after it", where="split.match_months",
                         fix="Use split.match_months=false, or another split.test_from")
    kept = np.isin(month, shared)
    facts |= {"matched_months": (shared + 1).tolist(), "left_out_by_months": {
        "past": int((past & ~kept).sum()), "future": int((future & ~kept).sum())}}
    return _Ages(past & kept, future & kept, facts)


def _day(moment: np.datetime64) -> str:
    return str(moment.astype("datetime64[s]"))
