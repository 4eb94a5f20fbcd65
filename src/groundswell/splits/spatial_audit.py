"""splits: the audit in space and time, which says how far from training a test really is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import wasserstein_distance

from groundswell.core.errors import InputError
from groundswell.core.seeds import derive_seed
from groundswell.data.table import SampleTable
from groundswell.splits.autocorrelation import autocorrelation
from groundswell.splits.buffer import near_rows
from groundswell.splits.manifest import SplitManifest
from groundswell.splits.nearest import nearest_m
from groundswell.splits.nearness import MOST_ASKED, measure_nearness, nearness_of_sets
from groundswell.splits.parts import EXCLUDED, PARTS, TEST, TRAIN, VALIDATION
from groundswell.splits.places import Places
from groundswell.splits.regions import Box, as_regions
from groundswell.splits.spatial_facts import label_facts, later_than, region_facts, season_facts, shared_values, twins
from groundswell.splits.spatial_results import INSIDE, OUTSIDE, FoldFacts, Prediction, SpatialAudit

BUFFERS_M = (1000.0, 2000.0, 5000.0, 10000.0)
"""Buffers that are tried: how many training samples each would cost."""
_MOST_FOLDS = 50


def spatial_audit(table: SampleTable, split: SplitManifest | NDArray[np.int8], *, fold: int = 0, seed: int = 0,
                  near_m: Sequence[float] = (100.0, 1000.0, 5000.0), stratum: NDArray[np.object_] | None = None,
                  regions: Iterable[Box | Mapping[str, Any]] | None = None,
                  prediction: tuple[ArrayLike, ArrayLike] | None = None, draws: int | None = None) -> SpatialAudit:
    """Audit one fold of a split in space and time.

    Args:
        table: with ``latitude`` and ``longitude`` in degrees; ``time``, ``month``, ``observer``, ``place_day`` and
            ``place`` are looked at where they exist.
        split: a manifest, or an assignment of shape (n,) or (n, folds).
        fold: the one to look at, from 0.
        seed: of random splits and of drawn pairs.
        near_m: metres; shares of tested samples that have training within them are given.
        stratum: what kind of test each sample is, text of shape (n,); None takes the manifest's.
        regions: boxes that tests were taken from; None takes the ``squares`` of the manifest's settings, if any.
        prediction: latitudes and longitudes of the places the model is to be applied to.
        draws: random splits to compare with; None takes 99, and fewer for more than 20,000 rows.

    Raises:
        InputError: a column or a coordinate is missing or out of range, there is no such fold, or a part is empty.
    """
    latitude, longitude = coordinates_of(table)
    assignment, settings = (split.assignment, split.settings) if isinstance(split, SplitManifest) else (split, {})
    assignment = np.asarray(assignment).reshape(len(table), -1)
    if not 0 <= fold < assignment.shape[1]:
        raise InputError(f"There is no fold {fold + 1}: the split has {assignment.shape[1]}",
                         fix=f"Name one from 1 to {assignment.shape[1]}")
    part = assignment[:, fold]
    train, test = (np.flatnonzero(part == code) for code in (TRAIN, TEST))
    for rows, name in ((train, "training"), (test, "test")):
        if not len(rows):
            raise InputError(f"The {name} part is empty: there is nothing to audit", where=f"fold {fold + 1}",
                             fix="Split again with other cells, regions or dates")
    strata = split.stratum if stratum is None and isinstance(split, SplitManifest) else stratum
    boxes = as_regions(settings.get("squares", ()) if regions is None else regions)
    kinds = np.full(len(part), "", object) if strata is None else np.asarray(strata, object)
    inside = np.any([box.inside(latitude, longitude) for box in boxes] or [np.zeros(len(part), bool)], axis=0)
    sets = _sets(part, kinds, inside)
    likeness = autocorrelation(latitude, longitude, table.labels(), derive_seed(seed, "likeness"))
    asked = sorted({*map(float, near_m), likeness.range_m})
    found = nearness_of_sets(latitude, longitude, train, sets, asked, derive_seed(seed, "distances"), draws)
    again = twins(table, train, test)
    parts = {name: np.flatnonzero(part == code) for code, name in PARTS.items() if (part == code).any()}
    return SpatialAudit(
        samples=len(table), fold=fold, folds=assignment.shape[1],
        regime=split.regime if isinstance(split, SplitManifest) else "",
        buffer_m=float(settings.get("buffer_m") or 0.0),
        counts={**{name: len(rows) for name, rows in parts.items()}, "excluded": int((part == EXCLUDED).sum())},
        near_m=tuple(map(float, near_m)), nearness=tuple(found), autocorrelation=likeness,
        buffers=_buffers(latitude, longitude, part == TRAIN, {n: r for n, r in sets.items() if n != PARTS[VALIDATION]}),
        twins=again[0], same_place=again[1], shared=shared_values(table, train, test),
        labels=label_facts(table, train, test), season=season_facts(table, parts, seed),
        regions=region_facts(boxes, latitude, longitude, train, test, near_m),
        strata_inside=tuple(name for name, rows in sets.items() if name in set(kinds) and inside[rows].all()),
        both=_both(kinds, (part == TEST) & inside & later_than(table, train)),
        fold_facts=_fold_facts(latitude, longitude, assignment),
        prediction=_prediction(latitude, longitude, train, test, prediction, asked, seed),
        simulated=bool(table.origin.get("simulated")))


def coordinates_of(table: SampleTable) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Latitude and longitude of every row, degrees, float64, shape (n,) each.

    Raises:
        InputError: a column is missing, or a coordinate is missing or out of range.
    """
    latitude, longitude = (table.column(name).to_numpy(np.float64, na_value=np.nan)
                           for name in ("latitude", "longitude"))
    places = Places(latitude, longitude, table.labels(), sample_id=table.column("sample_id").to_numpy(dtype=object))
    return places.lat, places.lon


