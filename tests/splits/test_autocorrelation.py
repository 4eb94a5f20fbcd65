"""The range of likeness is found where it is known, and is nought where labels know nothing of space. All simulated."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from groundswell.data.sphere import great_circle_km
from groundswell.splits import autocorrelation as module
from groundswell.splits.autocorrelation import autocorrelation

KM = 1 / 111.195  # degrees of latitude


def places(count, seed, extent_km=100.0, latitude=30.0):
    """Places all over a square: x and y in km, latitude and longitude."""
    x, y = np.random.default_rng(seed).uniform(0, extent_km, (2, count))
    lat = latitude + y * KM
    return x, y, lat, 10.0 + x * KM / np.cos(np.radians(lat))


def disc_field(x, y, radius_km, seed, classes=5):
    """Labels that depend on white noise within a radius: beyond twice the radius two of them have nothing in common."""
    generator = np.random.default_rng(seed)
    edge = 100 + 2 * radius_km
    noise = generator.uniform(-radius_km, edge, (int((edge / radius_km) ** 2 * 25), 2))
    weight = generator.normal(size=len(noise))
    value = [weight[near].sum() for near in cKDTree(noise).query_ball_point(np.column_stack([x, y]), radius_km)]
    return np.searchsorted(np.quantile(value, np.arange(1, classes) / classes), value)


def squares(x, y, side_km, seed, classes=20):
    """A label drawn for each square of a grid: alike within a square, and beyond its diagonal never but by chance."""
    number = (x // side_km).astype(int) * 1000 + (y // side_km).astype(int)
    return np.random.default_rng(seed).integers(0, classes, number.max() + 1)[number]


@pytest.mark.parametrize("radius_km", [2.5, 5.0, 10.0])
def test_the_range_of_a_field_is_found_where_it_is_known(radius_km, monkeypatch):
    monkeypatch.setattr(module, "_RANDOM_PAIRS", 500_000)
    ranges = []
    for seed in range(5):
        x, y, lat, lon = places(4000, seed)
        found = autocorrelation(lat, lon, disc_field(x, y, radius_km, seed), seed, pairs=50_000)
        assert not found.open and 0 < found.double_m <= found.range_m
        ranges.append(found.range_m / (2000 * radius_km))
    # The last of the likeness is too weak to be seen; and a single map of a field may by chance go on for longer.
    assert min(ranges) >= 0.4 and 0.6 <= np.median(ranges) <= 2**0.5, ranges


@pytest.mark.parametrize(("side_km", "seed"), [(3.0, 1), (8.0, 2), (15.0, 3)])
def test_patches_of_one_label_are_found_between_their_width_and_their_diagonal(side_km, seed):
    x, y, lat, lon = places(4000, seed)
    found = autocorrelation(lat, lon, squares(x, y, side_km, seed), seed)
    assert not found.open and 0.7 * side_km * 1000 <= found.range_m <= 2**0.5 * 2**0.5 * side_km * 1000


def test_labels_that_know_nothing_of_space_have_no_range(monkeypatch):
    monkeypatch.setattr(module, "_RANDOM_PAIRS", 50_000)
    ranges = []
    for seed in range(20):
        _, _, lat, lon = places(800, seed)
        labels = np.random.default_rng(seed + 1000).integers(0, 6, 800)
        ranges.append(autocorrelation(lat, lon, labels, seed, pairs=5000).range_m)
    # The envelope is left by chance once in twenty, over all classes; at the nearest class it is so more rarely.
    assert sum(r > 0 for r in ranges) <= 2


def test_places_that_cluster_do_not_make_a_range(monkeypatch):
    monkeypatch.setattr(module, "_RANDOM_PAIRS", 50_000)
    generator = np.random.default_rng(5)
    centre = generator.uniform(-0.5, 0.5, (30, 2))
    where = centre[generator.integers(0, 30, 1500)] + generator.normal(0, 0.003, (1500, 2))
    labels = generator.choice(40, 1500, p=np.arange(1, 41) / 820)
    assert autocorrelation(30 + where[:, 0], where[:, 1], labels, pairs=20_000).range_m == 0


def test_likeness_without_an_end_is_called_open():
    # The two halves of a line: up to the median distance, 0.29 of its length, 59 % of pairs are of one half.
    lon = np.linspace(0, 1, 1000)
    found = autocorrelation(np.zeros(1000), lon, (lon > 0.5).astype(int), pairs=20_000)
    assert found.open and found.range_m == found.edges_m[-1] == pytest.approx(0.293 * 111_195, rel=0.02)


def test_ratios_of_few_samples_are_those_of_all_pairs():
    x, y, lat, lon = places(300, 8)
    labels = squares(x, y, 20.0, 8, classes=4)
    found = autocorrelation(lat, lon, labels, pairs=10**6)
    one, other = np.triu_indices(300, 1)
    metres = 1000 * np.concatenate([great_circle_km(lat[i + 1:], lon[i + 1:], (lat[i], lon[i])) for i in range(299)])
    same = labels[one] == labels[other]
    assert found.chance == pytest.approx(same.mean())
    for low, high, count, ratio in zip(found.edges_m, found.edges_m[1:], found.pairs, found.ratio, strict=False):
        mine = (metres > low) & (metres <= high * (1 + 1e-12))
        assert count == mine.sum() and ratio == pytest.approx(same[mine].mean() / same.mean())


def test_the_same_seed_gives_the_same_and_samples_without_a_label_are_passed_over():
    x, y, lat, lon = places(1000, 9)
    labels = squares(x, y, 20.0, 9)
    first = autocorrelation(lat, lon, labels, 3, pairs=10_000)
    assert first == autocorrelation(lat, lon, labels, 3, pairs=10_000)
    more = [np.append(values, extra) for values, extra in ((lat, [0.0, 1.0]), (lon, [0.0, 1.0]), (labels, [-1, -1]))]
    assert autocorrelation(*more, 3, pairs=10_000) == first


@pytest.mark.parametrize("labels", [[], [0], [0, 0, 0], [0, 1, 2], [-1, -1, 3]])
def test_what_cannot_be_measured_is_said(labels):
    found = autocorrelation(np.zeros(len(labels)), np.arange(len(labels)) / 10, np.array(labels, int))
    assert found.why and found.range_m == 0 and not found.edges_m


def test_all_in_one_place_is_no_error():
    labels = np.random.default_rng(0).integers(0, 3, 200)
    assert autocorrelation(np.full(200, 10.0), np.full(200, 10.0), labels).range_m == 0
