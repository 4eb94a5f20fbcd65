"""geomag: when simulated events happen, which of them have windows of which length, and which are of class 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.seeds import derive_seed
from groundswell.pipelines.geomag.building.gaps import OK, Gaps
from groundswell.pipelines.geomag.building.minutes import MinuteSeries
from groundswell.pipelines.geomag.building.recipe import GapRule
from groundswell.pipelines.geomag.simulate.recipe import SimulateRecipe

Places = NDArray[np.int64]

DAY = 1440
EVENTS = 52
"""Events where the recipe has no number and the background has the room."""


@dataclass(frozen=True)
class Event:
    """An event (class 1) or the end of a control window (class 0).

    Attributes:
        number: counts all of them in the order of time.
        label: 0 or 1.
        minute: since 1970; its windows end with the minute before.
    """

    number: int
    label: int
    minute: int

    @property
    def event_id(self) -> str:
        """``event-0003`` or ``control-0004``."""
        return f"{'event' if self.label else 'control'}-{self.number:04d}"


def draw_events(recipe: SimulateRecipe, series: MinuteSeries) -> dict[int, list[Event]]:
    """The events of each window length, in the order of time; all are among those of the shortest.

    Times are random among those at which the background has the whole window, the largest shift included. Lengths with
    less than two events are left out.

    Raises:
        InputError: the background is too short, or has room for fewer events than were asked for.
    """
    lengths = sorted(recipe.windows)
    feasible = _feasible(recipe, series, lengths)
    chosen = _overlapping(recipe, feasible, lengths) if recipe.allow_overlap else _apart(recipe, feasible, lengths)
    shortest = chosen[lengths[0]]
    _check_room(recipe, series, lengths[0], len(shortest))
    labels = deal_labels(chosen, recipe.share, np.random.default_rng(derive_seed(recipe.seed, "geomag.simulate",
                                                                                "labels")))
    events = {int(place): Event(number, labels[int(place)], series.start_minute + int(place))
              for number, place in enumerate(shortest)}
    return {days: [events[int(place)] for place in chosen[days]] for days in lengths if len(chosen[days]) > 1}


def _feasible(recipe: SimulateRecipe, series: MinuteSeries, lengths: list[int]) -> dict[int, NDArray[np.bool_]]:
    """For each length, whether an event can be at each position of the series, shape (minutes + 1,)."""
    gaps = Gaps.of(series, GapRule())
    ends = series.start_minute + np.arange(len(series.values) + 1)
    able = np.ones(len(ends), bool)
    feasible = {}
    for days in lengths:
        minutes = days * DAY + recipe.stations.max_shift_minutes
        able = able & (gaps.judge(ends - minutes, minutes) == OK)
        feasible[days] = able
    return feasible


def _spacing(recipe: SimulateRecipe, days: int) -> int:
    """Least minutes between events whose windows of a length share nothing."""
    return max(days * DAY + recipe.stations.max_shift_minutes, round((recipe.spacing_days or 0) * DAY))


def _apart(recipe: SimulateRecipe, feasible: Mapping[int, NDArray[np.bool_]],
           lengths: list[int]) -> dict[int, Places]:
    """Events whose windows do not overlap: first as many as can be for the longest windows and others between them;
    unless that leaves the shortest windows with fewer than they could have."""
    wanted = recipe.events or EVENTS
    rng = np.random.default_rng(derive_seed(recipe.seed, "geomag.simulate", "times"))
    nested: dict[int, Places] = {}
    places = np.empty(0, np.int64)
    for days in reversed(lengths):
        places = place(feasible[days], _spacing(recipe, days), wanted, places, rng)
        nested[days] = places
    alone = place(feasible[lengths[0]], _spacing(recipe, lengths[0]), wanted, np.empty(0, np.int64), rng)
    if len(alone) <= len(places):
        return nested
    return {days: _thinned(alone[feasible[days][alone]], _spacing(recipe, days)) for days in lengths}


def _overlapping(recipe: SimulateRecipe, feasible: Mapping[int, NDArray[np.bool_]],
                 lengths: list[int]) -> dict[int, Places]:
    """Events as far apart as the shortest window, or nearer if there is no room; each length has all it reaches."""
    wanted, able = recipe.events or EVENTS, feasible[lengths[0]]
    spacing = min(_spacing(recipe, lengths[0]), max(1, int(able.sum()) // wanted))
    spacing = max(spacing, round((recipe.spacing_days or 0) * DAY))
    rng = np.random.default_rng(derive_seed(recipe.seed, "geomag.simulate", "times"))
    chosen = place(able, spacing, wanted, np.empty(0, np.int64), rng)
    return {days: chosen[feasible[days][chosen]] for days in lengths}


def place(feasible: NDArray[np.bool_], spacing: int, count: int, taken: Places, rng: np.random.Generator) -> Places:
    """Random positions, ``spacing`` apart from one another, where ``feasible``; ``taken`` ones are among them.

    Args:
        feasible: shape (positions,).
        spacing: least distance.
        count: as many as this, or as many as can be.
        taken: positions already chosen, at least ``spacing`` apart.
        rng: decides.

    Returns:
        int64, in order.
    """
    free = feasible.copy()
    for other in taken:
        free[max(0, other - spacing + 1):other + spacing] = False
    able = np.flatnonzero(free)
    latest = -_thinned(-able[::-1], spacing)[:max(0, count - len(taken))][::-1]
    if not len(latest):
        return taken
    # Uniform times with the spacing put between them; each then goes to the next place that is free and far enough
    # from the one before, and never beyond the last place that leaves room for those after it.
    slack = max(0, int(able[-1] - able[0]) - spacing * (len(latest) - 1))
    drawn = able[0] + np.sort(rng.integers(0, slack + 1, len(latest))) + spacing * np.arange(len(latest))
    found: list[int] = []
    for wish, last in zip(drawn.tolist(), latest.tolist(), strict=True):
        earliest = min(max(wish, found[-1] + spacing if found else wish), last)
        found.append(int(able[np.searchsorted(able, earliest)]))
    return np.sort(np.concatenate([taken, np.array(found, np.int64)]))


def _thinned(places: Places, spacing: int) -> Places:
    """The first of rising positions, the next that is far enough from it, and so on: as many as there can be."""
    kept: list[int] = []
    at = 0
    while at < len(places):
        kept.append(int(places[at]))
        at = int(np.searchsorted(places, kept[-1] + spacing))
    return np.array(kept, np.int64)


def deal_labels(chosen: Mapping[int, Places], share: float, rng: np.random.Generator) -> dict[int, int]:
    """Class of each position: chance, with the share kept for every window length as well as whole numbers allow."""
    labels: dict[int, int] = {}
    for days in sorted(chosen, reverse=True):
        new = np.array([p for p in chosen[days].tolist() if p not in labels], np.int64)
        ones = int(np.clip(round(share * len(chosen[days])), 1, max(1, len(chosen[days]) - 1)))
        more = int(np.clip(ones - sum(labels.get(p, 0) for p in chosen[days].tolist()), 0, len(new)))
        before = set(rng.permutation(new)[:more].tolist())
        labels |= {int(p): int(p in before) for p in new}
    return labels


def _check_room(recipe: SimulateRecipe, series: MinuteSeries, days: int, found: int) -> None:
    length = len(series.values) / DAY
    if found < 2 or found < (recipe.events or 0):
        apart = "" if recipe.allow_overlap else " that do not overlap"
        raise InputError(f"A background of {length:.0f} days has room for {found} windows of {days} days{apart}, and "
                         f"{recipe.events or 2} are needed", where="events",
                         fix="Ask for fewer events, give a longer background (background.years, background.files)"
                             + ("" if recipe.allow_overlap else ", or set allow_overlap=true"))


def overlaps(events: list[Event], minutes: int) -> int:
    """Pairs of following events whose windows share minutes."""
    return sum(b.minute - a.minute < minutes for a, b in pairwise(events))