def _sets(part: NDArray[np.int8], kinds: NDArray[np.object_],
          inside: NDArray[np.bool_]) -> dict[str, NDArray[np.int64]]:
    """Which rows are looked at under which name; the whole test comes first."""
    test = part == TEST
    rows = {PARTS[TEST]: test}
    named = sorted({str(kind) for kind in kinds[test] if kind})
    if len(named) > 1 or (named and (kinds[test] != named[0]).any()):
        rows.update({name: test & (kinds == name) for name in named})
    if (test & inside).any() and (test & ~inside).any():
        rows[INSIDE] = test & inside
        if len(rows) == 2:
            rows[OUTSIDE] = test & ~inside
    if (part == VALIDATION).any():
        rows[PARTS[VALIDATION]] = part == VALIDATION
    return {name: np.flatnonzero(mask) for name, mask in rows.items()}


def _both(kinds: NDArray[np.object_], rows: NDArray[np.bool_]) -> dict[str, int]:
    # Strata of these rows; of all together where there are no strata.
    values, counts = np.unique(kinds[rows].astype(str), return_counts=True)
    return {str(v) or PARTS[TEST]: int(c) for v, c in zip(values, counts, strict=True)}


def _buffers(latitude: NDArray[np.float64], longitude: NDArray[np.float64], train: NDArray[np.bool_],
             sets: Mapping[str, NDArray[np.int64]]) -> dict[str, dict[float, int]]:
    found: dict[str, dict[float, int]] = {}
    for name, rows in sets.items():
        mine = np.zeros(len(train), bool)
        mine[rows] = True
        found[name] = {m: int(near_rows(latitude, longitude, train, mine, m).sum()) for m in BUFFERS_M}
    return found


def _fold_facts(latitude: NDArray[np.float64], longitude: NDArray[np.float64],
                assignment: NDArray[np.int8]) -> tuple[FoldFacts, ...]:
    found = []
    if 1 < assignment.shape[1] <= _MOST_FOLDS:
        for fold, part in enumerate(assignment.T):
            train, test = part == TRAIN, part == TEST
            metres = nearest_m(latitude[test], longitude[test], latitude[train], longitude[train])
            if len(metres):
                found.append(FoldFacts(fold, int(train.sum()), len(metres), float(metres.min()),
                                       float(np.median(metres))))
    return tuple(found)


def _prediction(latitude: NDArray[np.float64], longitude: NDArray[np.float64], train: NDArray[np.int64],
                test: NDArray[np.int64], places: tuple[ArrayLike, ArrayLike] | None, near_m: Sequence[float],
                seed: int) -> Prediction | None:
    if places is None:
        return None
    lat, lon = (np.asarray(values, np.float64) for values in places)
    if not len(lat) or not (np.isfinite(lat) & np.isfinite(lon)).all():
        raise InputError("The places to predict at are none, or one has no coordinates")
    generator = np.random.default_rng(derive_seed(seed, "prediction"))

    def metres(a: NDArray[np.float64], b: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        some = np.arange(len(a)) if len(a) <= MOST_ASKED else generator.choice(len(a), MOST_ASKED, replace=False)
        return nearest_m(a[some], b[some], latitude[rows], longitude[rows])

    wanted, tested = metres(lat, lon, train), metres(latitude[test], longitude[test], train)
    dealt = generator.permutation(len(latitude))
    mine, theirs = dealt[:len(test)], dealt[len(test):len(test) + len(train)]
    chance = metres(latitude[mine], longitude[mine], theirs)
    return Prediction(measure_nearness("prediction", wanted, len(lat), near_m),
                      float(wasserstein_distance(tested, wanted)), float(wasserstein_distance(chance, wanted)))
