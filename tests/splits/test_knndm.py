"""Folds that lie as far from training as predictions will lie from samples, beside the plain way of measuring them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from place_tables import AROUND, apart_m, make_places, shuffled
from scipy.cluster.hierarchy import fcluster, ward
from scipy.spatial.distance import cdist
from scipy.stats import ks_2samp
from sklearn.metrics import adjusted_rand_score

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.data.sphere import great_circle_km
from groundswell.data.table import SampleTable
from groundswell.splits.knndm import divide_knndm, knndm_folds, prediction_grid, read_points
from groundswell.splits.knndm_clusters import ClusterTree, merge_into_folds
from groundswell.splits.knndm_matching import MOST_SHARE, KnndmFolds
from groundswell.splits.knndm_words import matching_in_words
from groundswell.splits.make import make_split
from groundswell.splits.parts import TEST, TRAIN, VALIDATION
from groundswell.splits.recipe import SplitRecipe

Points = NDArray[np.float64]


def recipe_of(**keys: Any) -> SplitRecipe:
    return build_recipe(SplitRecipe, {"regime": "knndm", **keys})


def clustered(count: int, seed: int, *, clusters: int = 12, width: float = 0.03) -> Points:
    """Places in a few clusters in a square of one degree, latitude and longitude. Simulated."""
    chance = np.random.default_rng(seed)
    middles = chance.random((clusters, 2))
    at = middles[chance.integers(0, clusters, count)] + width * chance.normal(size=(count, 2))
    return np.clip(at, 0, 1) + np.array([28.0, -82.0])


def scattered(count: int, seed: int) -> Points:
    """Places anywhere in the same square. Simulated."""
    return np.random.default_rng([seed, 7]).random((count, 2)) + np.array([28.0, -82.0])


def metres(points: Points, others: Points) -> Points:
    return np.array([great_circle_km(others[:, 0], others[:, 1], tuple(site)) for site in points]) * 1000


def wasserstein(a: Points, b: Points) -> float:
    """The area between two distribution functions, step by step."""
    at = np.unique(np.concatenate([a, b]))
    apart = [abs((a <= x).mean() - (b <= x).mean()) for x in at]
    return float(np.dot(apart[:-1], np.diff(at)))


def to_other_folds(apart: Points, fold: NDArray[np.int64]) -> Points:
    return np.where(fold[:, None] != fold, apart, np.inf).min(axis=1)


# The statistic


@settings(max_examples=12)
@given(st.integers(0, 10_000), st.integers(2, 6), st.sampled_from(AROUND))
def test_distances_and_w_are_those_of_the_matrix_of_all_distances(seed: int, folds: int, around: tuple) -> None:
    table = make_places(80, seed, around)
    samples = np.column_stack([table.column("latitude"), table.column("longitude")])
    there = prediction_grid(samples[:, 0], samples[:, 1], 60)
    found = knndm_folds(samples, there, folds, seed=seed)
    apart = apart_m(table)
    assert np.allclose(found.wanted, metres(there, samples).min(axis=1), rtol=1e-5, atol=0.2)
    assert np.allclose(found.tested, to_other_folds(apart, found.fold), rtol=1e-5, atol=0.2)
    assert found.w == pytest.approx(wasserstein(to_other_folds(apart, found.fold), found.wanted), rel=1e-4, abs=0.5)
    among = np.where(np.eye(len(samples), dtype=bool), np.inf, apart).min(axis=1)
    assert found.p == pytest.approx(ks_2samp(np.round(among, 1), np.round(found.wanted, 1), alternative="greater",
                                             method="asymp").pvalue, abs=0.02)


def test_between_features_distances_are_of_standardised_columns() -> None:
    chance = np.random.default_rng(3)
    samples, there = chance.normal(size=(90, 4)) * (1, 10, 100, 0) + 5, chance.normal(size=(40, 4)) * 30
    there[:, 3] = 5.0
    found = knndm_folds(samples, there, 3, space="feature")
    mean, deviation = samples[:, :3].mean(axis=0), samples[:, :3].std(axis=0)
    scaled, asked = (samples[:, :3] - mean) / deviation, (there[:, :3] - mean) / deviation
    assert np.allclose(found.wanted, cdist(asked, scaled).min(axis=1))
    assert np.allclose(found.tested, to_other_folds(cdist(scaled, scaled), found.fold))
    assert found.w == pytest.approx(wasserstein(found.tested, found.wanted))
    assert found.unit == "standard deviations"


def test_features_said_twice_count_once_by_the_distance_of_mahalanobis() -> None:
    chance = np.random.default_rng(4)
    plain, there = chance.normal(size=(60, 2)), chance.normal(size=(30, 2))
    twice, there_twice = plain[:, [0, 0, 0, 1]], there[:, [0, 0, 0, 1]]
    once = knndm_folds(plain, there, 3, space="feature", mahalanobis=True)
    again = knndm_folds(twice, there_twice, 3, space="feature", mahalanobis=True)
    assert np.allclose(once.wanted, again.wanted) and once.w == pytest.approx(again.w)


def test_with_many_features_distances_are_the_same_as_with_a_tree() -> None:
    chance = np.random.default_rng(5)
    samples, there = chance.normal(size=(70, 30)), chance.normal(size=(20, 30))
    found = knndm_folds(samples, there, 2, space="feature")
    mean, deviation = samples.mean(axis=0), samples.std(axis=0)
    assert np.allclose(found.wanted, cdist((there - mean) / deviation, (samples - mean) / deviation).min(axis=1))


# The folds


@settings(max_examples=12)
@given(st.integers(0, 10_000), st.integers(2, 7), st.integers(1, 30), st.booleans())
def test_folds_match_no_worse_than_by_chance_and_none_is_empty_or_too_large(seed: int, folds: int, clusters: int,
                                                                            spread: bool) -> None:
    samples = clustered(120, seed, clusters=clusters)
    there = scattered(80, seed) if spread else clustered(80, seed + 1, clusters=clusters)
    found = knndm_folds(samples, there, folds, seed=seed)
    counts = np.bincount(found.fold, minlength=folds)
    assert found.w <= found.w_random
    assert len(counts) == folds and counts.min() > 0
    assert counts.max() <= max(MOST_SHARE, 1.2 / folds) * len(samples)
    again = knndm_folds(samples, there, folds, seed=seed)
    assert (again.fold == found.fold).all() and again.w == found.w


@pytest.mark.parametrize("seed", range(5))
def test_where_samples_lie_as_predictions_will_folds_are_by_chance(seed: int) -> None:
    found = knndm_folds(scattered(400, seed), scattered(400, seed + 100), 5, seed=seed)
    # A test at 5 % sees clusters where there are none in one case of twenty; these then hardly match better.
    assert found.by_chance or found.w > 0.6 * found.w_random
    # With a fifth of the samples away, the others are farther by an eighth.
    assert found.w < 0.25 * np.median(found.wanted) or not found.by_chance
    assert np.ptp(np.bincount(found.fold)) <= 1 or not found.by_chance


def test_the_folds_by_chance_are_taken_in_most_of_these_cases() -> None:
    taken = [knndm_folds(scattered(300, seed), scattered(300, seed + 50), 5, seed=seed).by_chance for seed in range(20)]
    assert np.mean(taken) >= 0.8


@pytest.mark.parametrize("seed", range(4))
def test_of_clustered_samples_and_predictions_all_over_the_folds_hold_clusters_together(seed: int) -> None:
    samples = clustered(600, seed, clusters=40, width=0.01)
    there = scattered(1000, seed)
    found = knndm_folds(samples, there, 5, seed=seed)
    assert not found.by_chance and found.p < 1e-6
    assert found.w < 0.4 * found.w_random
    apart = metres(samples, samples)
    np.fill_diagonal(apart, np.inf)
    nearest = apart.argmin(axis=1)
    by_chance = np.random.default_rng(0).permutation(found.fold)
    assert (found.fold[nearest] == found.fold).mean() > 0.9 > 0.4 > (by_chance[nearest] == by_chance).mean()
    # The distances match where it matters: in the middle, not only on the average.
    assert 0.5 < np.median(found.tested) / np.median(found.wanted) < 2
    assert np.median(found.tested_random) < 0.2 * np.median(found.wanted)


def test_the_farther_predictions_lie_the_fewer_clusters_are_folded() -> None:
    samples = clustered(500, 1, clusters=60, width=0.005)
    near = knndm_folds(samples, clustered(500, 1, clusters=60, width=0.03), 5)
    far = knndm_folds(samples, scattered(500, 1), 5)
    away = knndm_folds(samples, scattered(500, 1) + np.array([3.0, 0.0]), 5)
    assert near.clusters > far.clusters > away.clusters
    assert np.median(near.tested) < np.median(far.tested) < np.median(away.tested)


def test_candidates_go_from_as_many_clusters_as_folds_to_as_many_as_samples_and_the_best_is_taken() -> None:
    found = knndm_folds(clustered(200, 2), scattered(200, 2), 4)
    numbers = [made.clusters for made in found.candidates]
    assert numbers == sorted(set(numbers)) and numbers[0] == 4 and numbers[-1] == 200 and len(numbers) > 40
    best = min(found.candidates, key=lambda made: made.w)
    assert (best.clusters, best.w) == (found.clusters, pytest.approx(found.w))
    assert all(np.isinf(made.w) == (made.largest > MOST_SHARE) for made in found.candidates)
    few = knndm_folds(clustered(200, 2), scattered(200, 2), 4, clusters=[4, 9, 9, 30])
    assert [made.clusters for made in few.candidates] == [4, 9, 30]


def test_what_is_asked_of_some_samples_chooses_well_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, there = clustered(1500, 3, clusters=50), scattered(1000, 3)
    whole = knndm_folds(samples, there, 5)
    plain = knndm_folds.__globals__["space_of"]

    def frugal(*args: Any, **keys: Any) -> Any:
        space = plain(*args, **keys)
        space.asked = 200
        return space

    monkeypatch.setitem(knndm_folds.__globals__, "space_of", frugal)
    some = knndm_folds(samples, there, 5)
    assert some.w == pytest.approx(wasserstein(some.tested, some.wanted), rel=1e-6)
    assert some.w < 1.5 * whole.w and some.w < 0.7 * some.w_random


def test_the_seed_decides_and_not_the_order_of_rows() -> None:
    samples, there = clustered(300, 4), scattered(200, 4)
    one, other = (knndm_folds(samples, there, 5, seed=seed) for seed in (0, 1))
    assert one.w_random != other.w_random
    order = np.random.default_rng(0).permutation(len(samples))
    turned = knndm_folds(samples[order], there, 5)
    assert (turned.fold == one.fold[order]).all() and (turned.tested_random == one.tested_random[order]).all()


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.integers(5, 60))
def test_units_are_dealt_whole_even_where_one_outweighs_a_fold(seed: int, units: int) -> None:
    samples = clustered(150, seed)
    unit = np.random.default_rng(seed).integers(0, units, 150)
    unit[:90] = 0
    folds = 3
    found = knndm_folds(samples, scattered(50, seed), folds, seed=seed, units=unit)
    assert all(len(set(found.fold[unit == code])) == 1 for code in set(unit))
    assert len(set(found.fold)) == folds and found.w <= found.w_random


def test_hundreds_of_samples_at_one_spot_are_no_obstacle() -> None:
    samples = clustered(400, 5, clusters=30, width=0.005)
    samples[:150] = samples[0]
    samples[150:200] = samples[150]
    found = knndm_folds(samples, scattered(300, 5), 5)
    apart = metres(samples, samples)
    assert np.allclose(found.tested, to_other_folds(apart, found.fold), atol=0.2)
    assert found.w < 0.6 * found.w_random and len(np.unique(found.fold[:150])) == 1


# Clusters


def spread(points: Points, label: NDArray[np.int64]) -> float:
    """Squared distances from the middles of clusters, added up."""
    return float(sum(((points[label == k] - points[label == k].mean(axis=0))**2).sum() for k in np.unique(label)))


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(2, 150))
def test_clusters_are_nearly_those_of_ward_by_all_pairs(seed: int, count: int) -> None:
    points = clustered(count, seed, clusters=8)
    tree, linkage = ClusterTree(points), ward(points)
    for clusters in {1, 2, min(8, count), count}:
        ours, theirs = tree.labels(clusters), fcluster(linkage, clusters, "maxclust")
        assert len(np.unique(ours)) == clusters and ours.max() == clusters - 1
        assert spread(points, ours) <= 1.1 * spread(points, theirs) + 1e-12


def test_large_tables_are_clustered_like_ward_too() -> None:
    points = clustered(2000, 6, clusters=25)
    points[:200] = points[0]
    tree, linkage = ClusterTree(points), ward(points)
    for clusters in (5, 25, 100, 500):
        ours, theirs = tree.labels(clusters), fcluster(linkage, clusters, "maxclust")
        assert adjusted_rand_score(ours, theirs) > 0.8 and spread(points, ours) <= 1.15 * spread(points, theirs)


def test_clusters_are_nested() -> None:
    tree = ClusterTree(clustered(300, 7))
    for few, many in ((3, 10), (10, 80), (80, 300)):
        coarse, fine = tree.labels(few), tree.labels(many)
        assert len({(a, b) for a, b in zip(coarse, fine, strict=True)}) == many


def test_a_heavy_unit_weighs_like_the_samples_it_stands_for() -> None:
    points, weights = clustered(60, 8), np.random.default_rng(8).integers(1, 6, 60)
    whole = np.repeat(np.arange(60), weights)
    heavy, each = ClusterTree(points, weights), ClusterTree(points[whole])
    for clusters in (3, 10, 40):
        assert adjusted_rand_score(heavy.labels(clusters)[whole], each.labels(clusters)) > 0.95


@settings(max_examples=40)
@given(st.lists(st.integers(1, 50), min_size=2, max_size=60), st.integers(2, 8), st.integers(0, 99))
def test_merged_folds_are_never_empty_and_small_clusters_are_shared_evenly(sizes: list[int], folds: int,
                                                                           seed: int) -> None:
    if len(sizes) < folds:
        sizes = sizes * folds
    size = np.array(sizes)
    fold = merge_into_folds(size, np.random.default_rng(seed).random(len(size)), folds)
    held = np.bincount(fold, size, minlength=folds)
    assert set(fold) == set(range(folds))
    alone = np.flatnonzero(np.bincount(fold) == 1)
    shared = np.setdiff1d(np.arange(folds), alone)
    if len(shared) > 1:
        assert np.ptp(held[shared]) <= size[np.isin(fold, shared)].max()


# Divisions of a table


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 500.0]), st.sampled_from(AROUND))
def test_a_division_tests_all_once_and_keeps_groups_and_the_buffer(seed: int, buffer: float, around: tuple) -> None:
    table = make_places(200, seed, around, groups=60)
    try:
        division = divide_knndm(table, recipe_of(folds=4, buffer_m=buffer, seed=seed))
    except InputError as error:
        assert buffer and "part of fold" in str(error)
        return
    far, groups = apart_m(table), table.groups()
    assert division.assignment.shape == (200, 4) and division.assignment.dtype == np.int8
    assert ((division.assignment == TEST).sum(axis=1) == 1).all()
    for part in division.assignment.T:
        train, validation, test = (part == code for code in (TRAIN, VALIDATION, TEST))
        assert train.any() and validation.any() and test.any()
        assert not set(groups[test]) & set(groups[train | validation]) and not set(groups[train]) & set(
            groups[validation])
        if buffer:
            assert far[np.ix_(train, test | validation)].min() > buffer - 1e-3
            assert far[np.ix_(validation, test)].min() > buffer - 1e-3
    facts = division.settings
    assert facts["w"] <= facts["w_random"] and facts["distance_in"] == "m"
    assert len(facts["left_out_by_buffer"]) == 4


def test_what_is_kept_together_is_in_one_part_of_each_fold() -> None:
    table = make_places(300, 1, groups=0)
    observer = np.array([f"o{k}" for k in np.random.default_rng(1).integers(0, 40, 300)], object)
    table = SampleTable(table.frame.assign(observer=observer), table.classes, origin=table.origin)
    division = divide_knndm(table, recipe_of(folds=3, together=("observer",)))
    for part in division.assignment.T:
        for name in np.unique(observer.astype(str)):
            assert len({code for code in part[observer == name] if code in (TRAIN, VALIDATION, TEST)}) == 1
    with pytest.raises(InputError, match="no column 'visitor'"):
        divide_knndm(table, recipe_of(together=("visitor",)))


def test_a_division_does_not_depend_on_the_order_of_rows() -> None:
    table = make_places(250, 2)
    turned, order = shuffled(table, 0)
    one, other = (divide_knndm(rows, recipe_of(folds=4, buffer_m=100.0)) for rows in (table, turned))
    assert (other.assignment == one.assignment[order]).all()
    assert one.settings == other.settings


def test_validation_is_a_share_of_what_is_not_tested_in_pieces() -> None:
    table = make_places(1000, 3)
    parts = divide_knndm(table, recipe_of(folds=5, validation=0.25)).assignment
    share = (parts == VALIDATION).sum(axis=0) / (parts != TEST).sum(axis=0)
    assert np.allclose(share, 0.25, atol=0.06)


def test_the_settings_tell_how_well_it_matched_in_numbers_and_words() -> None:
    table = make_places(300, 4)
    manifest = make_split(table, recipe_of(folds=4))
    facts = manifest.settings
    samples = np.column_stack([table.column("latitude"), table.column("longitude")])
    wanted = metres(prediction_grid(samples[:, 0], samples[:, 1], 10_000), samples).min(axis=1)
    apart = apart_m(table)
    to_training = np.full(len(table), np.inf)
    for part in manifest.assignment.T:
        to_training[part == TEST] = apart[np.ix_(part == TEST, part == TRAIN)].min(axis=1)
    assert facts["median_distance"]["tested_to_training"] == pytest.approx(np.median(to_training), rel=1e-3)
    assert facts["w_of_training"] == pytest.approx(wasserstein(to_training, wanted), rel=1e-3)
    said = " ".join(matching_in_words(facts))
    assert f"{facts['clusters']} clusters merged into 4 folds" in said and "by chance" in said
    assert matching_in_words({"folds": 5}) == []
    assert "samples lie no nearer" in matching_in_words({**facts, "folds_by_chance": True, "candidates": 0})[1]


def test_in_feature_space_columns_of_the_table_are_matched_with_those_of_a_file(tmp_path: Path) -> None:
    table = make_places(200, 5)
    chance = np.random.default_rng(5)
    near = chance.normal(size=(8, 2))[chance.integers(0, 8, 200)] + 0.05 * chance.normal(size=(200, 2))
    frame = table.frame.assign(feature_b=near[:, 0], feature_a=near[:, 1] * 100)
    table = SampleTable(frame, table.classes, origin=table.origin)
    there = chance.uniform(-2, 2, (150, 2))
    path = tmp_path / "there.csv"
    path.write_text("id,feature_a,feature_b\n" + "".join(f"{k},{100 * a},{b}\n" for k, (b, a) in enumerate(there)))
    by_file = divide_knndm(table, recipe_of(space="feature", prediction_points=str(path)))
    by_hand = divide_knndm(table, recipe_of(space="feature"), near * (1, 100), there * (1, 100))
    assert by_file.settings["distance_in"] == "standard deviations"
    assert by_file.settings["w"] == pytest.approx(by_hand.settings["w"], rel=1e-4)
    assert by_file.settings["w"] < 0.5 * by_file.settings["w_random"]
    assert ((by_file.assignment == TEST).sum(axis=1) == 1).all()
    path.write_text("id,feature_a\n1,2\n")
    with pytest.raises(InputError, match="no column 'feature_b'"):
        divide_knndm(table, recipe_of(space="feature", prediction_points=str(path)))
    with pytest.raises(InputError, match="features of what the model will be applied to"):
        divide_knndm(table, recipe_of(space="feature"))


def test_where_predictions_will_be_made_changes_the_folds(tmp_path: Path) -> None:
    table = make_places(400, 6)
    far, near = tmp_path / "far.csv", tmp_path / "near.csv"
    lat, lon = table.column("latitude").to_numpy(), table.column("longitude").to_numpy()
    for path, shift in ((far, 2.0), (near, 0.0001)):
        path.write_text("latitude,longitude\n" + "".join(f"{a + shift},{b}\n" for a, b in zip(lat, lon, strict=True)))
    to_far, to_near = (divide_knndm(table, recipe_of(prediction_points=str(path))).settings for path in (far, near))
    assert to_far["median_distance"]["tested_to_other_folds"] > 10 * to_near["median_distance"]["tested_to_other_folds"]
    assert to_near["predicted_places"] == 400


# What cannot be used


BAD_SAMPLES = [
    (np.empty((0, 2)), "no sample"), (np.array([[1.0, np.nan], [1, 2]]), "lack a coordinate"),
    (np.array([[1.0, 2.0], [91, 2]]), "row 2 with latitude 91"), (np.ones((4, 3)), "3 column"),
    (np.ones((1, 2)), "2 folds cannot be made of 1 unit")]


@pytest.mark.parametrize(("samples", "said"), BAD_SAMPLES)
def test_samples_that_cannot_be_folded_are_named(samples: Points, said: str) -> None:
    with pytest.raises(InputError, match=said):
        knndm_folds(samples, scattered(5, 0), 2)


def test_predictions_that_cannot_be_used_are_named() -> None:
    samples = clustered(20, 0)
    for there, said in ((np.empty((0, 2)), "no prediction point"), (np.array([[1.0, 181.0]]), "nowhere on the Earth"),
                        (np.array([[np.inf, 1.0]]), "lack a coordinate")):
        with pytest.raises(InputError, match=said):
            knndm_folds(samples, there, 2)
    with pytest.raises(InputError, match="3 features and samples 2"):
        knndm_folds(samples, np.ones((3, 3)), 2, space="feature")
    with pytest.raises(InputError, match="same features"):
        knndm_folds(np.ones((9, 2)), samples, 2, space="feature")
    with pytest.raises(InputError, match="Numbers of clusters"):
        knndm_folds(samples, scattered(20, 0), 4, clusters=[3])


def test_feature_space_without_features_is_refused_and_so_are_words_for_features() -> None:
    table = make_places(50, 7)
    with pytest.raises(InputError, match="need features, and the samples have none") as caught:
        divide_knndm(table, recipe_of(space="feature"))
    assert "split.space" in str(caught.value)
    table = SampleTable(table.frame.assign(feature_a="wet"), table.classes, origin=table.origin)
    with pytest.raises(InputError, match="no number"):
        divide_knndm(table, recipe_of(space="feature"))


def test_tables_without_places_or_with_too_few_samples_are_refused() -> None:
    table = make_places(30, 8)
    with pytest.raises(InputError, match="no column 'latitude'"):
        divide_knndm(SampleTable(table.frame.drop(columns="latitude"), table.classes), recipe_of())
    with pytest.raises(InputError, match="cannot be made of 3 unit"):
        divide_knndm(table.take(np.arange(3)), recipe_of(folds=5))
    with pytest.raises(InputError, match=r"smaller split\.buffer_m"):
        divide_knndm(table, recipe_of(buffer_m=1e6))


# Where predictions will be made


def test_points_are_read_in_the_order_of_the_file_whatever_else_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "there.csv"
    path.write_text("name,longitude,latitude\na,-81.5,28.25\nb,180,-90\n")
    assert read_points(path).tolist() == [[28.25, -81.5], [-90.0, 180.0]]


@pytest.mark.parametrize(("text", "said"), [
    (None, "no such file"), ("", "cannot be read as a table"), ("latitude,longitude\n", "holds none"),
    ("lat,lon\n1,2\n", "no column 'latitude'"), ("latitude\n1\n", "no column 'longitude'"),
    ("latitude,longitude\n1,2\n91,2\n", "row 2"), ("latitude,longitude\n1,2\n1,-180.5\n", "no longitude"),
    ("latitude,longitude\n1,2\n,2\n", "lack a number, first row 2"), ("latitude,longitude\nnorth,2\n", "'north'"),
    ("latitude,longitude\n1,inf\n", "lack a number")])
def test_files_of_points_that_cannot_be_used_are_refused(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "there.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        read_points(path)
    assert "there.csv" in str(caught.value)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from(AROUND))
def test_without_a_file_predictions_are_an_even_grid_over_the_extent_of_samples(seed: int, around: tuple) -> None:
    table = make_places(100, seed, around)
    lat, lon = table.column("latitude").to_numpy(), table.column("longitude").to_numpy()
    grid = prediction_grid(lat, lon, 400)
    assert 300 < len(grid) < 500
    apart = metres(grid, grid)
    np.fill_diagonal(apart, np.inf)
    beside = apart.min(axis=1)
    assert beside.max() < 1.05 * beside.min()
    # Nothing is farther from all samples than these are from one another.
    assert metres(grid, np.column_stack([lat, lon])).min(axis=1).max() < apart_m(table).max()


@pytest.mark.parametrize(("lat", "lon", "count"), [
    ([28.0], [-81.0], 1), ([28.0, 28.0], [-81.0, -81.0], 1), ([28.0, 29.0], [-81.0, -81.0], 50),
    ([28.0, 28.5, 29.0], [-81.0, -81.0, -81.0], 50)])
def test_a_spot_gives_a_spot_and_a_line_a_line(lat: list[float], lon: list[float], count: int) -> None:
    grid = prediction_grid(lat, lon, 50)
    assert len(grid) == count and np.allclose(grid[:, 1], -81.0)
    assert grid[:, 0].min() == pytest.approx(28.0) and grid[:, 0].max() == pytest.approx(max(lat))


def test_results_are_of_the_kinds_that_are_told() -> None:
    found = knndm_folds(clustered(50, 9), scattered(50, 9), 3)
    assert isinstance(found, KnndmFolds) and found.fold.dtype == np.int64 and found.fold.shape == (50,)
    assert found.pieces.shape == (50,) and found.wanted.shape == (50,) and found.tested.shape == (50,)
    of_piece = {}
    assert all(of_piece.setdefault(piece, fold) == fold for piece, fold in zip(found.pieces, found.fold, strict=True))
