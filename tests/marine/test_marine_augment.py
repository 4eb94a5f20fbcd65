"""Augmentation: boxes go exactly with the pixels, and the same generator gives the same batch."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.pipelines.marine.augment import augment
from groundswell.pipelines.marine.augment_colour import change_colour
from groundswell.pipelines.marine.augment_geometry import kept
from groundswell.pipelines.marine.augment_levels import LEVELS, augment_of
from groundswell.pipelines.marine.recipe import AugmentRecipe

SIZE = 96
STILL = {"hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0, "translate": 0.0, "scale": 0.0, "fliplr": 0.0, "mosaic": 0.0}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def marked(count, seed, side=(10, 40)):
    """Black images, each with one white rectangle, and its box."""
    chance = np.random.default_rng(seed)
    x, boxes = torch.zeros(count, 3, SIZE, SIZE), torch.zeros(count, 1, 4)
    for number in range(count):
        width, height = chance.integers(*side, 2)
        left, top = chance.integers(2, SIZE - width - 2), chance.integers(2, SIZE - height - 2)
        x[number, :, top:top + height, left:left + width] = 1.0
        boxes[number, 0] = torch.tensor([left, top, left + width, top + height], dtype=torch.float32)
    return x, boxes, torch.arange(count)[:, None]


def seen(image):
    """Around what is white: pixels of which at least half is."""
    rows, columns = np.nonzero((image[0] > 0.5).numpy())
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)


def changed(recipe, seed, *, count=4, mosaic=False, **more):
    x, boxes, label = marked(count, seed)
    return augment(x, boxes, label, torch.ones(count), recipe, generator(seed), mosaic=mosaic, **more)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), degrees=st.sampled_from([0.0, 10.0, 180.0]), shear=st.sampled_from([0.0, 20.0]),
       perspective=st.sampled_from([0.0, 0.0005]), flips=st.booleans(), translate=st.sampled_from([0.0, 0.2]),
       size=st.sampled_from([(), (64,), (160,)]))
def test_a_rectangle_is_found_again_where_its_box_says(seed, degrees, shear, perspective, flips, translate, size):
    recipe = AugmentRecipe(**STILL | {"degrees": degrees, "shear": shear, "perspective": perspective, "scale": 0.3,
                                      "translate": translate, "fliplr": 0.5 * flips, "flipud": 0.5 * flips,
                                      "sizes": size})
    x, boxes, label = changed(recipe, seed)
    edge = x.shape[-1]
    for image, box, name in zip(x, boxes, label, strict=True):
        if name[0] == -1:
            continue
        low, high = box[0, :2], box[0, 2:]
        if float(low.min()) <= 0 or float(high.max()) >= edge:
            continue  # cut: around a corner that is cut off there is nothing
        # A slanted corner is thinner than a pixel, so its last pixels are mostly black.
        slack = 1.0 if not (degrees or shear or perspective) else 3.0
        assert np.abs(seen(image) - box[0].numpy()).max() <= slack


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_upright_boxes_are_exact_even_where_they_are_cut(seed):
    recipe = AugmentRecipe(**STILL | {"scale": 0.5, "translate": 0.3, "fliplr": 0.5, "flipud": 0.5})
    for image, box, name in zip(*changed(recipe, seed), strict=True):
        if name[0] != -1:
            assert np.abs(seen(image) - box[0].numpy()).max() <= 1.0


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), heavy=st.booleans())
def test_joined_images_keep_every_box_that_is_seen_and_no_other(seed, heavy):
    recipe = AugmentRecipe(**STILL | {"mosaic": 1.0, "scale": 0.5, "translate": 0.1, "fliplr": 0.5,
                                      "degrees": 10.0 * heavy, "shear": 5.0 * heavy, "perspective": 0.0005 * heavy})
    x, boxes, label = changed(recipe, seed, mosaic=True)
    for image, box, name in zip(x, boxes, label, strict=True):
        white = (image[0] > 0.6).numpy()
        cover = np.zeros_like(white)
        for left, top, right, bottom in box[name != -1].numpy():
            part = slice(max(0, int(top) - 1), int(np.ceil(bottom)) + 1), slice(max(0, int(left) - 1),
                                                                                int(np.ceil(right)) + 1)
            assert white[part].any() or (right - left) * (bottom - top) < 30
            cover[part] = True
        assert (white & ~cover).sum() <= 2 * 60  # no more than lines


def test_a_joined_image_has_the_four_images_around_the_meeting_and_grey_beyond_them():
    shades = torch.tensor([0.1, 0.3, 0.6, 0.9])
    x = shades[:, None, None, None].expand(4, 3, 64, 64).clone()
    recipe = AugmentRecipe(**STILL | {"mosaic": 1.0})
    out, _, _ = augment(x, torch.zeros(4, 1, 4), torch.full((4, 1), -1), torch.ones(4), recipe, generator(3),
                        mosaic=True)
    own = out[:, 0, 0, 0]
    assert torch.allclose(own, shades)  # the first quarter is the image's own
    wide, _, _ = augment(x, torch.zeros(4, 1, 4), torch.full((4, 1), -1), torch.ones(4),
                         AugmentRecipe(**STILL | {"mosaic": 1.0, "scale": 0.99}), generator(5), mosaic=True)
    assert bool((wide == 114 / 255).any())


@pytest.mark.parametrize("seed", range(4))
def test_beyond_an_image_there_is_grey(seed):
    recipe = AugmentRecipe(**STILL | {"translate": 0.5, "scale": 0.3})
    whole = torch.tensor([[[0.0, 0.0, 64.0, 64.0]]]).expand(4, 1, 4)
    x, boxes, _ = augment(torch.full((4, 3, 64, 64), 0.9), whole, torch.zeros(4, 1, dtype=torch.int64), torch.ones(4),
                          recipe, generator(seed), mosaic=False)
    for image, (left, top, right, bottom) in zip(x, boxes[:, 0].tolist(), strict=True):
        inside = torch.zeros(64, 64, dtype=torch.bool)
        inside[round(top):round(bottom), round(left):round(right)] = True
        assert torch.allclose(image[0], torch.where(inside, 0.9, 114 / 255), atol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_seen_beyond_the_horizon(seed):
    recipe = AugmentRecipe(**STILL | {"mosaic": 1.0, "perspective": 0.001, "scale": 0.9})
    whole = torch.tensor([[[0.0, 0.0, 64.0, 64.0]]]).expand(8, 1, 4)
    x, boxes, label = augment(torch.full((8, 3, 64, 64), 0.9), whole, torch.arange(8)[:, None], torch.ones(8), recipe,
                              generator(seed), mosaic=True)
    for image, box, name in zip(x, boxes, label, strict=True):
        covered = torch.zeros(64, 64, dtype=torch.bool)
        for left, top, right, bottom in box[name != -1].tolist():
            covered[max(0, int(top) - 1):int(bottom) + 2, max(0, int(left) - 1):int(right) + 2] = True
        assert int(((image[0] > 0.8) & ~covered).sum()) <= 64  # no more than a line


def test_padding_of_the_letterbox_is_left_out_of_joined_images():
    x = torch.full((4, 3, 64, 64), 114 / 255)
    x[:, :, 16:48] = 0.9
    content = torch.tensor([[0.0, 16.0, 64.0, 48.0]]).expand(4, 4)
    recipe = AugmentRecipe(**STILL | {"mosaic": 1.0})
    for seed in range(5):
        out, _, _ = augment(x, torch.zeros(4, 1, 4), torch.full((4, 1), -1), torch.ones(4), recipe, generator(seed),
                            mosaic=True, content=content)
        bright = (out[:, 0] > 0.8).any(2).float()  # rows: one band, without a grey seam where the four meet
        edges = (bright[:, 1:] - bright[:, :-1]).abs().sum(1)
        assert bool((edges <= 2).all())


def test_a_resumed_run_sees_the_same_batch_whatever_chance_elsewhere():
    first = changed(augment_of("heavy"), 5, mosaic=True)
    torch.rand(7)
    np.random.default_rng().random()
    second = changed(augment_of("heavy"), 5, mosaic=True)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], changed(augment_of("heavy"), 6, mosaic=True)[0])


def test_without_anything_to_change_a_batch_stays_as_it_is():
    x, boxes, label = marked(3, 0)
    out = augment(x, boxes, label, torch.ones(3), AugmentRecipe(**STILL), generator(), mosaic=True)
    assert torch.equal(out[0], x) and torch.equal(out[1], boxes) and torch.equal(out[2], label)


def test_closing_the_mosaic_also_ends_blending():
    recipe = AugmentRecipe(**STILL | {"mosaic": 1.0, "mixup": 1.0})
    x, boxes, label = marked(3, 0)
    closed = augment(x, boxes, label, torch.ones(3), recipe, generator(), mosaic=False)
    assert torch.allclose(closed[0], x, atol=1e-5)


def test_blended_images_have_the_boxes_of_both():
    recipe = AugmentRecipe(**STILL | {"mixup": 1.0})
    x, boxes, label = marked(6, 1)
    out, _, names = augment(x, boxes, label, torch.ones(6), recipe, generator(2), mosaic=True)
    for number in range(6):
        found = names[number][names[number] >= 0].tolist()
        assert len(found) == 2 and number in found
        assert 0.1 <= float(out[number].max()) <= 1.0


def test_images_without_weight_are_put_into_no_others():
    x, boxes, label = marked(4, 0)
    weight = torch.tensor([1.0, 1.0, 0.0, 0.0])
    recipe = AugmentRecipe(**STILL | {"mosaic": 1.0, "mixup": 1.0, "scale": 0.5})
    for seed in range(8):
        _, _, names = augment(x, boxes, label, weight, recipe, generator(seed), mosaic=True)
        assert not set(names[:2].flatten().tolist()) & {2, 3}


def test_ignored_boxes_stay_ignored_and_padding_stays_padding():
    x, boxes, label = marked(4, 3)
    label[0], label[1] = -2, -1
    out = augment(x, boxes, label, torch.ones(4), AugmentRecipe(**STILL | {"fliplr": 1.0}), generator(), mosaic=False)
    assert out[2][:2, 0].tolist() == [-2, -1]
    assert float(out[1][1].abs().sum()) == 0


def test_boxes_of_which_little_is_left_are_ignored_and_those_hardly_there_are_dropped():
    full = torch.tensor([[[-95.0, 0.0, 5.0, 50.0], [-40.0, 10.0, 60.0, 60.0], [10.0, 10.0, 11.5, 60.0],
                          [-95.0, 0.0, 5.0, 50.0], [-95.0, 0.0, 1.0, 50.0]]])
    boxes, label = kept(full, torch.tensor([[0, 1, 2, -2, 3]]), (96, 96))
    assert label.tolist() == [[-2, 1, -2]]
    assert boxes[0, 1].tolist() == [0.0, 10.0, 60.0, 60.0]


def test_one_of_the_sizes_is_drawn_and_all_of_them_occur():
    recipe = AugmentRecipe(**STILL | {"sizes": (64, 96, 128)})
    found = {changed(recipe, seed)[0].shape[-1] for seed in range(12)}
    assert found == {64, 96, 128}


@settings(max_examples=60)
@given(colour=st.tuples(*[st.floats(0, 1)] * 3), hue=st.floats(-0.5, 0.5), saturation=st.floats(0, 2),
       value=st.floats(0, 2))
def test_colours_change_as_by_hue_saturation_and_value(colour, hue, saturation, value):
    colour = tuple(round(channel * 255) / 255 for channel in colour)
    out = change_colour(torch.tensor(colour).view(1, 3, 1, 1), *(torch.tensor([one]) for one in (hue, saturation,
                                                                                                value)))
    h, s, v = colorsys.rgb_to_hsv(*colour)
    expected = colorsys.hsv_to_rgb((h + hue) % 1, min(1, s * saturation), min(1, v * value))
    assert out.flatten().tolist() == pytest.approx(expected, abs=2e-4)


def test_colours_stay_with_nothing_to_change():
    x = torch.rand(2, 3, 5, 5)
    still = change_colour(x, torch.tensor([0.0, 1e-9]), torch.ones(2), torch.ones(2))
    assert torch.allclose(still, x, atol=1e-5)


def test_levels_are_the_seeds():
    assert set(LEVELS) == {"light", "medium", "heavy"}
    medium, heavy = augment_of("medium"), augment_of("heavy", AugmentRecipe(close_mosaic=3, sizes=(64,)))
    assert medium == AugmentRecipe()
    assert (heavy.degrees, heavy.shear, heavy.perspective, heavy.mixup) == (10, 5, 0.001, 0.15)
    assert (heavy.close_mosaic, heavy.sizes) == (3, (64,))
