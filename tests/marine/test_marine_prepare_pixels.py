"""Correcting underwater images: the same as the plain way, greyer, clearer, and nothing else changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.prepare.colour import grey_world
from groundswell.pipelines.marine.prepare.contrast import equalise
from groundswell.pipelines.marine.prepare.haze import dehaze, water_light
from groundswell.pipelines.marine.prepare.plain import plain_underwater
from groundswell.pipelines.marine.prepare.recipe import PrepareRecipe
from groundswell.pipelines.marine.prepare.underwater import underwater
from groundswell.pipelines.marine.vision import cv2 as open_cv

SEED = PrepareRecipe()
cv2 = open_cv()


def _scene(height: int, width: int, seed: int, cast: tuple[float, float, float] = (0.4, 0.8, 0.9)) -> NDArray[np.uint8]:
    """A smooth scene under a colour cast, with noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(20, 255, (max(height // 16, 2), max(width // 16, 2), 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noisy = smooth * np.array(cast) + rng.normal(0, 3, smooth.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _furthest(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> int:
    return int(np.abs(first.astype(np.int64) - second).max())


@given(st.integers(1, 70), st.integers(1, 90), st.integers(0, 2**32 - 1),
       st.sampled_from([SEED, PrepareRecipe(strength=0.5, window=5, omega=0.7, brightest=0.05, clip=4.0, tiles=3)]))
@settings(max_examples=40)
def test_images_of_any_size_come_out_as_in_the_plain_transcription(height: int, width: int, seed: int,
                                                                   recipe: PrepareRecipe) -> None:
    image = _scene(height, width, seed)
    assert _furthest(underwater(image, recipe), plain_underwater(image, recipe)) <= 1


def test_noise_of_all_colours_comes_out_as_in_the_plain_transcription() -> None:
    image = np.random.default_rng(3).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    assert _furthest(underwater(image), plain_underwater(image, SEED)) <= 1


def test_real_images_come_out_as_in_the_plain_transcription(real_marine: Path) -> None:
    files = sorted((real_marine / "deepfish_boxes_640" / "images").glob("*.jpg"))[::60]
    assert len(files) > 5
    for file in files:
        image = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
        assert _furthest(underwater(image), plain_underwater(image, SEED)) <= 1, file.name


def test_the_seed_s_parameters_are_the_defaults() -> None:
    assert SEED.model_dump() == {"strength": 1.1, "window": 15, "omega": 0.95, "least_transmission": 0.1,
                                 "brightest": 0.001, "clip": 2.0, "tiles": 8}


def test_a_cast_goes_towards_grey_and_a_grey_image_stays() -> None:
    image = _scene(64, 96, 1)

    def cast(what: NDArray[np.uint8]) -> float:
        return float(np.abs(cv2.cvtColor(what, cv2.COLOR_RGB2LAB).reshape(-1, 3).mean(axis=0)[1:] - 128).sum())

    assert cast(grey_world(image, 1.1)) < 0.6 * cast(image)
    grey = np.repeat(_scene(64, 96, 1)[:, :, :1], 3, axis=2)
    assert _furthest(grey_world(grey, 1.1), grey) <= 2


def test_haze_of_known_light_and_depth_is_taken_away() -> None:
    rng = np.random.default_rng(5)
    clear = rng.integers(0, 200, (120, 160, 3)).astype(np.float64)
    clear[rng.uniform(size=clear.shape[:2]) < 0.1] = (0, 90, 150)  # what the prior asks for: something dark all around
    light, transmission = np.array([150.0, 220.0, 230.0]), np.full((120, 160, 1), 0.5)
    clear[:20, :20], transmission[:20, :20] = light, 0.0  # a patch of nothing but water
    hazy = np.rint(clear * transmission + light * (1 - transmission)).astype(np.uint8)

    assert np.abs(water_light(cv2.split(hazy), SEED) - light).max() < 2
    seen = dehaze(hazy, SEED).astype(np.float64)
    inner = (slice(40, -10), slice(40, -10))
    before, after = np.abs(hazy - clear)[inner].mean(), np.abs(seen - clear)[inner].mean()
    assert after < 0.2 * before


def test_local_contrast_rises_and_colour_stays() -> None:
    image = (_scene(128, 128, 2).astype(np.float64) * 0.2 + 90).astype(np.uint8)
    clearer = equalise(image, 2.0, 8)
    before, after = (cv2.cvtColor(one, cv2.COLOR_RGB2LAB).astype(np.float64) for one in (image, clearer))
    assert after[:, :, 0].std() > 1.2 * before[:, :, 0].std()
    assert np.abs(after[:, :, 1:] - before[:, :, 1:]).mean() < 2


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_an_image_of_one_colour_does_not_break_it(level: int) -> None:
    image = np.full((40, 50, 3), level, np.uint8)
    seen = underwater(image)
    assert seen.shape == image.shape and seen.dtype == np.uint8
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) == 1


def test_the_image_given_is_not_changed_and_the_same_image_gives_the_same() -> None:
    image = _scene(50, 60, 4)
    before = image.copy()
    first = underwater(image)
    assert np.array_equal(image, before)
    assert np.array_equal(first, underwater(image))
    assert np.array_equal(first, underwater(np.asfortranarray(image)))


def test_strengths_of_zero_leave_the_image_as_it_is() -> None:
    image = _scene(50, 60, 4)
    same = underwater(image, PrepareRecipe(strength=0.0, omega=0.0, clip=0.0))
    assert np.array_equal(same, image) and same is not image and not np.shares_memory(same, image)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8),
                                   np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_image_is_refused(image: NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match="Not an image"):
        underwater(image)


def test_a_window_has_a_middle() -> None:
    with pytest.raises(ValidationError, match="odd"):
        PrepareRecipe(window=14)
