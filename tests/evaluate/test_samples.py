"""Where each sample is a unit, neighbours are drawn together: intervals are as wide as the clusters make them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from event_world import make_table
from species_world import skilled, species_table, split_by

from groundswell.core.errors import InputError
from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.evaluate.evaluation import evaluate
from groundswell.evaluate.intervals import Estimate, clustered
from groundswell.evaluate.metrics import accuracy_of, score
from groundswell.evaluate.recipe import EvaluateRecipe
from groundswell.evaluate.units import aggregate, groups_of, groups_of_units, units_of

QUICK = EvaluateRecipe(bootstrap=300)


def test_each_sample_is_a_unit_and_its_cluster_is_what_is_drawn():
    table = species_table(200, 5, places=7)
    units = units_of(table)
    assert units.level == "sample" and units.names.tolist() == table.column("sample_id").tolist()
    assert units.truth.tolist() == table.labels().tolist() and units.classes == table.classes
    assert units.group.tolist() == table.column("place").tolist()
    manifest = split_by(table)
    p = skilled(table, manifest, 1.0)
    answered = aggregate(p, table)
    assert sorted(answered.sample_id) == sorted(p.sample_id)
    assert answered.probability.sum(1) == pytest.approx(np.ones(len(p)))
    places = table.column("place")[table.positions(answered.sample_id.tolist())]
    assert groups_of_units(answered, table).tolist() == pd.factorize(places)[0].tolist()
    assert len(set(groups_of(p, table))) == places.nunique()


def test_without_clusters_the_groups_are_drawn():
    table = species_table(200, 5, places=7, cluster=False)
    assert units_of(table).group.tolist() == table.groups().tolist()


def test_a_sample_without_a_cluster_is_named():
    table = species_table(20, 3)
    table = table.replaced(cluster=[None, *table.column("cluster")[1:]])
    with pytest.raises(InputError, match=r"no cluster.*4000000000_1"):
        units_of(table)


def test_other_tables_do_not_look_at_a_column_of_that_name():
    table = make_table(6)
    again = table.replaced(cluster="all")
    assert units_of(again).level == "event" and units_of(again).group.tolist() == units_of(table).group.tolist()


def test_intervals_hold_the_truth_where_samples_of_a_place_share_its_luck():
    """Accuracy differs from place to place around 0.5: intervals over clusters hold 0.5 in 90 to 98 % of the worlds,
    those over single samples do not."""
    held, naive, worlds = 0, 0, 200
    for world in range(worlds):
        rng = np.random.default_rng(world)
        place = np.repeat(np.arange(40), 15)
        right = rng.uniform(size=600) < rng.beta(1, 1, 40)[place]
        truth = rng.integers(0, 20, 600)
        given = np.eye(20)[np.where(right, truth, (truth + 1) % 20)]
        p = Predictions.of([str(i) for i in range(600)], truth, given, [str(k) for k in range(20)])
        for group, name in ((place, "clustered"), (np.arange(600), "naive")):
            e = accuracy_of(p, group, EvaluateRecipe(bootstrap=300), level="sample", seed=world)
            inside = e.low <= 0.5 <= e.high
            held, naive = held + (inside and name == "clustered"), naive + (inside and name == "naive")
    assert 0.90 <= held / worlds <= 0.98
    assert naive / worlds < 0.7


def test_accuracy_alone_is_the_accuracy_of_all_scores():
    table = species_table(400, 20)
    p = skilled(table, split_by(table), 1.0)
    group = groups_of(p, table)
    for level in ("sample", "window", "event"):
        whole = score(p, group, QUICK, level=level, seed=3).accuracy
        assert accuracy_of(p, group, QUICK, level=level, seed=3) == whole


def test_where_all_answers_are_right_clusters_count_as_trials():
    """A language vector is one for each species, so that its classifier never errs; the bootstrap then sees no
    spread, and what is left to say is how many places that was tested at."""
    table = species_table(300, 20, places=12)
    manifest = split_by(table)
    found = evaluate(skilled(table, manifest, 500.0), table, QUICK, manifest=manifest)
    accuracy = found.units.accuracy
    assert accuracy.value == accuracy.high == 1.0 and accuracy.method == "wilson of groups"
    assert accuracy.low == pytest.approx(1 / (1 + 1.96**2 / found.units.groups), abs=1e-4)
    assert "accuracy 1.000, 95 % interval" in found.conclusion[0]
    given = Estimate(0.3, 0.2, 0.4, "bootstrap")
    assert clustered(given, 5, 0.95) is given
    assert clustered(Estimate(0.3, why="one group alone"), 1, 0.95).low is None


def test_a_handful_of_hits_has_an_interval_that_holds_the_truth():
    """At chance among hundreds of species four of seven hundred are right: resamples of clusters alone, most of which
    had none, say twice as often as they may that the truth is elsewhere."""
    rng = np.random.default_rng(0)
    group, truth, held, alone = rng.integers(0, 15, 700), 0.006, [], []
    for seed in range(200):
        hits = (rng.uniform(size=700) < truth).astype(np.int64)
        p = Predictions.of(np.arange(700).astype(str).astype(object), hits, np.tile([0.0, 1.0], (700, 1)), "ab")
        found = accuracy_of(p, group, QUICK, level="sample", seed=seed)
        narrow = accuracy_of(p, group, QUICK, level="window", seed=seed)
        held.append(found.low <= truth <= found.high)
        alone.append(narrow.low is not None and narrow.low <= truth <= narrow.high)
    assert np.mean(held) >= 0.93
    assert np.mean(alone) < 0.92
    many = Estimate(0.5, 0.2, 0.8, "bootstrap")
    assert clustered(many, 5, 0.95, 100) is many


def test_one_cluster_has_a_score_without_an_interval_and_says_why():
    table = species_table(100, 8, places=1)
    manifest = split_by(table, new_places=0.0)
    found = evaluate(skilled(table, manifest, 1.0), table, QUICK, manifest=manifest)
    assert found.units.accuracy.value is not None and found.units.accuracy.low is None
    assert "without an interval (one group alone cannot be resampled)" in found.conclusion[0]
    assert found.skill.state == "unknown"


def test_few_clusters_are_a_caution():
    table = species_table(300, 8, places=6)
    manifest = split_by(table)
    found = evaluate(skilled(table, manifest, 1.0), table, QUICK, manifest=manifest)
    assert any("6 clusters" in line and "narrower" in line for line in found.not_measured)


def test_a_few_classes_keep_their_curves_and_have_no_top_five():
    table = species_table(600, 4)
    manifest = split_by(table)
    found = evaluate(skilled(table, manifest, 1.0), table, QUICK, manifest=manifest)
    assert found.units.curves and found.units.metrics["roc_auc"].value is not None
    assert "top5_accuracy" not in found.units.metrics and found.windows is found.units
    assert "confusion" in found.to_dict()["units"] and len(found.answers[0]["probability"]) == 4


def test_unknown_species_and_an_empty_test_are_no_crash(tmp_path):
    table = species_table(120, 15)
    manifest = split_by(table)
    hidden = table.column("label")
    hidden[::3] = None
    part = SampleTable(table.frame.assign(label=hidden), table.classes, origin=table.origin)
    p = skilled(table, manifest, 1.0)
    truth = part.labels()[part.positions(p.sample_id.tolist())]
    found = evaluate(Predictions.of(p.sample_id, truth, p.probability, p.classes, fold=0), part, QUICK,
                     manifest=manifest)
    assert found.units.unknown == (truth < 0).sum() > 0 and found.units.samples == (truth >= 0).sum()
    nothing = evaluate(p.take(np.arange(0)), table, QUICK, manifest=manifest)
    assert nothing.conclusion[0] == "There is no score: nothing was scored." and nothing.strata == {}
    nothing.write(tmp_path)
