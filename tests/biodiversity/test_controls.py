"""The controls of species models know what they say they know and nothing else, fold by fold."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable
from groundswell.evaluate.controls import run_controls
from groundswell.pipelines.biodiversity.controls import (
    COORDINATES_KNN,
    LINEAR_PROBE,
    MONTH_PRIOR,
    biodiversity_controls,
    coordinates_knn,
    linear_probe,
    month_prior,
)
from groundswell.pipelines.biodiversity.observations import observation_table, read_observations
from groundswell.splits.manifest import EXCLUDED, TEST, TRAIN, VALIDATION, SplitManifest

ALL = ("majority", "month_prior", "coordinates_knn", "linear_probe", "permuted_labels")


def table_of(labels, latitude=None, longitude=None, month=None, species: int = 0) -> SampleTable:
    count = len(labels)
    frame = pd.DataFrame({
        "sample_id": [f"{k}_1" for k in range(count)], "record": [str(k) for k in range(count)], "label": labels,
        "group": [str(k) for k in range(count)],
        "latitude": np.zeros(count) if latitude is None else latitude,
        "longitude": np.zeros(count) if longitude is None else longitude})
    if month is not None:
        frame["month"] = pd.array(month, dtype="Int64")
    classes = [f"s{k}" for k in range(species or max(labels) + 1)]
    return SampleTable(frame, classes, pipeline="biodiversity", origin={"unit": "sample", "simulated": True})


def split_of(table: SampleTable, assignment) -> SplitManifest:
    return SplitManifest.of(table, np.asarray(assignment, np.int8), "given", 0, {})


def no_vectors(rows):
    raise AssertionError("nothing here looks at embeddings")


def no_fit(name):
    raise AssertionError(f"nothing here fits a network, least of all for {name}")


def right(outcome) -> np.ndarray:
    return outcome.predictions.predicted == outcome.predictions.truth


# The published split


@pytest.fixture(scope="module")
def published(real_biodiversity) -> tuple[SampleTable, SplitManifest, np.ndarray]:
    frame = read_observations(real_biodiversity / "central_florida_observations.csv")
    table = observation_table(frame)
    manifest = split_of(table, np.where(frame["split"] == "train", TRAIN, TEST))
    return table, manifest, (frame["split_reason"] == "temporal_test").to_numpy()[manifest.rows(TEST)]


def test_the_place_alone_scores_what_is_published_of_it(published):
    table, manifest, later = published
    hit = right(coordinates_knn(table, manifest))
    assert (len(hit), hit.sum(), hit[later].sum(), hit[~later].sum()) == (674, 48, 41, 7)
    assert [round(100 * share, 1) for share in (hit.mean(), hit[later].mean(), hit[~later].mean())] == [7.1, 8.4, 3.8]


def test_the_month_alone_is_above_chance_on_the_published_split(published):
    table, manifest, _ = published
    assert right(month_prior(table, manifest)).sum() == 22


def test_the_rival_is_quick_on_as_many_observations_and_species_as_the_real_ones(published):
    table, manifest, _ = published
    mean = np.random.default_rng(0).standard_normal((len(table.classes), 1408)).astype(np.float32)

    def read(rows):
        noise = np.random.default_rng(int(rows.sum())).standard_normal((len(rows), 1408), np.float32)
        return 0.12 * mean[table.labels()[rows]] + noise

    begin = time.process_time()
    hit = right(linear_probe(read)(table, manifest))
    assert time.process_time() - begin < 60
    assert hit.mean() > 0.3


# The month


def test_the_month_is_learnt_from_training_and_shared_out_as_said():
    month = [1] * 4 + [7] * 4 + [1, 7, None, 3]
    table = table_of([0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 0, 0], month=month, species=3)
    found = month_prior(table, split_of(table, [TRAIN] * 8 + [TEST] * 4)).predictions
    for row, january in ((0, [8 / 14, 6 / 14, 0]), (1, [6 / 14, 8 / 14, 0]), (2, [0.5, 0.5, 0]), (3, [0.5, 0.5, 0])):
        assert found.probability[row] == pytest.approx(0.99 * np.array(january) + 0.01 / 3)
    assert found.member.tolist() == ["month_prior"] * 4 and found.truth.tolist() == [0, 1, 0, 0]


def test_without_months_it_cannot_be_run():
    for month in (None, [None] * 4):
        table = table_of([0, 1, 0, 1], month=month)
        with pytest.raises(InputError, match="in which month"):
            month_prior(table, split_of(table, [TRAIN, TRAIN, TEST, TEST]))


# The place


def test_near_neighbours_outvote_more_far_ones_and_all_within_metres_count_alike():
    degree = 1 / 111_195  # of a metre
    # One of species 0 at 100 m against four of species 1 at 1,000 m; then two within metres against one at the spot.
    table = table_of([0, 1, 1, 1, 1, 0], [100 * degree, *[1000 * degree] * 4, 0.0])
    found = coordinates_knn(table, split_of(table, [TRAIN] * 5 + [TEST]))
    weight = np.array([1 / 150, 4 / 1050])
    assert found.predictions.probability[0] == pytest.approx(0.99 * weight / weight.sum() + 0.005, rel=1e-3)
    table = table_of([0, 1, 1, 0], [0.0, 3 * degree, -3 * degree, 0.0])
    assert coordinates_knn(table, split_of(table, [TRAIN] * 3 + [TEST])).predictions.predicted.tolist() == [1]


def test_neighbours_across_the_date_line_are_near_and_only_twenty_are_asked():
    table = table_of([0] * 21 + [1] * 20 + [0], longitude=[179.0] * 21 + [-179.9999] * 20 + [179.9999])
    found = coordinates_knn(table, split_of(table, [TRAIN] * 41 + [TEST])).predictions
    assert found.probability[0] == pytest.approx([0.005, 0.995])


def test_fewer_than_twenty_to_learn_from_are_enough_and_none_are_refused():
    table = table_of([1, 0, 0])
    found = coordinates_knn(table, split_of(table, [TRAIN, EXCLUDED, TEST])).predictions
    assert found.predicted.tolist() == [1]
    for runner in (coordinates_knn, linear_probe(no_vectors)):
        with pytest.raises(InputError, match="to learn from"):
            runner(table, split_of(table, [EXCLUDED, EXCLUDED, TEST]))


# The rival


def world(count=240, species=6, features=30, seed=0):
    chance = np.random.default_rng(seed)
    labels = chance.integers(species, size=count)
    x = (1.0 * chance.standard_normal((species, features))[labels] + chance.standard_normal((count, features)))
    table = table_of(labels.tolist(), month=chance.integers(1, 13, size=count).tolist(), species=species)
    folds = np.full((count, 3), TRAIN)
    part = chance.integers(4, size=count)
    for fold in range(3):
        folds[part == fold, fold] = TEST
        folds[part == 3, fold] = VALIDATION
    return table, split_of(table, folds), (50 + 1000 * x).astype(np.float32)


def test_a_linear_probe_finds_what_a_line_can_find_and_no_null_control_does():
    table, manifest, x = world()
    for control, runner in biodiversity_controls(ALL[:4], no_fit, lambda rows: x[rows]):
        outcome = runner(table, manifest)
        assert len(outcome.predictions) == (np.asarray(manifest.assignment) == TEST).sum()
        assert np.allclose(outcome.predictions.probability.sum(axis=1), 1)
        share = right(outcome).mean()
        assert share > 0.9 if control.kind == "rival" else share < 0.3


def test_the_probe_learns_from_nothing_but_its_own_folds_parts():
    table, manifest, x = world()
    whole = linear_probe(lambda rows: x[rows])(table, manifest).predictions
    seen = []

    def read(rows):
        seen.append(rows)
        return x[rows]

    first = split_of(table, manifest.assignment[:, 0])
    alone = linear_probe(read)(table, first).predictions
    assert np.array_equal(alone.probability, whole.take(whole.fold == 0).probability)
    assert set(seen[0].tolist()) == set(np.concatenate([first.rows(TRAIN), first.rows(VALIDATION)]).tolist())
    assert set(seen[1].tolist()) == set(first.rows(TEST).tolist())


def test_the_probe_does_not_mind_the_scale_of_a_feature_nor_one_that_is_constant():
    table, manifest, x = world(features=8)
    plain = linear_probe(lambda rows: x[rows])(table, manifest).predictions
    scaled = np.concatenate([x * np.float32(0.01), np.full((len(x), 1), 7, np.float32)], axis=1)
    other = linear_probe(lambda rows: scaled[rows])(table, manifest).predictions
    assert np.abs(plain.probability - other.probability).max() < 0.01


def test_a_single_species_is_nothing_to_learn():
    table = table_of([0, 0, 1])
    with pytest.raises(InputError, match="only one species"):
        linear_probe(lambda rows: np.zeros((len(rows), 2), np.float32))(table, split_of(table, [TRAIN, TRAIN, TEST]))


# All together


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_a_species_that_training_never_saw_is_held_unlikely_but_not_impossible(seed):
    chance = np.random.default_rng(seed)
    table = table_of(chance.integers(3, size=30).tolist(), chance.uniform(-90, 90, 30), chance.uniform(-180, 180, 30),
                     chance.integers(1, 13, size=30).tolist(), species=5)
    manifest = split_of(table, np.where(np.arange(30) < 25, TRAIN, TEST))
    for runner in (month_prior, coordinates_knn):
        probability = runner(table, manifest).predictions.probability
        assert (probability[:, 3:] == pytest.approx(0.002)) and np.allclose(probability.sum(axis=1), 1)


def test_dealt_labels_are_fitted_on_the_same_split_and_scored_against_themselves():
    table, manifest, x = world(count=120)
    fitted = []

    def fit(given, split):
        fitted.append((given, split))
        return linear_probe(lambda rows: x[rows])(given, split).predictions

    asked = []

    def fit_of(name):
        asked.append(name)
        return fit

    ((control, runner),) = biodiversity_controls(["permuted_labels"], fit_of, no_vectors)
    outcome = runner(table, manifest)
    assert asked == ["permuted_labels"] and control.kind == "null"
    given, split = fitted[0]
    assert np.array_equal(split.assignment, manifest.assignment)
    assert sorted(given.labels()) == sorted(table.labels()) and (given.labels() != table.labels()).mean() > 0.6
    assert right(outcome).mean() < 0.4


def test_each_control_says_what_it_is_and_an_unknown_one_is_refused():
    table, manifest, x = world(count=60)
    runs = run_controls(biodiversity_controls(ALL[:4], no_fit, lambda rows: x[rows]), table, manifest)
    assert [run.control.name for run in runs] == list(ALL[:4]) and all(run.outcome for run in runs)
    assert [c.kind for c in (MONTH_PRIOR, COORDINATES_KNN, LINEAR_PROBE)] == ["null", "null", "rival"]
    assert all(c.means and c.knows for c in (MONTH_PRIOR, COORDINATES_KNN))
    with pytest.raises(InputError, match=r"no control 'clock'.*month_prior"):
        biodiversity_controls(["clock"], no_fit, no_vectors)
