"""Embeddings that know nothing but their place: a split by chance finds species in them, a buffered one does not."""

import numpy as np
import pandas as pd
import pytest

from groundswell.core.recipe import build_recipe
from groundswell.pipelines.biodiversity.observations import observation_table, read_observations
from groundswell.pipelines.biodiversity.simulate.effects import Effects, Seen
from groundswell.pipelines.biodiversity.simulate.observed import simulate_observations
from groundswell.pipelines.biodiversity.simulate.recipe import SimulateRecipe
from groundswell.splits.cells import cells_of
from groundswell.splits.nearest import within_m

PLACE_ONLY = {"class_effect": 0.0, "season_effect": 0.0, "place_effect": 3.0}
BUFFER_M = 5000.0


def vectors_of(frame: pd.DataFrame, **knobs) -> np.ndarray:
    taxa = sorted(frame["taxon_name"].unique())
    return Effects(build_recipe(SimulateRecipe, {**PLACE_ONLY, **knobs}), taxa).vision(Seen.of(frame, taxa))


def found(x, labels, taught, asked) -> np.ndarray:
    """Whether the 10 nearest vectors, by inverse distance, name the species; shape (asked,)."""
    square = (x[asked]**2).sum(1)[:, None] + (x[taught]**2).sum(1) - 2 * x[asked] @ x[taught].T
    near = np.argpartition(square, 10, axis=1)[:, :10]
    votes = np.zeros((len(asked), labels.max() + 1))
    np.add.at(votes, (np.arange(len(asked))[:, None], labels[taught][near]),
              1 / np.maximum(np.take_along_axis(square, near, 1), 1e-6))
    return votes.argmax(axis=1) == labels[asked]


def guessing(labels, taught, asked) -> float:
    """Accuracy to be expected of guessing with the frequencies of the taught species."""
    share = [np.bincount(labels[rows], minlength=labels.max() + 1) / len(rows) for rows in (taught, asked)]
    return float(share[0] @ share[1])


def by_chance(table, seed=0):
    """Visits divided by chance, a fifth of them tested."""
    visits = pd.factorize(table.column("group"))[0]
    drawn = np.random.default_rng(seed).permutation(visits.max() + 1)
    tested = np.isin(visits, drawn[:len(drawn) // 5])
    return np.flatnonzero(~tested), np.flatnonzero(tested)


def buffered(frame, seed):
    """Squares of 10 km divided by chance, a fifth of them tested, nothing taught within the buffer; and the squares."""
    lat, lon = frame["latitude"].to_numpy(), frame["longitude"].to_numpy()
    cells = cells_of(lat, lon, "squares", km=10.0, level=0)
    drawn = np.random.default_rng(seed).permutation(np.unique(cells))
    tested = np.isin(cells, drawn[:len(drawn) // 5])
    near = within_m(lat, lon, lat[tested], lon[tested], BUFFER_M)
    return np.flatnonzero(~near), np.flatnonzero(tested), cells[tested]


def interval(hit, clusters) -> tuple[float, float]:
    """95 %, by drawing squares anew."""
    number, sizes = np.unique(clusters, return_inverse=True)[1], np.unique(clusters, return_counts=True)[1]
    hits = np.bincount(number, hit)
    drawn = np.random.default_rng(0).integers(len(sizes), size=(2000, len(sizes)))
    low, high = np.quantile(hits[drawn].sum(1) / sizes[drawn].sum(1), [0.025, 0.975])
    return float(low), float(high)


def check_leak(frame: pd.DataFrame, least_times: float, **knobs) -> None:
    table = observation_table(frame)
    labels, x = table.labels(), vectors_of(frame, **knobs)
    taught, asked = by_chance(table)
    leaked = found(x, labels, taught, asked).mean()
    assert leaked >= least_times * max(1 / len(table.classes), guessing(labels, taught, asked))
    inside = []
    for seed in range(5):
        taught, asked, squares = buffered(frame, seed)
        low, high = interval(found(x, labels, taught, asked), squares)
        inside.append(low <= guessing(labels, taught, asked) <= high)
    # Nineteen intervals of twenty hold what they are of; at least four of these five do.
    assert sum(inside) >= 4


def test_on_the_simulated_table():
    frame = simulate_observations(build_recipe(SimulateRecipe, {}))
    frame["hour"] = pd.array([pd.NA] * len(frame), dtype="Int64")
    check_leak(frame, 5.0)


def test_on_the_real_table(real_biodiversity):
    check_leak(read_observations(real_biodiversity / "central_florida_observations.csv"), 5.0)


def test_a_field_and_patches_that_reach_beyond_the_buffer_are_found_beyond_it():
    frame = simulate_observations(build_recipe(SimulateRecipe, {"observed": {"patch_m": 60_000.0}}))
    labels = pd.factorize(frame["taxon_name"], sort=True)[0]
    taught, asked, _ = buffered(frame, 0)
    hit = found(vectors_of(frame, place_range_m=60_000.0), labels, taught, asked)
    assert hit.mean() > 3 * guessing(labels, taught, asked)


def test_where_species_grow_everywhere_alike_a_split_by_chance_finds_nothing_either():
    recipe = build_recipe(SimulateRecipe, {"observed": {"patchiness": 0.0, "flowering": 0.0, "abundance_spread": 0.0}})
    frame = simulate_observations(recipe)
    labels = pd.factorize(frame["taxon_name"])[0]
    order = np.random.default_rng(1).permutation(len(frame))
    hit = found(vectors_of(frame), labels, order[600:], order[:600])
    assert hit.mean() == pytest.approx(1 / 40, abs=0.02)


def test_beyond_the_buffer_places_are_as_unlike_as_any():
    frame = simulate_observations(build_recipe(SimulateRecipe, {"count": 1200}))
    x = vectors_of(frame, individual_effect=0.0, noise=0.0, offset=0.0)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    lat, lon = np.radians(frame["latitude"].to_numpy()), np.radians(frame["longitude"].to_numpy())
    east, north = lon * np.cos(lat.mean()), lat
    km = 6371 * np.hypot(east[:, None] - east, north[:, None] - north)
    likeness = unit @ unit.T
    assert likeness[km < 0.3].mean() > 0.9
    for low, high in ((5, 10), (10, 30), (30, 100)):
        there = likeness[(km >= low) & (km < high)]
        assert abs(there.mean()) < 0.01 and there.max() < 0.3
