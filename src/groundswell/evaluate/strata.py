"""evaluate: the kinds of test that a split holds apart (seen and unseen places, past and future), each on its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.evaluate.control_scores import difference
from groundswell.evaluate.controls import Control
from groundswell.evaluate.exposure import Exposure
from groundswell.evaluate.intervals import Estimate
from groundswell.evaluate.metrics import Scores, accuracy_of, score
from groundswell.evaluate.recipe import EvaluateRecipe, too_few
from groundswell.evaluate.skill import Skill, skill_of
from groundswell.evaluate.units import groups_of_units, units_of
from groundswell.splits.manifest import TEST, SplitManifest

_NEW_PLACE_REGIMES = ("spatial", "buffered")
_NUMBERED = re.compile(r"(.*\S)\s+\d+")


@dataclass(frozen=True)
class StratumControl:
    """A control in a stratum: its accuracy there and the model's minus it, by a paired bootstrap."""

    control: Control
    accuracy: Estimate
    difference: Estimate

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"name": self.control.name, "kind": self.control.kind, "accuracy": self.accuracy.to_dict(),
                "difference": self.difference.to_dict()}


@dataclass(frozen=True)
class Stratum:
    """A part of the test.

    Attributes:
        name: as the split calls it.
        samples: tested units of known class.
        groups: groups they belong to.
        scores: at unit level; ``None`` where there are fewer than ``n_min``.
        why: why there are none; else empty.
        skill: what the accuracy shows; ``None`` without scores.
        controls: those that were run, in their order; empty without scores.
        new_place: whether training had nothing near, by the split's own words.
    """

    name: str
    samples: int
    groups: int
    scores: Scores | None
    why: str
    skill: Skill | None
    controls: list[StratumControl]
    new_place: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"samples": self.samples, "groups": self.groups, "why": self.why, "new_place": self.new_place,
                "scores": None if self.scores is None else self.scores.to_dict(),
                "skill": None if self.skill is None else self.skill.to_dict(),
                "controls": [control.to_dict() for control in self.controls]}

    def sentence(self) -> str:
        """What follows from it, and the null controls that the model is not better than; empty where nothing does."""
        if self.skill is None or not self.skill.sentence:
            return ""
        unbeaten = [c.control.title for c in self.controls if c.control.kind == "null"
                    and c.difference.value is not None and (c.difference.low is None or c.difference.low <= 0)]
        said, many = self.skill.sentence, "s" if self.groups != 1 else ""
        text = (f"{self.name[:1].upper()}{self.name[1:]} ({self.samples} tested in {self.groups} group{many}): "
                f"{said[:1].lower()}{said[1:]}")
        return f"{text} Not better there than: {', '.join(unbeaten)}." if unbeaten else text


def strata_of(answered: Predictions, table: SampleTable, manifest: SplitManifest | None, recipe: EvaluateRecipe,
              controls: Sequence[tuple[Control, Predictions]], *, level: str, exposure: Exposure | None = None,
              prevalence: NDArray[np.float64] | None = None, seed: int = 0) -> dict[str, Stratum]:
    """Score each stratum of the split, by name.

    Strata whose names differ by a number at the end (regions of one kind) are followed by one of all of them, since
    each alone is often too small. One with fewer than ``n_min`` units gets no number but the reason.

    Args:
        answered: the model's answers for units.
        table: holds them.
        manifest: with strata; without, there is nothing to score.
        recipe: ``n_min``, confidence, resamples.
        controls: each with its answers for units.
        level: of the units.
        exposure: what was taught, for what chance is.
        prevalence: for the weighted score, see :func:`groundswell.evaluate.metrics.score`.
        seed: of the bootstrap.
    """
    if manifest is None or manifest.stratum is None:
        return {}
    kind = _of_units(answered, table, manifest)
    group = groups_of_units(answered, table)
    found = {}
    for name, rows in _parts(kind).items():
        rows = rows & (answered.truth >= 0)
        part, here = answered.take(rows), group[rows]
        groups = len(np.unique(here))
        new = is_new_place(name, manifest)
        if len(part) < recipe.n_min:
            found[name] = Stratum(name, len(part), groups, None, too_few(len(part), level, recipe), None, [], new)
            continue
        scores = score(part, here, recipe, level=level, seed=seed, prevalence=prevalence)
        skill = skill_of(scores.accuracy, None if exposure is None else exposure.chance(part), scores.majority_rate,
                         new_place=new, explain=False)
        beside = [_beside(part, control, given, table, level, recipe, seed) for control, given in controls]
        found[name] = Stratum(name, len(part), groups, scores, "", skill, beside, new)
    return found


def is_new_place(name: str, manifest: SplitManifest) -> bool:
    """Whether the words of a split say that training has nothing where these samples are.

    Args:
        name: of a stratum; empty for the whole test.
        manifest: the split.
    """
    if not name:
        return manifest.regime in _NEW_PLACE_REGIMES
    return "unseen place" in name or name.startswith("spatial") or (
        manifest.regime in _NEW_PLACE_REGIMES and "seen place" not in name)


def _parts(kind: NDArray[np.object_]) -> dict[str, NDArray[np.bool_]]:
    names = sorted({str(name) for name in kind if name}, key=_by_number)
    parts = {name: kind == name for name in names}
    stems: dict[str, list[str]] = {}
    for name in names:
        if match := _NUMBERED.fullmatch(name):
            stems.setdefault(match[1], []).append(name)
    return parts | {f"{stem}s together": np.isin(kind.astype(str), members)
                    for stem, members in stems.items() if len(members) > 1}


def _by_number(name: str) -> tuple[str, int]:
    match = _NUMBERED.fullmatch(name)
    return (match[1], int(name.split()[-1])) if match else (name, 0)


def _of_units(answered: Predictions, table: SampleTable, manifest: SplitManifest) -> NDArray[np.object_]:
    """Stratum of each answer; "several kinds" where its samples are of more than one, "" where they are of none."""
    units = units_of(table)
    tested = (manifest.assignment == TEST).any(axis=1) & (units.of_row >= 0)
    text = pd.Series(np.asarray(manifest.stratum, object)[tested]).fillna("").astype(str)
    each = text.groupby(units.of_row[tested]).agg(["first", "nunique"])
    of_unit = np.full(len(units), "", dtype=object)
    of_unit[each.index.to_numpy()] = np.where(each["nunique"] > 1, "several kinds", each["first"])
    return np.asarray(of_unit[pd.Index(units.names).get_indexer(pd.Index(answered.sample_id))], dtype=object)


def _beside(part: Predictions, control: Control, given: Predictions, table: SampleTable, level: str,
            recipe: EvaluateRecipe, seed: int) -> StratumControl:
    there = pd.Index(given.sample_id).isin(pd.Index(part.sample_id))
    given = given.take(there & (given.truth >= 0))
    accuracy = accuracy_of(given, groups_of_units(given, table), recipe, level=level, seed=seed)
    return StratumControl(control, accuracy, difference(part, given, table, recipe, seed))
