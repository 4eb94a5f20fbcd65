"""geomag: how much of a score is leakage: the simple rival on folds of single windows, beside the recipe's own."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from groundswell.data.predictions import Predictions
from groundswell.evaluate.binary import binary_scores
from groundswell.evaluate.intervals import Estimate
from groundswell.evaluate.metrics import written
from groundswell.evaluate.units import groups_of
from groundswell.pipelines.archive import Archive
from groundswell.pipelines.geomag.data import prepared_reader
from groundswell.pipelines.geomag.recipe import GeomagRecipe
from groundswell.pipelines.geomag.rocket import fit_rocket_fold
from groundswell.splits.make import make_split
from groundswell.splits.manifest import SplitManifest


@dataclass(frozen=True)
class Probe:
    """MiniRocket + ridge on two divisions of the same windows.

    Attributes:
        single: weighted F1 on folds of single windows by chance, where windows of one event are on both sides.
        own: weighted F1 on the recipe's own folds.
        leaks: whether the first lies above the second beyond both intervals.
        shared: groups that single-window folds tear apart, by the audit.
        sentence: the same in words.
    """

    single: Estimate
    own: Estimate
    leaks: bool
    shared: int
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def probe_leak(recipe: GeomagRecipe, archive: Archive,
               own: tuple[SplitManifest, Predictions] | None = None) -> Probe:
    """Fit the rival on the recipe's folds and on folds of single windows, and say what the difference means.

    Args:
        recipe: of the study or run.
        archive: its windows.
        own: the recipe's own split and what the rival said on it, where that is known already.

    Raises:
        InputError: the windows cannot be divided so.
    """
    single = make_split(archive.table, recipe.split.model_copy(update={"regime": "stratified", "holdout": 0.0}))
    manifest, test = own or (make_split(archive.table, recipe.split), None)
    torn, kept = (_weighted_f1(recipe, archive, answers) for answers in (
        _answers(recipe, archive, single), test if test is not None else _answers(recipe, archive, manifest)))
    shared = sum(f.count for f in single.audit.findings if f.kind == "group")
    leaks = _above(torn, kept)
    return Probe(torn, kept, leaks, shared, _sentence(torn, kept, leaks, shared, manifest.regime))


def _answers(recipe: GeomagRecipe, archive: Archive, manifest: SplitManifest) -> Predictions:
    read = prepared_reader(recipe, archive)
    assert read is not None
    return Predictions.concatenate([
        fit_rocket_fold(read, archive.table, manifest, fold, seed=recipe.split.seed, threads=recipe.train.threads).test
        for fold in range(manifest.folds)])


def _weighted_f1(recipe: GeomagRecipe, archive: Archive, test: Predictions) -> Estimate:
    return binary_scores(test, groups_of(test, archive.table), recipe.evaluate, seed=recipe.split.seed)["f1_weighted"]


def _above(single: Estimate, own: Estimate) -> bool:
    if single.value is None or own.value is None:
        return False
    low = single.low if single.low is not None else single.value
    high = own.high if own.high is not None else own.value
    return low > high


def _sentence(single: Estimate, own: Estimate, leaks: bool, shared: int, regime: str) -> str:
    text = (f"Leak probe: MiniRocket + ridge has a weighted F1 of {written(single)} on folds of single windows, which "
            f"tear {shared} group(s) apart, and of {written(own)} on the folds used here ({regime}).")
    if leaks:
        return (f"{text} The difference is leakage: windows of one event are so alike that a model recognises the "
                "event. Scores from folds of single windows mean nothing for such data.")
    if not shared:
        return f"{text} No group has more than one window, so that there is nothing to leak."
    return f"{text} The two cannot be told apart: folds of single windows do not visibly flatter this model."
