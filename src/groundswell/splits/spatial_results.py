"""splits: what the audit in space and time found, as facts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from groundswell.splits.autocorrelation import Autocorrelation
from groundswell.splits.nearness import Nearness
from groundswell.splits.parts import PARTS, VALIDATION
from groundswell.splits.spatial_facts import LabelFacts, RegionFacts, SeasonFacts, SharedValues
from groundswell.splits.spatial_verdict import SpatialFinding, findings_of, verdict_of

INSIDE, OUTSIDE = "inside the regions", "outside the regions"
"""Names of the sets of all tested samples that lie in a region, and that do not (the latter without strata only)."""


@dataclass(frozen=True)
class FoldFacts:
    """One fold: samples in training and test, and the distances between them in metres."""

    fold: int
    train: int
    test: int
    least_m: float
    median_m: float


@dataclass(frozen=True)
class Prediction:
    """Places that the model is to be applied to, and whether the test is as far from training as they are.

    Attributes:
        nearness: of those places.
        apart_m, random_apart_m: mean difference (Wasserstein's W) between distances to training of the tested samples
            and of those places; and the same for a random split's tested samples.
    """

    nearness: Nearness
    apart_m: float
    random_apart_m: float


@dataclass(frozen=True)
class SpatialAudit:
    """What was found; in words by :meth:`verdict` and :meth:`findings`.

    Attributes:
        samples, fold, folds: rows of the table, the fold that was looked at (from 0) and how many there are.
        regime: of the split; empty where only an assignment was given.
        buffer_m: the buffer that the split was made with; 0 without.
        counts: samples by part, "excluded" among them.
        near_m: distances that shares are given for.
        nearness: of the test, of each of its strata, of what lies in regions, and of validation.
        autocorrelation: how far likeness of labels reaches.
        buffers: by set and by metres, the training samples that a buffer around it would leave out.
        twins, same_place: tested samples that training has again, of one label, place and day, or label and place.
        shared: values of observers, visits and the like that are in both.
        labels, season, regions: see there.
        strata_inside: names of the strata that lie in regions as a whole.
        both: by stratum, tested samples that lie in a region and are later than all training too.
        fold_facts: distances in every fold, where there are several (at most 50).
        prediction: see there; None where no places were given.
        simulated: whether the table's origin says so.
    """

    samples: int
    fold: int
    folds: int
    regime: str
    buffer_m: float
    counts: dict[str, int]
    near_m: tuple[float, ...]
    nearness: tuple[Nearness, ...]
    autocorrelation: Autocorrelation
    buffers: dict[str, dict[float, int]]
    twins: int
    same_place: int
    shared: tuple[SharedValues, ...]
    labels: LabelFacts
    season: SeasonFacts | None
    regions: tuple[RegionFacts, ...]
    strata_inside: tuple[str, ...]
    both: dict[str, int]
    fold_facts: tuple[FoldFacts, ...]
    prediction: Prediction | None
    simulated: bool

    def of(self, name: str) -> Nearness | None:
        """The distances of a set by its name; None where there is no such set."""
        return next((n for n in self.nearness if n.name == name), None)

    def main_sets(self) -> list[Nearness]:
        """The few sets that together are the test: the strata, those of regions as one; or the test itself."""
        left_out = {PARTS[VALIDATION], *(self.strata_inside if self.of(INSIDE) is not None else ())}
        return [n for n in self.nearness[1:] if n.name not in left_out] or [self.nearness[0]]

    def verdict(self) -> list[str]:
        """Whether the test is harder than a random one, and whether a buffer goes beyond the range, in sentences."""
        return verdict_of(self)

    def findings(self) -> list[SpatialFinding]:
        """Everything that a reader of scores should know of the split, worst kinds first."""
        return findings_of(self)

    def to_json(self) -> dict[str, Any]:
        """As JSON-able facts, with verdict and findings for readers of the file."""
        facts: dict[str, Any] = _keyed_by_text(asdict(self))
        return {"verdict": self.verdict(), "findings": [asdict(f) for f in self.findings()], **facts}

def _keyed_by_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {f"{k:g}" if isinstance(k, float) else str(k): _keyed_by_text(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_keyed_by_text(v) for v in value]
    return value
