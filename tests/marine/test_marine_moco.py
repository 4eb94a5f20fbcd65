"""Contrastive pretraining: views that are independent, a loss without its positive among the negatives, a slow network
that follows, and nothing moved that is not the backbone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from groundswell.core.optional import available
from groundswell.pipelines.marine.engines import build_detector
from groundswell.pipelines.marine.moco.loss import Keys, contrast, gather
from groundswell.pipelines.marine.moco.task import MocoTask, momentum_at
from groundswell.pipelines.marine.moco.views import blurred, cropped, recoloured, two_views
from groundswell.pipelines.marine.recipe import PretrainRecipe

SMALL = PretrainRecipe(size=64, hidden_dim=64, projection_dim=32)
STILL: dict[str, Any] = {"jitter": (0.0, 0.0, 0.0, 0.0), "grey": 0.0, "blur": 0.0, "solarise": 0.0, "crop": 1.0}
ENGINES = [("rtdetr", "rtdetrv2_nano"), ("yolo", "yolov8n")]


def _chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _whole(x: Tensor) -> Tensor:
    return torch.tensor([[0.0, 0.0, x.shape[3], x.shape[2]]]).repeat(len(x), 1)


def _places(count: int, size: int = 96) -> Tensor:
    """Images whose red says how far right and whose green how far down a pixel is."""
    ramp = (torch.arange(size) + 0.5) / size
    right, down = ramp.expand(size, size), ramp[:, None].expand(size, size)
    return torch.stack([right, down, torch.zeros(size, size)]).expand(count, -1, -1, -1).clone()


def _batch(count: int = 6, size: int = 96, seed: int = 0) -> dict[str, Tensor]:
    return {"image": torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=_chance(seed)),
            "placed": torch.tensor([[1.0, 0.0, 12.0, size, size - 24]]).repeat(count, 1),
            "weight": torch.ones(count), "row": torch.arange(count)}


def _engine(engine: str = "rtdetr", name: str = "rtdetrv2_nano") -> Any:
    if engine == "yolo" and not available("ultralytics"):  # importing it would change how numpy prints
        pytest.skip("the extra 'yolo' is not installed")
    torch.manual_seed(3)
    return build_detector(engine, name, 2)


# -- views ------------------------------------------------------------------------------------------------------------


def test_the_two_views_of_an_image_draw_everything_on_their_own() -> None:
    recipe = SMALL.model_copy(update={"jitter": (0.0, 0.0, 0.0, 0.0), "grey": 0.0, "blur": 0.0, "solarise": 0.0})
    x = _places(256)
    first, second = two_views(x, _whole(x), recipe, _chance())
    assert first.shape == second.shape == (256, 3, 64, 64)
    # Where a view looks, how large it is and whether it is mirrored can be read off its colours.
    facts = [torch.stack([v[:, 0].mean((1, 2)), v[:, 1].mean((1, 2)), v[:, 0].amax((1, 2)) - v[:, 0].amin((1, 2)),
                          (v[:, 0, 0, 0] < v[:, 0, 0, -1]).float()]) for v in (first, second)]
    together = torch.corrcoef(torch.cat(facts))[:4, 4:]
    assert together.abs().max() < 0.25 and (facts[0] != facts[1]).any(1).all()


def test_the_two_views_have_colours_of_their_own() -> None:
    recipe = PretrainRecipe(size=32, jitter=(0.4, 0.4, 0.4, 0.1), grey=0.0, blur=0.0, solarise=0.0, crop=1.0)
    x = torch.full((256, 3, 32, 32), 0.4)
    x[:, 0] = 0.5
    means = [v.mean((2, 3)) for v in two_views(x, _whole(x), recipe, _chance())]
    red = torch.corrcoef(torch.stack([mean[:, 0] for mean in means]))[0, 1]
    assert abs(float(red)) < 0.25 and all(float(mean[:, 0].std()) > 0.05 for mean in means)


def test_the_same_generator_gives_the_same_views() -> None:
    x = torch.rand(5, 3, 80, 80, generator=_chance(1))
    one, other = (two_views(x, _whole(x), SMALL, _chance(7)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    torch.manual_seed(12)  # torch's own chance plays no part
    again = two_views(x, _whole(x), SMALL, _chance(7))
    assert torch.equal(one[0], again[0])
    assert not torch.equal(one[0], two_views(x, _whole(x), SMALL, _chance(8))[0])


def test_views_show_nothing_of_the_padding() -> None:
    x = torch.full((64, 3, 96, 96), 0.1)
    x[:, :, 20:70, 10:90] = 0.9
    inside = torch.tensor([[10.0, 20.0, 90.0, 70.0]]).repeat(64, 1)
    seen = cropped(x, inside, PretrainRecipe(size=64), _chance())
    assert seen[:, :, 1:-1, 1:-1].min() > 0.89


def test_crops_are_as_large_as_the_recipe_says_and_half_of_them_are_mirrored() -> None:
    x = _places(400)
    seen = cropped(x, _whole(x), PretrainRecipe(size=64, crop=0.2), _chance())
    wide, high = (seen[:, k].amax((1, 2)) - seen[:, k].amin((1, 2)) for k in (0, 1))
    area = wide * high
    assert 0.15 < area.min() < 0.3 and area.max() > 0.9
    mirrored = (seen[:, 0, 0, 0] > seen[:, 0, 0, -1]).float().mean()
    assert 0.4 < mirrored < 0.6
    assert (seen[:, 1, 0, 0] < seen[:, 1, -1, 0]).all()  # never upside down


def test_no_strength_leaves_the_image_as_it_is() -> None:
    recipe = PretrainRecipe(size=64, **STILL)
    x = torch.rand(8, 3, 64, 64, generator=_chance())
    assert torch.allclose(recoloured(x, recipe, _chance()), x, atol=1e-6)
    assert torch.equal(blurred(x, 0.0, _chance()), x)


def test_hue_turns_colours_and_leaves_grey_and_lightness() -> None:
    recipe = PretrainRecipe(size=64, **{**STILL, "jitter": (0.0, 0.0, 0.0, 0.1)})
    grey = torch.rand(64, 1, 16, 16, generator=_chance()).expand(-1, 3, -1, -1)
    assert torch.allclose(recoloured(grey, recipe, _chance()), grey, atol=2e-3)
    colour = 0.4 + 0.2 * torch.rand(64, 3, 16, 16, generator=_chance())
    turned = recoloured(colour, recipe, _chance())
    luma = torch.tensor([0.299, 0.587, 0.114])
    one, other = (torch.einsum("c,bchw->bhw", luma, x) for x in (turned, colour))
    assert torch.allclose(one, other, atol=2e-3)
    assert (turned - colour).abs().amax((1, 2, 3)).max() > 0.03


def test_grey_and_solarised_views_come_as_often_as_asked() -> None:
    x = torch.full((300, 3, 64, 64), 0.9) * torch.tensor([1.0, 0.8, 0.7])[:, None, None]
    recipe = PretrainRecipe(size=64, **{**STILL, "grey": 0.3, "solarise": 0.25})
    first, second = two_views(x, _whole(x), recipe, _chance())
    grey = (first[:, 0] - first[:, 2]).abs().amax((1, 2)) < 1e-4
    assert 0.2 < grey.float().mean() < 0.4
    assert first.min() > 0.5  # the first view is never solarised
    assert 0.17 < (second.amax((1, 2, 3)) < 0.5).float().mean() < 0.33


def test_blur_takes_detail_and_keeps_the_mean() -> None:
    x = torch.rand(40, 3, 224, 224, generator=_chance())
    seen = blurred(x, 0.5, _chance())
    changed = (seen != x).flatten(1).any(1)
    assert 0.3 < changed.float().mean() < 0.7
    assert (seen[changed].std((2, 3)) < 0.9 * x[changed].std((2, 3))).float().mean() > 0.8
    assert torch.allclose(seen.mean((1, 2, 3)), x.mean((1, 2, 3)), atol=2e-3)


# -- loss -------------------------------------------------------------------------------------------------------------


def test_perfect_alignment_costs_what_it_must_and_the_positive_is_no_negative() -> None:
    # Eight images at right angles: log(1 + 7 exp(-5)). With the positive among the negatives it would be 0.716.
    vectors = torch.eye(8)
    loss, right = contrast(vectors, gather(vectors, torch.ones(8)), torch.ones(8), 0.2)
    assert torch.allclose(loss, torch.full((8,), math.log1p(7 * math.exp(-5))), atol=1e-6)
    assert abs(float(loss.mean()) - 0.0461) < 1e-4 and right.all()


def test_perfect_alignment_is_where_the_loss_is_least() -> None:
    vectors = torch.eye(8)
    keys = gather(vectors, torch.ones(8))
    best = contrast(vectors, keys, torch.ones(8), 0.2)[0].mean()
    for seed in range(20):
        moved = vectors + 0.3 * torch.randn(8, 8, generator=_chance(seed))
        assert contrast(moved, keys, torch.ones(8), 0.2)[0].mean() > best
    one = torch.ones(8, 8)
    assert torch.allclose(contrast(one, gather(one, torch.ones(8)), torch.ones(8), 0.2)[0],
                          torch.full((8,), math.log(8)))


def test_images_that_only_fill_up_a_batch_neither_teach_nor_rival() -> None:
    query, key = torch.randn(6, 16, generator=_chance()), torch.randn(6, 16, generator=_chance(1))
    weight = torch.tensor([1.0, 1, 1, 1, 0, 0])
    loss, right = contrast(query, gather(key, weight), weight, 0.2)
    alone, _ = contrast(query[:4], gather(key[:4], weight[:4]), weight[:4], 0.2)
    assert torch.allclose(loss[:4], alone) and (loss[4:] == 0).all() and not right[4:].any()
    nothing, _ = contrast(query, gather(key, weight * 0), weight * 0, 0.2)
    assert torch.isfinite(nothing).all() and (nothing == 0).all()


def test_two_processes_see_one_another_s_keys() -> None:
    query, key = torch.randn(8, 16, generator=_chance()), torch.randn(8, 16, generator=_chance(1))
    ones = torch.ones(8)
    whole, _ = contrast(query, gather(key, ones), ones, 0.2)
    every = gather(key, ones).vectors
    parts = [contrast(query[at:at + 4], Keys(every, ones, at), ones[:4], 0.2)[0] for at in (0, 4)]
    assert torch.allclose(torch.cat(parts), whole)


def test_the_keys_have_no_gradient() -> None:
    query, key = (torch.randn(4, 8, generator=_chance(s)).requires_grad_() for s in (0, 1))
    contrast(query, gather(key, torch.ones(4)), torch.ones(4), 0.2)[0].sum().backward()
    assert query.grad is not None and key.grad is None


# -- task -------------------------------------------------------------------------------------------------------------


def test_the_momentum_rises_along_a_cosine_to_one() -> None:
    found = [momentum_at(step, 101, 0.99) for step in range(101)]
    assert found[0] == 0.99 and found[-1] == 1.0 and sorted(found) == found
    assert found[50] == pytest.approx(0.995) and momentum_at(5000, 101, 0.99) == 1.0


@pytest.mark.parametrize(("engine", "name"), ENGINES)
def test_a_step_moves_the_backbone_and_the_heads_and_nothing_else(engine: str, name: str) -> None:
    detector = _engine(engine, name)
    task = MocoTask(detector, SMALL, 10).train()
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    learnt = [p for p in task.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learnt, 1e-2)
    loss, _ = task(_batch(), _chance())
    loss.backward()
    assert all(p.grad is not None for p in learnt)  # processes that share gradients wait for each of them
    optimiser.step()
    moved = {key for key, value in detector.state_dict().items() if not torch.equal(value, before[key])}
    assert moved and all(detector.is_backbone(key) for key in moved)
    assert {key for key in moved if key.endswith("weight")} == {
        key for key, p in detector.named_parameters() if detector.is_backbone(key) and key.endswith("weight")}


def test_the_slow_network_follows_by_the_momentum_and_the_count_is_kept() -> None:
    detector = _engine()
    task = MocoTask(detector, SMALL, 100).train()
    name = next(key for key, _ in detector.named_parameters() if detector.is_backbone(key))
    fast, slow = (dict(module.named_parameters())[name] for module in (task.engine, task.slow_engine))
    with torch.no_grad():
        fast += 1
    was = slow.clone()
    task(_batch(), _chance())
    assert torch.allclose(slow - was, torch.full_like(was, 0.01), atol=1e-5)
    assert int(task.updates) == 1 and "updates" in task.state_dict()
    task.eval()
    task(_batch())
    assert int(task.updates) == 1 and torch.allclose(slow - was, torch.full_like(was, 0.01), atol=1e-5)


def test_validation_is_free_of_chance_and_metrics_say_what_they_are() -> None:
    task = MocoTask(_engine(), SMALL, 10).eval()
    with torch.no_grad():
        (one, sums), (other, _) = task(_batch()), task(_batch())
    assert torch.equal(one, other)
    metrics = task.metrics(sums)
    assert set(metrics) == {"loss", "right", "spread", "steps"} and 0 <= metrics["right"] <= 1
    assert metrics["loss"] == pytest.approx(float(one), rel=1e-5) and 0 < metrics["spread"] < 1.3
    assert metrics["steps"] == 0


def test_a_batch_without_samples_costs_nothing_and_breaks_nothing() -> None:
    task = MocoTask(_engine(), SMALL, 10).train()
    batch = _batch() | {"weight": torch.zeros(6)}
    loss, sums = task(batch, _chance())
    loss.backward()
    assert float(loss.detach()) == 0 and all(math.isfinite(float(value)) for value in sums.values())


def test_a_few_steps_teach_it_to_know_images_again() -> None:
    recipe = PretrainRecipe(size=64, hidden_dim=64, projection_dim=32, **{**STILL, "crop": 0.6})
    task = MocoTask(_engine(), recipe, 30).train()
    optimiser = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], 2e-3)
    image = torch.nn.functional.interpolate(torch.rand(12, 3, 4, 4, generator=_chance()), (96, 96), mode="bicubic")
    batch = _batch(12) | {"image": (image.clamp(0, 1) * 255).to(torch.uint8)}
    losses = []
    for step in range(30):
        loss, _ = task(batch, _chance(step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_predictions_are_pooled_features_of_the_network_that_learns() -> None:
    task = MocoTask(_engine(), SMALL, 10).eval()
    batch = _batch(3)
    found = task.predict(batch)["features"]
    with torch.no_grad():
        assert torch.equal(found, task.engine.backbone(batch["image"].float() / 255).mean((2, 3)))
