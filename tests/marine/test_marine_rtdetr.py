"""RT-DETRv2 starts so that it can learn, learns from exactly what it is told to, and answers alike anywhere."""

from __future__ import annotations

import itertools
import math
import socket
from typing import Any

import pytest
import torch
from torch import Tensor

from groundswell.core.errors import InputError

pytest.importorskip("transformers")

from groundswell.pipelines.marine.detector import Engine
from groundswell.pipelines.marine.engines import rtdetr_loss as loss
from groundswell.pipelines.marine.engines.rtdetr import build
from groundswell.pipelines.marine.engines.rtdetr_shapes import SHAPES

NANO = "rtdetrv2_nano"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def nano(classes: int = 3, **options: Any) -> Engine:
    torch.manual_seed(0)
    return build(NANO, classes, **options)


def scene(images: int = 3, size: int = 64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images by chance; the first has two boxes, the second one, the third none."""
    generator = torch.Generator().manual_seed(1)
    boxes = torch.tensor([[[.1, .1, .5, .6], [.4, .5, .9, .9]], [[.2, .3, .7, .8], [0] * 4], [[0.] * 4, [0] * 4]])
    label = torch.tensor([[0, 2], [1, -1], [-1, -1]])
    x = torch.rand(3, 3, size, size, generator=generator)
    return x[:images], boxes[:images], label[:images], torch.ones(images)


def outputs(layers: int = 3, queries: int = 9, classes: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    centre, edge = (torch.rand(layers, 3, queries, 2, generator=generator) for _ in range(2))
    return torch.randn(layers, 3, queries, classes, generator=generator), torch.cat([centre, edge / 2 + 0.05], -1)


def test_no_network_is_asked_for_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("a connection was opened")
    monkeypatch.setattr(socket, "socket", refused)
    monkeypatch.setattr(socket, "create_connection", refused)
    assert sum(p.numel() for p in nano().parameters()) < 3e6


def test_the_sizes_are_the_published_ones() -> None:
    """Millions of parameters: 20 for r18 (Lv et al. 2024, table 1); the backbones are those of ResNets."""
    r18 = build("rtdetrv2_r18", 80)
    count = sum(p.numel() for p in r18.parameters())
    assert 19.5e6 < count < 20.6e6
    assert (SHAPES["rtdetrv2_r50"].layers, SHAPES["rtdetrv2_r34"].layers, SHAPES["rtdetrv2_r101"].hidden) == (6, 4, 384)


def test_the_loss_is_the_one_of_the_published_network() -> None:
    """With weights of one it is what transformers computes, encoder's choice and both layers together."""
    from transformers.loss.loss_rt_detr import RTDetrForObjectDetectionLoss

    _, boxes, label, weight = scene()
    truth = loss.truth_of(boxes, label, weight, None)
    logits, places = outputs()
    there = [{"class_labels": label[i][label[i] >= 0], "boxes": truth.boxes[i][truth.there[i]]} for i in range(3)]
    theirs, _, _ = RTDetrForObjectDetectionLoss(
        logits[-1], there, torch.device("cpu"), places[-1], nano().model.config, logits[1:].transpose(0, 1),
        places[1:].transpose(0, 1), enc_topk_logits=logits[0], enc_topk_bboxes=places[0])
    assert loss.learnt(logits, places, truth).sum() == pytest.approx(float(theirs), rel=1e-5)


def test_boxes_are_matched_at_the_least_cost() -> None:
    """Against all assignments there are: no other one is cheaper in any layer or image."""
    _, boxes, label, weight = scene()
    truth = loss.truth_of(boxes, label, weight, None)
    logits, places = outputs(queries=5)
    pairs = loss.match(logits, places, truth)
    assert len(pairs.layer) == 3 * 3  # three layers, three boxes
    score = logits.sigmoid()
    for layer, image in itertools.product(range(3), range(2)):
        here = (pairs.layer == layer) & (pairs.image == image)
        number = int(truth.there[image].sum())

        def cost(queries: Any, wanted: Any, layer: int = layer, image: int = image) -> float:
            total = 0.0
            for q, m in zip(queries, wanted, strict=True):
                p = float(score[layer, image, q, truth.label[image, m]])
                own, box = places[layer, image, q], truth.boxes[image, m]
                general = float(loss.overlaps(loss.corners(own), loss.corners(box))[1])
                focal = .75 * p ** 2 * math.log(1 - p + 1e-8) - .25 * (1 - p) ** 2 * math.log(p + 1e-8)
                total += 2 * focal + 5 * float((own - box).abs().sum()) - 2 * general
            return total

        found = cost(pairs.query[here].tolist(), pairs.box[here].tolist())
        every = [cost(order, range(number)) for order in itertools.permutations(range(5), number)]
        assert found == pytest.approx(min(every), abs=1e-5)


def test_padding_and_images_without_weight_count_for_nothing() -> None:
    _, boxes, label, weight = scene()
    logits, places = outputs()
    whole = loss.learnt(logits[:, :2], places[:, :2], loss.truth_of(boxes[:2], label[:2], weight[:2], None))
    wide = torch.cat([boxes, torch.rand(3, 4, 4)], 1), torch.cat([label, torch.full((3, 4), -1)], 1)
    padded = loss.learnt(logits, places, loss.truth_of(*wide, torch.tensor([1.0, 1, 0]), None))
    assert torch.allclose(whole, padded, rtol=1e-6)
    assert torch.allclose(loss.learnt(logits, places, loss.truth_of(boxes, label, 3 * weight, None)),
                          loss.learnt(logits, places, loss.truth_of(boxes, label, weight, None)), rtol=1e-6)


def test_nothing_inside_an_ignored_region_is_a_false_alarm() -> None:
    logits, places = outputs(layers=1)
    logits = logits + 3
    nowhere = torch.zeros(3, 1, 4), torch.full((3, 1), -1)
    everywhere = torch.tensor([[[-1.0, -1, 2, 2]]]).expand(3, 1, 4), torch.full((3, 1), -2)
    weight = torch.ones(3)
    assert loss.learnt(logits, places, loss.truth_of(*nowhere, weight, None))[0] > 1
    assert loss.learnt(logits, places, loss.truth_of(*everywhere, weight, None)).sum() == 0


def test_class_weights_weigh_boxes_of_their_class() -> None:
    _, boxes, label, weight = scene()
    logits, places = outputs()
    one = loss.learnt(logits, places, loss.truth_of(boxes, label, weight, torch.ones(3)))
    assert torch.allclose(one, loss.learnt(logits, places, loss.truth_of(boxes, label, weight, None)))
    more = loss.learnt(logits, places, loss.truth_of(boxes, label, weight, torch.tensor([1.0, 4, 1])))
    assert bool((more > one).all())


@pytest.mark.parametrize("case", ["no boxes", "no columns", "no weight", "more boxes than queries"])
def test_any_batch_gives_a_finite_loss_and_gradients(case: str) -> None:
    engine = nano(queries=2).train()
    x, boxes, label, weight = scene()
    if case == "no boxes":
        label = torch.full_like(label, -1)
    if case == "no columns":
        boxes, label = boxes[:, :0], label[:, :0]
    if case == "no weight":
        weight = weight * 0
    if case == "more boxes than queries":
        boxes, label = boxes[:1].repeat(3, 4, 1), label[:1].repeat(3, 4)
    found = engine.losses(x, boxes, label, weight)
    found["loss"].backward()
    assert torch.isfinite(found["loss"]) and (case != "no weight" or float(found["loss"].detach()) == 0)
    # Processes that share gradients wait for each one's: every parameter has one, whatever the batch.
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in engine.parameters())


