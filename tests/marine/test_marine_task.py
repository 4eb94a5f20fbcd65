"""The task around a detector: what it changes by chance, which weights it judges by, what it counts and exports."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from marine_sets import small_set
from torch import nn

from groundswell.pipelines.marine.detector import Engine, Raw
from groundswell.pipelines.marine.recipe import AugmentRecipe, DetectRecipe
from groundswell.pipelines.marine.source import DetectionSource
from groundswell.pipelines.marine.task import DetectionTask
from groundswell.train.task import check_monitor

SIZE = 64


class Tiny(Engine):
    """One box and one score of each class for each cell of 32 pixels."""

    engine: ClassVar[str] = "tiny"
    suppress: ClassVar[bool] = True

    def __init__(self, classes=2):
        super().__init__("tiny", classes)
        torch.manual_seed(0)
        self.body, self.head = nn.Sequential(nn.Conv2d(3, 8, 32, 32), nn.BatchNorm2d(8)), nn.Conv2d(8, 4 + classes, 1)

    def backbone(self, x):
        return self.body(x)

    def backbone_names(self):
        return ("body.",)

    def raw(self, x):
        said = self.head(self.body(x)).flatten(2).transpose(1, 2).sigmoid()
        low = said[..., :2] * 0.5
        return Raw(torch.cat([low, low + said[..., 2:4] * 0.5], -1), said[..., 4:])

    def losses(self, x, boxes, label, weight, class_weight=None):
        raw = self.raw(x)
        each = (raw.scores.mean((1, 2)) - boxes.mean((1, 2))).square() + raw.boxes.mean((1, 2))
        if class_weight is not None:
            each = each * class_weight.sum()
        loss = (each * weight).sum() / weight.sum().clamp(min=1e-6)
        return {"loss": loss, "box": loss}


def task(**more):
    kept = {"classes": ("a", "b"), "size": SIZE, "average": 0.9, "epochs": 20} | more
    return DetectionTask(kept.pop("engine", None) or Tiny(len(kept["classes"])), **kept)


def batch(count=4, seed=0):
    chance = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 3, 2, generator=chance) * 30
    return {"image": torch.randint(0, 256, (count, 3, SIZE, SIZE), generator=chance, dtype=torch.uint8),
            "boxes": torch.cat([boxes, boxes + 20], -1), "weight": torch.ones(count),
            "box_label": torch.tensor([[0, 1, -1]] * count), "row": torch.arange(count)}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def stepped(found, steps, start=0):
    optimiser = torch.optim.SGD([p for p in found.parameters() if p.requires_grad], 0.1)
    for step in range(start, start + steps):
        loss, _ = found.train()(batch(seed=step), generator(step))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return found


def test_validation_looks_at_images_as_they_are_and_training_does_not():
    found = task(average=0.0)
    with torch.no_grad():
        same = [found.eval()(batch())[0].item() for _ in range(2)]
        other = [found.train()(batch(), generator(seed))[0].item() for seed in (1, 1, 2)]
    assert same[0] == same[1]
    assert other[0] == other[1] != other[2]


def test_the_mosaic_closes_before_the_end():
    found = task(augment=AugmentRecipe(close_mosaic=5))
    seen = []
    for number in (0, 14, 15, 19, 3):
        found.epoch(number)
        seen.append(found.mosaic)
    assert seen == [True, True, False, False, True]


def test_the_running_mean_predicts_and_is_what_others_start_from():
    found = stepped(task(), 5).eval()
    image = batch()["image"]
    mine, mean = (dict(network.state_dict()) for network in (found.engine, found.mean.network))
    assert not torch.equal(mine["head.weight"], mean["head.weight"])
    assert not torch.equal(mean["head.weight"], Tiny().head.weight) and int(found.mean.updates) == 5
    with torch.no_grad():
        assert torch.equal(found.raw(image).scores, found.mean.network.raw(image.float() / 255).scores)
    state = DetectionTask.engine_state(found.state_dict())
    assert set(state) == set(mine) and torch.equal(state["head.weight"], mean["head.weight"])
    none = stepped(task(average=0.0), 5)
    assert torch.equal(DetectionTask.engine_state(none.state_dict())["head.weight"], none.engine.head.weight)
    assert none.judged is none.engine


def test_training_that_goes_on_from_its_state_is_as_if_there_had_been_no_break():
    straight = stepped(task(), 6)
    first, second = stepped(task(), 3), task()
    second.load_state_dict(first.state_dict())
    stepped(second, 3, start=3)
    for (name, value), other in zip(straight.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(value, other), name


def test_counts_of_parts_add_up_to_those_of_the_whole():
    found, whole = task().eval(), batch(6)
    with torch.no_grad():
        _, together = found(whole)
        parts = [found({name: value[part] for name, value in whole.items()})[1] for part in (slice(2), slice(2, 6))]
    assert set(together) == set(parts[0]) >= {"weight", "loss", "box", "counts", "truths"}
    for name, value in together.items():
        assert torch.allclose(value, parts[0][name] + parts[1][name], rtol=1e-5), name
    assert together["truths"].tolist() == [6, 6]


def test_images_that_only_fill_up_a_batch_are_not_counted():
    found, given = task().eval(), batch(4)
    given["weight"] = torch.tensor([1.0, 0.0, 1.0, 0.0])
    with torch.no_grad():
        _, sums = found(given)
    assert sums["truths"].tolist() == [2, 2] and float(sums["weight"]) == 2


def test_metrics_of_validation_have_the_precision_and_those_of_training_do_not():
    found = task()
    with torch.no_grad():
        _, training = found.train()(batch(), generator())
        _, validation = found.eval()(batch())
    assert set(found.metrics(training)) == {"loss", "box"}
    assert set(found.metrics(validation)) == {"loss", "box", "map50"}
    check_monitor("val_map50", found.metrics(validation))
    assert "map50" not in found.lower_is_better and "loss" in found.lower_is_better


def test_a_network_that_is_right_has_precision_one():
    class Right(Tiny):
        def raw(self, x):
            given = batch(len(x))
            return Raw(given["boxes"][:, :2] / SIZE, torch.eye(2).expand(len(x), 2, 2) * 0.8 + 0.0005)

    found = task(engine=Right()).eval()
    with torch.no_grad():
        metrics = found.metrics(found(batch())[1])
    assert metrics["map50"] == pytest.approx(1.0)


def test_predictions_are_padded_and_in_pixels():
    found = task(detect=DetectRecipe(most=7)).eval()
    out = found.predict(batch(3))
    assert out["boxes"].shape == (3, 7, 4) and out["scores"].shape == out["labels"].shape == (3, 7)
    there = out["labels"] >= 0
    assert bool(there.any()) and float(out["scores"][~there].abs().sum()) == 0
    assert 1 < float(out["boxes"].max()) <= SIZE


def test_weights_of_classes_reach_the_loss_and_stay_out_of_the_state():
    found = task(class_weights=torch.tensor([1.0, 3.0]))
    assert "class_weights" not in found.state_dict()
    with torch.no_grad():
        plain, weighted = task().eval()(batch())[0], found.eval()(batch())[0]
    assert weighted.item() == pytest.approx(4 * plain.item(), rel=1e-5)


def test_the_exported_module_takes_pixels_as_they_are_in_files():
    found = stepped(task(facts={"priority": ["critical", "general"]}), 2).eval()
    export = found.export()
    image = batch(2)["image"]
    with torch.no_grad():
        boxes, scores = export.module(image.float())
        mine = found.raw(image)
    assert torch.equal(boxes, mine.boxes) and torch.equal(scores, mine.scores)
    assert export.metadata["suppress"] is True and export.metadata["priority"] == ["critical", "general"]
    assert export.metadata["classes"] == ["a", "b"] and export.metadata["size"] == SIZE
    assert export.inputs["image"].shape == (2, 3, SIZE, SIZE) and export.dynamic == {"image": {0: "batch"}}


@pytest.mark.parametrize("sizes", [(), (64, 96)])
def test_batches_of_a_source_go_through_as_they_are(tmp_path, sizes):
    images = small_set(tmp_path / "set", clips=2)
    source = DetectionSource(images, images.table(), size=SIZE)
    out = {name: field.allocate(len(source)) for name, field in source.fields.items()}
    source.read(np.arange(len(source)), out)
    given = {name: torch.from_numpy(value) for name, value in out.items()} | {"weight": torch.ones(len(source))}
    found = task(classes=images.classes, augment=AugmentRecipe(sizes=sizes))
    loss, sums = found.train()(given, generator())
    loss.backward()
    assert bool(torch.isfinite(loss)) and float(sums["weight"]) == len(source)
