"""Simulated embeddings: every effect has the size that was asked for, and depends on what it should and no more."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.pipelines.biodiversity.simulate.effects import EFFECTS, Effects, Seen, season_rad
from groundswell.pipelines.biodiversity.simulate.fields import RandomField, correlation
from groundswell.pipelines.biodiversity.simulate.recipe import SimulateRecipe
from groundswell.pipelines.biodiversity.simulate.tiers import SHAPES, rows_of
from groundswell.splits.nearest import nearest_m

TAXA = [f"Genus{k // 4} species{k}" for k in range(40)]


def recipe_of(**knobs) -> SimulateRecipe:
    return build_recipe(SimulateRecipe, knobs)


def seen_of(count: int, seed: int = 0) -> Seen:
    chance = np.random.default_rng(seed)
    return Seen(chance.permutation(10 * count)[:count], chance.integers(len(TAXA), size=count),
                28 + chance.random(count), -81 + chance.random(count), 2 * np.pi * chance.random(count))


def rms(x) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def test_a_fields_correlation_falls_to_a_twentieth_at_its_range_and_to_nothing_at_two_and_a_half():
    field = RandomField(2000.0, 4000, seed=1)
    step = 1000 / 111194.9  # degrees of latitude
    lat = 28 + step * np.arange(6)
    found = np.corrcoef(field.at(lat, np.full(6, -81.0)))[0]
    metres = nearest_m(lat[1:], np.full(5, -81.0), lat[:1], [-81.0])
    assert np.allclose(metres, 1000 * np.arange(1, 6), atol=1)
    # One field's waves give it a correlation of its own, 0.03 wide about that of the family.
    assert np.abs(found[1:] - correlation(metres, 2000.0)).max() < 0.1
    assert correlation(np.array([2000.0, 5000.0]), 2000.0) == pytest.approx([0.05, 7.4e-9], rel=0.01)


def test_over_many_fields_the_correlation_is_the_one_that_is_said_also_at_the_pole_and_across_the_date_line():
    for lat, lon, metres in (([28, 28.009], [-81, -81], 1000.8), ([89.9955, 89.9955], [0, 180], 1000.8),
                             ([0, 0], [179.9955, -179.9955], 1000.8), ([28, 29], [-81, -81], 111195)):
        products = [np.mean(np.prod(RandomField(2000.0, 50, seed).at(np.array(lat), np.array(lon)), axis=0))
                    for seed in range(60)]
        assert np.mean(products) == pytest.approx(float(correlation(np.array(metres), 2000.0)), abs=0.06)


def test_a_field_has_unit_variance_and_its_fields_are_independent():
    chance = np.random.default_rng(3)
    values = RandomField(500.0, 60, seed=2).at(28 + chance.random(6000), -81 + chance.random(6000))
    assert np.abs(values.std(axis=0) - 1).max() < 0.15
    assert np.abs(np.corrcoef(values.T) - np.eye(60)).max() < 0.2


@settings(max_examples=25)
@given(*[st.floats(0, 3)] * 5)
def test_each_effect_adds_what_it_was_asked_to(species, place, season, individual, noise):
    recipe = recipe_of(class_effect=species, place_effect=place, season_effect=season, individual_effect=individual,
                       noise=noise, offset=0.7, class_dimensions=20, genus_share=0.2)
    parts = Effects(recipe, TAXA).parts(seen_of(200))
    for name, wanted in zip(EFFECTS, (0.7, species, place, season, individual, noise), strict=True):
        assert rms(parts[name]) == pytest.approx(wanted, rel=0.15)
    total = Effects.total(parts)
    assert total.dtype == np.float32 and np.allclose(total, sum(parts.values()), atol=1e-5)


def test_an_observation_is_what_it_is_whoever_is_beside_it_and_in_whatever_order():
    seen = seen_of(50)
    effects = Effects(recipe_of(), TAXA)
    alone = effects.vision(seen.take(np.array([7])))
    assert np.allclose(alone[0], effects.vision(seen)[7], atol=1e-5)
    other = Effects(recipe_of(), TAXA[::-1])
    turned = Seen(seen.number, len(TAXA) - 1 - seen.taxon, seen.latitude, seen.longitude, seen.season_rad)
    assert np.allclose(other.vision(turned), effects.vision(seen), atol=1e-5)
    assert np.allclose(other.language()[::-1], effects.language(), atol=1e-5)


def test_another_seed_changes_everything_and_a_strength_changes_its_own_effect_only():
    seen = seen_of(20)
    first, second = (Effects(recipe_of(seed=seed), TAXA).parts(seen) for seed in (1, 2))
    assert all(abs(np.corrcoef(first[name].ravel(), second[name].ravel())[0, 1]) < 0.3 for name in EFFECTS)
    stronger = Effects(recipe_of(seed=1, place_effect=3.0), TAXA).parts(seen)
    for name in EFFECTS:
        assert np.array_equal(first[name], stronger[name]) == (name != "place")


def test_without_a_class_effect_vectors_know_nothing_of_species_and_language_vectors_still_do():
    seen = seen_of(30)
    effects = Effects(recipe_of(class_effect=0.0), TAXA)
    other = Seen(seen.number, (seen.taxon + 1) % len(TAXA), seen.latitude, seen.longitude, seen.season_rad)
    assert np.array_equal(effects.vision(seen), effects.vision(other))
    language = effects.language()
    assert language.shape == (40, 7168) and rms(language - language.mean(axis=0)) > 0.5


def test_species_of_a_genus_share_what_they_are_asked_to_share():
    for share in (0.0, 0.8):
        latent = Effects(recipe_of(genus_share=share, class_dimensions=800), TAXA).latent
        between = np.corrcoef(latent)
        same = np.array([[a.split()[0] == b.split()[0] for b in TAXA] for a in TAXA]) & ~np.eye(len(TAXA), dtype=bool)
        assert between[same].mean() == pytest.approx(share, abs=0.05)
        assert between[~same & ~np.eye(len(TAXA), dtype=bool)].mean() == pytest.approx(0, abs=0.05)


def test_an_unknown_date_has_no_season_and_winter_is_near_winter():
    frame = pd.DataFrame({"month": pd.array([1, 12, 7, None, 3], dtype="Int64"),
                          "day": pd.array([1, 31, 1, 4, None], dtype="Int64")})
    angle = season_rad(frame)
    assert np.isnan(angle[3:]).all()
    seen = Seen(np.arange(5), np.zeros(5, np.int64), np.full(5, 28.0), np.full(5, -81.0), angle)
    season = Effects(recipe_of(), TAXA).parts(seen)["season"]
    assert not season[3:].any()
    assert np.linalg.norm(season[0] - season[1]) < 0.05 * np.linalg.norm(season[0] - season[2])


def test_species_can_be_found_from_language_and_language_from_species_beyond_the_mean():
    chance = np.random.default_rng(0)
    taxa = [f"G{k} s" for k in range(150)]
    effects = Effects(recipe_of(genus_share=0.0), taxa)
    seen = Seen(np.arange(3000), chance.integers(150, size=3000), 28 + chance.random(3000),
                -81 + chance.random(3000), np.full(3000, np.nan))
    vision, language = effects.vision(seen), effects.language()[seen.taxon][:, ::14]
    for x, y in ((vision, language), (language, vision)):
        taught, asked = slice(0, 2400), slice(2400, None)
        middle_x, middle_y = x[taught].mean(axis=0), y[taught].mean(axis=0)
        z = (x - middle_x).astype(np.float64)
        square = z[taught].T @ z[taught]
        ridge = square + 2.0 * np.trace(square) / len(square) * np.eye(len(square))
        found = z[asked] @ np.linalg.solve(ridge, z[taught].T @ (y[taught] - middle_y)) + middle_y
        error, constant = rms(y[asked] - found) ** 2, rms(y[asked] - middle_y) ** 2
        assert error < 0.8 * constant


def test_means_of_larger_tables_are_the_rows_of_smaller_ones():
    pooled = np.random.default_rng(0).standard_normal((2, 1408)).astype(np.float32)
    numbers = np.array([5, 9])
    made = rows_of(["vision", "vision_mean", "vision_grid", "vision_temporal"], pooled, numbers, spread=2.0, seed=1)
    assert list(made) == ["vision", "vision_mean", "vision_grid", "vision_temporal"]
    assert all(made[name].shape == (2, *shape) and made[name].dtype == np.float32 for name, shape in SHAPES.items())
    whole = made["vision"].astype(np.float64)
    grid = whole.reshape(2, 8, 3, 8, 3, 8, 1408).mean(axis=(3, 5))
    assert np.abs(grid - made["vision_grid"]).max() < 5e-6
    assert np.abs(whole.mean(axis=(2, 3)) - made["vision_temporal"]).max() < 5e-6
    assert np.abs(whole.mean(axis=(1, 2, 3)) - pooled).max() < 5e-6
    assert 3 < whole.std() < 4 and made["vision_temporal"].std() > 1.5
    for tiers in (["vision_grid"], ["vision_temporal", "vision_mean"]):
        again = rows_of(tiers, pooled[1:], numbers[1:], spread=2.0, seed=1)
        assert list(again) == tiers
        assert all(np.array_equal(again[name][0], made[name][1]) for name in tiers)


def test_knobs_that_cannot_be_are_refused_with_the_reason():
    for knobs, text in (({"tiers": ["vision_mean", "vision_mean"]}, "each table once"),
                        ({"tiers": [], "language": False}, "no embeddings"),
                        ({"observed": {"most_per_species": 1}}, "at least 2"),
                        ({"observed": {"first_day": "2024-01-01", "last_day": "2023-01-01"}}, "must not be after"),
                        ({"class_efect": 1.0}, "did you mean 'class_effect'")):
        with pytest.raises(InputError, match=text):
            recipe_of(**knobs)