def test_the_loss_is_the_sum_of_its_terms_and_chance_is_torchs_own() -> None:
    engine = nano().train()
    found = []
    for _ in range(2):
        torch.manual_seed(5)
        found.append({name: float(value.detach()) for name, value in engine.losses(*scene()).items()})
    assert found[0] == found[1]
    loss_of = found[0].pop("loss")
    assert loss_of == pytest.approx(sum(found[0].values()), rel=1e-6)
    assert found[0]["denoising"] > 0
    assert float(engine.eval().losses(*scene())["denoising"].detach()) == 0


def test_noised_boxes_tell_the_queries_nothing() -> None:
    """What the queries answer does not depend on the noised truth beside them."""
    engine: Any = nano().eval()
    x, boxes, label, weight = scene()
    with torch.no_grad():
        truth = loss.truth_of(boxes, label, weight, None)
        chosen = engine._choose(x)
        alone = engine._decode(chosen, chosen.content, chosen.start, None)
        content, start, mask, pairs, _ = engine._noised(truth, chosen.content.shape[1])
        together = torch.cat([content, chosen.content], 1), torch.cat([start, chosen.start], 1)
        both = engine._decode(chosen, *together, mask)
    assert torch.allclose(both[0][:, :, content.shape[1]:], alone[0], atol=1e-5)
    near = loss.overlaps(loss.corners(start.sigmoid()[pairs.image, pairs.query]),
                         loss.corners(truth.boxes[pairs.image, pairs.box]))[0]
    assert float(near.min()) > 0.2  # positives are moved, but not away


