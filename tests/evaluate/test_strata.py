"""Kinds of test are scored apart, held against chance in words, and passed over where too few samples say anything."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from event_world import logistic_fit, make_split, make_table
from sklearn.metrics import accuracy_score
from species_world import skilled, species_table, split_by

from groundswell.data.predictions import Predictions
from groundswell.evaluate.controls import MAJORITY, PERMUTED, Control, ControlRun, Outcome, majority, permuted_labels
from groundswell.evaluate.evaluation import evaluate
from groundswell.evaluate.exposure import exposure_of
from groundswell.evaluate.intervals import Estimate
from groundswell.evaluate.recipe import EvaluateRecipe
from groundswell.evaluate.skill import skill_of
from groundswell.splits.manifest import TEST, SplitManifest

QUICK = EvaluateRecipe(bootstrap=300)
PLACE = Control("coordinates_knn", "coordinates only", "null", "Knows the place.", "The place alone", "the place",
                "the place tells.")
RIVAL = Control("linear_probe", "linear probe", "rival", "A straight line.", "A straight line")


@pytest.fixture(scope="module")
def world():
    table = species_table(3000, 80, places=150)
    return table, split_by(table, new_places=0.3)


@pytest.fixture(scope="module")
def evaluation(world):
    """A model that knows the species where the place was seen and nothing where it is new; so does a control."""
    table, manifest = world
    runs = [ControlRun(MAJORITY, majority(table, manifest)),
            ControlRun(PLACE, Outcome(skilled(table, manifest, 1.5, seed=3, only="seen place"), table)),
            ControlRun(RIVAL, Outcome(skilled(table, manifest, 3.5, seed=4), table)),
            ControlRun(PERMUTED, permuted_labels(lambda t, m: skilled(t, m, 0.0, seed=9))(table, manifest))]
    return evaluate(skilled(table, manifest, 3.0, only="seen place"), table, QUICK, controls=runs, manifest=manifest)


def test_each_stratum_is_scored_on_its_own_samples(evaluation, world):
    table, manifest = world
    p = evaluation.predictions["units"]
    kind = manifest.stratum[table.positions(p.sample_id.tolist())]
    assert list(evaluation.strata) == ["seen place", "unseen place"]
    for name, stratum in evaluation.strata.items():
        rows = kind == name
        assert stratum.samples == rows.sum() == stratum.scores.samples
        assert stratum.scores.accuracy.value == pytest.approx(accuracy_score(p.truth[rows], p.predicted[rows]))
        assert stratum.groups == table.column("cluster")[table.positions(p.sample_id[rows].tolist())].nunique()
    assert sum(s.samples for s in evaluation.strata.values()) == evaluation.units.samples


def test_a_place_that_is_new_shows_no_skill_and_the_conclusion_says_so(evaluation):
    seen, unseen = evaluation.strata["seen place"], evaluation.strata["unseen place"]
    assert seen.skill.state == "shown" and not seen.new_place
    assert unseen.skill.state == "none" and unseen.new_place
    accuracy = unseen.scores.accuracy
    assert accuracy.low <= unseen.skill.chance <= accuracy.high
    line = next(line for line in evaluation.conclusion if line.startswith("Unseen place"))
    assert "contains chance" in line and "no skill shown where the place is new" in line
    assert line.endswith("Not better there than: majority, coordinates only.")
    said = next(line for line in evaluation.conclusion if line.startswith("Seen place"))
    assert "no skill" not in said and "times chance" in said and "Not better" not in said


def test_controls_stand_beside_each_stratum_on_the_same_samples(evaluation, world):
    table, manifest = world
    for name, stratum in evaluation.strata.items():
        beside = {c.control.name: c for c in stratum.controls}
        assert list(beside) == ["majority", "coordinates_knn", "linear_probe", "permuted_labels"]
        rows = np.flatnonzero((manifest.assignment[:, 0] == TEST) & (manifest.stratum == name))
        theirs = skilled(table, manifest, 3.5, seed=4)
        theirs = theirs.take(np.isin(theirs.sample_id, table.column("sample_id")[rows]))
        accuracy = accuracy_score(theirs.truth, theirs.predicted)
        assert beside["linear_probe"].accuracy.value == pytest.approx(accuracy)
        gap = beside["linear_probe"].difference
        assert gap.value == pytest.approx(stratum.scores.accuracy.value - accuracy) and gap.low < gap.value < gap.high
        assert beside["permuted_labels"].difference.value is None  # other truths: nothing to subtract
    assert evaluation.strata["unseen place"].controls[2].difference.high < 0


def test_a_control_above_chance_is_named(evaluation):
    found = {c.control.name: c for c in evaluation.controls}
    assert found["coordinates_knn"].verdict.state == "above"
    assert "above the chance rate of 0.01" in found["coordinates_knn"].verdict.sentence
    assert found["coordinates_knn"].verdict.sentence in evaluation.conclusion
    assert found["majority"].verdict.state == "inside" and "majority rate" in found["majority"].verdict.sentence
    assert found["permuted_labels"].verdict.state in ("inside", "below")


def test_dealt_labels_found_again_are_a_leak_though_the_commonest_class_is_commoner_still():
    """One species in four is the same, so that the majority rate is far above what two hundred others score."""
    table = species_table(3000, 200, places=150)
    label = np.where(np.arange(3000) % 4 == 0, 7, table.labels())
    table = table.replaced(label=label)
    manifest = split_by(table)
    rare = label != 7

    def leaking(t, m):
        """Finds a tenth of the dealt labels again."""
        p = skilled(t, m, 0.0)
        answer = np.where(np.arange(len(p)) % 10 == 0, p.truth, 150)
        return dataclasses.replace(p, probability=np.eye(200)[answer])

    run = [ControlRun(PERMUTED, permuted_labels(leaking)(table, manifest))]
    control = evaluate(skilled(table, manifest, 3.0), table, QUICK, controls=run, manifest=manifest).controls[0]
    assert rare.any() and control.scores.accuracy.high < control.scores.majority_rate
    assert control.chance < control.scores.accuracy.low
    assert control.verdict.state == "above" and "the split leaks" in control.verdict.sentence


def test_chance_is_what_guessing_by_the_training_frequencies_scores(world):
    table, manifest = world
    exposure, p = exposure_of(table, manifest), skilled(table, manifest, 0.0)
    taught = table.labels()[manifest.rows(1)]
    rng = np.random.default_rng(0)
    guessed = np.mean([accuracy_score(p.truth, rng.choice(taught, len(p))) for _ in range(600)])
    assert exposure.chance(p) == pytest.approx(guessed, rel=0.05)
    assert exposure.chance(p.take(np.zeros(len(p), bool))) is None


@pytest.mark.parametrize(("ends", "chance", "majority", "state", "words"), [
    ((0.2, 0.15, 0.25), 0.01, 0.05, "shown", "20.0 times chance"),
    ((0.06, 0.04, 0.08), 0.01, 0.05, "constant", "most frequent tested class would score (0.050)"),
    ((0.011, 0.005, 0.02), 0.01, 0.05, "none", "contains chance (0.0100"),
    ((0.001, 0.0, 0.005), 0.01, 0.05, "below", "lies below chance"),
    ((0.4, 0.3, 0.5), None, 0.45, "none", "always giving the most frequent tested class"),
    ((0.5, None, None), 0.01, 0.05, "unknown", ""),
])
def test_an_interval_is_held_against_chance(ends, chance, majority, state, words):
    found = skill_of(Estimate(*ends), chance, majority, new_place=True)
    assert found.state == state and words in found.sentence
    assert ("no skill shown where the place is new" in found.sentence) == (state in ("none", "below"))


def test_a_stratum_with_too_few_samples_has_no_number_but_the_reason(world):
    table, manifest = world
    kind = manifest.stratum.copy()
    few = np.flatnonzero(kind == "unseen place")[:29]
    kind[few] = "unseen place, future"
    found = evaluate(skilled(table, manifest, 1.0), table, QUICK, manifest=dataclasses.replace(manifest, stratum=kind))
    stratum = found.strata["unseen place, future"]
    assert stratum.scores is None and stratum.controls == [] and stratum.samples == 29
    assert stratum.why == "29 tested samples, and a number needs 30"
    assert "'unseen place, future': 29 tested samples, and a number needs 30." in found.not_measured
    assert not any(line.startswith("Unseen place, future") for line in found.conclusion)
    assert found.to_dict()["strata"]["unseen place, future"]["scores"] is None


def test_regions_of_one_kind_are_scored_together_too(world):
    table, manifest = world
    kind = manifest.stratum.copy()
    rows = np.flatnonzero(kind == "unseen place")
    kind[rows] = [f"spatial region {1 + (i >= 40) + (i >= 50) + 8 * (i >= 60)}" for i in range(len(rows))]
    found = evaluate(skilled(table, manifest, 1.0), table, QUICK, manifest=dataclasses.replace(manifest, stratum=kind))
    assert list(found.strata) == ["seen place", "spatial region 1", "spatial region 2", "spatial region 3",
                                  "spatial region 11", "spatial regions together"]
    together = found.strata["spatial regions together"]
    assert together.samples == len(rows) and together.new_place and together.scores is not None
    assert found.strata["spatial region 2"].scores is None


@pytest.mark.parametrize(("regime", "new"), [("spatial", True), ("buffered", True), ("grouped", False)])
def test_a_split_of_one_kind_speaks_of_the_whole_test(world, regime, new):
    table, manifest = world
    plain = dataclasses.replace(manifest, stratum=None, regime=regime)
    found = evaluate(skilled(table, plain, 0.0), table, QUICK, manifest=plain)
    assert found.strata == {} and found.skill.state == "none"
    assert ("where the place is new" in found.conclusion[1]) == new and "no skill shown" in found.conclusion[1]
    assert "strata" not in found.to_dict()


def test_events_have_strata_too_and_are_refused_by_events():
    table = make_table(60, skill=2.0)
    manifest = make_split(table)
    code = np.array([int(name[2:]) for name in table.column("event")])
    kind = np.where(code < 40, "seen station", np.where(code < 50, "unseen station", "")).astype(object)
    kind[(code == 0) & (np.arange(len(table)) % 2 == 0)] = "unseen station"
    found = evaluate(logistic_fit(table, manifest), table, QUICK, manifest=dataclasses.replace(manifest, stratum=kind))
    assert {name: s.samples for name, s in found.strata.items()} == {
        "several kinds": 1, "seen station": 39, "unseen station": 10}
    assert found.strata["unseen station"].why == "10 tested events, and a number needs 30"
    seen = found.strata["seen station"]
    rows = [row for row in found.answers if 1 <= int(row["name"][2:]) < 40]
    assert seen.scores.accuracy.value == pytest.approx(np.mean([row["right"] for row in rows]))
    assert seen.scores.accuracy.method == "wilson" and seen.skill.chance == seen.scores.majority_rate


def test_a_manifest_without_strata_changes_nothing_about_events():
    table = make_table(40, skill=1.5)
    manifest = make_split(table)
    with_it, without = (evaluate(logistic_fit(table, manifest), table, QUICK, manifest=m) for m in (manifest, None))
    assert with_it.to_dict() == without.to_dict()


def test_folds_are_held_against_what_each_of_them_was_taught():
    table = species_table(400, 4, places=20)
    labels = table.labels()
    # Fold 0 is taught species 0 and 1 and tested on the others; fold 1 the other way round.
    first = np.isin(labels, (0, 1))
    assignment = np.where(np.stack([first, ~first], 1), 1, TEST).astype(np.int8)
    manifest = SplitManifest.of(table, assignment, "kfold", 0, {})
    p = Predictions.concatenate([skilled(table, manifest, 0.0).take(np.arange(len(table)))])
    exposure = exposure_of(table, manifest)
    assert exposure.folds == 2 and not exposure.seen(p).any() and exposure.chance(p) == 0
    assert exposure.mean_counts() == pytest.approx(np.bincount(labels, minlength=4) / 2)
    of_no_fold = dataclasses.replace(p, fold=np.full(len(p), -1))
    assert exposure.seen(of_no_fold).all()
