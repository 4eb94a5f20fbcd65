"""Samples of classes that training had none of are counted, scored apart, and told from the others by a stated area."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score
from species_world import skilled, species_table, split_by

from groundswell.evaluate.evaluation import evaluate
from groundswell.evaluate.recipe import EvaluateRecipe

QUICK = EvaluateRecipe(bootstrap=300)
UNSEEN = (3, 7, 11)


@pytest.fixture(scope="module")
def world():
    table = species_table(2500, 30)
    return table, split_by(table, unseen=UNSEEN)


def hesitant(table, manifest):
    """A model that knows its classes and is unsure about the others."""
    p = skilled(table, manifest, 4.0)
    lost = np.isin(p.truth, UNSEEN)
    rng = np.random.default_rng(3)
    probability = p.probability.copy()
    probability[lost] = rng.dirichlet(np.full(30, 2.0), int(lost.sum()))
    return type(p).of(p.sample_id, p.truth, probability, p.classes, fold=0)


def test_known_and_unseen_are_scored_apart(world):
    table, manifest = world
    p = hesitant(table, manifest)
    found = evaluate(p, table, QUICK, manifest=manifest)
    lost = np.isin(p.truth, UNSEEN)
    apart = found.open_set
    assert (apart.known, apart.unseen) == ((~lost).sum(), lost.sum()) and apart.unseen >= 30
    assert apart.unseen_classes == {f"Species {k:03d}": int((p.truth == k).sum()) for k in UNSEEN}
    assert apart.scores.accuracy.value == pytest.approx(accuracy_score(p.truth[~lost], p.predicted[~lost]))
    assert apart.scores.metrics["balanced_accuracy"].value == pytest.approx(
        recall_score(p.truth[~lost], p.predicted[~lost], labels=np.unique(p.truth[~lost]), average="macro"))
    assert apart.scores.accuracy.value > found.units.accuracy.value  # the headline counts what cannot be known as wrong
    top = p.probability.max(1)
    assert apart.auroc.value == pytest.approx(roc_auc_score(~lost, top))
    assert 0.5 < apart.auroc.low < apart.auroc.value < apart.auroc.high <= 1
    line = next(line for line in found.conclusion if "training had none of" in line)
    assert line.startswith(f"{apart.unseen} of {len(p)} tested samples are of 3 classes")
    assert {row.name for row in found.by_class if row.unseen} == set(apart.unseen_classes)
    assert found.to_dict()["open_set"]["unseen"] == apart.unseen


@pytest.mark.parametrize(("gap", "area"), [(1.0, 0.7602), (0.0, 0.5)])
def test_the_interval_of_the_area_covers_the_truth(gap, area):
    """Scores of known samples are normal with mean ``gap``, of unseen ones with mean 0: the area is Phi(gap / sqrt 2),
    one half for a model that does not know what it does not know."""
    held = 0
    for seed in range(30):
        table = species_table(700, 4, seed=seed, places=80)
        manifest = split_by(table, unseen=(0,), seed=seed, new_places=0.5)
        p = skilled(table, manifest, 0.0)
        rng = np.random.default_rng(seed)
        sure = 1 / (1 + np.exp(-rng.normal(size=len(p)) - gap * (p.truth != 0))) * 0.7 + 0.29
        probability = np.column_stack([sure, *[(1 - sure) / 3] * 3])
        given = type(p).of(p.sample_id, p.truth, probability, p.classes, fold=0)
        auroc = evaluate(given, table, EvaluateRecipe(bootstrap=300, n_min=10), manifest=manifest,
                         seed=seed).open_set.auroc
        held += auroc.low <= area <= auroc.high
    assert held >= 25


def test_few_unseen_samples_are_counted_and_no_area_is_claimed(world):
    table, manifest = world
    few = EvaluateRecipe(bootstrap=200, n_min=1000)
    apart = evaluate(hesitant(table, manifest), table, few, manifest=manifest)
    assert apart.open_set.unseen > 0 and apart.open_set.auroc.value is None and apart.open_set.scores is None
    assert "each needs 1000" in apart.open_set.auroc.why
    assert any("tells unseen classes from known ones" in line for line in apart.not_measured)


def test_where_every_class_was_taught_nothing_is_said(world):
    table = world[0]
    manifest = split_by(table)
    found = evaluate(skilled(table, manifest, 2.0), table, QUICK, manifest=manifest)
    assert found.open_set.unseen == 0 and found.open_set.scores is None and found.open_set.sentence() == ""
    assert "every tested class was taught" in found.open_set.auroc.why
    assert not any("training had none" in line for line in found.conclusion)


def test_without_the_split_it_is_said_that_nothing_is_known_of_training(world):
    table, manifest = world
    found = evaluate(hesitant(table, manifest), table, QUICK)
    assert found.open_set is None and found.skill is None and "open_set" not in found.to_dict()
    assert any("the split was not given" in line for line in found.not_measured)
    assert "prevalence_weighted_accuracy" not in found.units.metrics