def test_the_first_gradient_reaches_the_backbone() -> None:
    """As the package begins, a thousandth of it would."""
    engine: Any = nano().train()
    engine.losses(*scene())["loss"].backward()
    first = engine.model.backbone.model.embedder.embedder[0].convolution.weight.grad
    assert float(first.norm()) > 0.05
    norms = [m for m in engine.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all(bool((m.weight == 1).all()) for m in norms)


def test_it_learns_two_images_by_heart() -> None:
    engine = nano(classes=2, queries=20).train()
    x = torch.full((2, 3, 64, 64), 0.2)
    x[0, 0, 8:32, 8:40] = 1
    x[1, 2, 30:58, 20:44] = 1
    boxes = torch.tensor([[[8, 8, 40, 32.]], [[20, 30, 44, 58.]]]) / 64
    label, weight = torch.tensor([[0], [1]]), torch.ones(2)
    optimiser = torch.optim.AdamW(engine.parameters(), 1e-3)
    for _ in range(30):
        engine.losses(x, boxes, label, weight)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(engine.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
    with torch.no_grad():
        raw = engine.raw(x)
    best = raw.scores.flatten(1).argmax(1)
    assert (best % 2).tolist() == [0, 1]
    overlap = loss.overlaps(raw.boxes[torch.arange(2), best // 2], boxes[:, 0])[0]
    assert float(overlap.min()) > 0.5


@pytest.mark.parametrize("size", [(32, 32), (64, 160)])
def test_any_multiple_of_32_will_do(size: tuple[int, int]) -> None:
    engine = nano().eval()
    with torch.no_grad():
        x = torch.rand(2, 3, *size)
        raw, last = engine.raw(x), engine.backbone(x)
    assert last.shape[2:] == (size[0] // 32, size[1] // 32)
    assert engine.features(x).shape == (2, last.shape[1])
    assert raw.boxes.shape[1] == raw.scores.shape[1] <= SHAPES[NANO].queries
    assert bool(((raw.boxes >= 0) & (raw.boxes <= 1)).all()) and bool(((raw.scores >= 0) & (raw.scores <= 1)).all())
    _, shared = engine.losses_and_raw(x, *(part[:2] for part in scene()[1:]))
    assert torch.allclose(shared.boxes, raw.boxes) and torch.allclose(shared.scores, raw.scores)


def test_looking_before_learning_leaves_learning_possible() -> None:
    """Nothing that is kept from an evaluation in inference mode gets in the way of gradients."""
    engine = nano()
    with torch.inference_mode():
        engine.eval().raw(scene()[0])
    engine.train().losses(*scene())["loss"].backward()


def test_queries_stand_in_the_order_of_their_places() -> None:
    """Scores that are nearly alike do not change places where numbers are rounded otherwise."""
    engine: Any = nano().eval()
    with torch.no_grad():
        x = torch.rand(1, 3, 64, 64)
        first = engine.raw(x)
        again = engine.raw(x + 1e-6 * torch.randn_like(x))
    assert float((first.boxes - again.boxes).abs().max()) < 1e-3


def test_images_at_a_tie_are_known() -> None:
    """Two tokens that score alike at the edge of the choice: rounding may choose either."""
    engine: Any = nano().eval()
    x = torch.rand(2, 3, 128, 128)
    with torch.no_grad():
        engine.model.enc_score_head.weight.zero_()
        assert engine.settled(x).tolist() == [False, False]
    few = nano(queries=60)
    assert few.eval().settled(torch.rand(1, 3, 32, 32)).tolist() == [True]  # all tokens are queries


def test_an_unknown_network_or_size_is_refused() -> None:
    with pytest.raises(InputError, match="nothing"):
        build("nothing", 3)
    with pytest.raises(InputError, match="legs"):
        nano(legs=4)
