"""What every engine must do alike, whatever is inside."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from groundswell.core.errors import InputError
from groundswell.core.optional import available
from groundswell.deploy.artifact import Artifact
from groundswell.deploy.export import export_onnx
from groundswell.pipelines.marine.detector import backbone_hash, load_start
from groundswell.pipelines.marine.engines import NAMES, build_detector, names
from groundswell.pipelines.marine.task import DetectionTask

ENGINES = [("yolo", "yolov8n"), ("yolo", "yolo11n"), ("rtdetr", "rtdetrv2_nano")]
CLASSES, SIZE = 3, 64


@pytest.fixture(params=ENGINES, ids=[name for _, name in ENGINES])
def kind(request):
    if not available({"yolo": "ultralytics", "rtdetr": "transformers"}[request.param[0]]):
        pytest.skip("the engine's extra is not installed")
    return request.param


def fixed(count=2, seed=1):
    """Images with a bright box each, and its box and label."""
    torch.manual_seed(seed)
    x = torch.rand(count, 3, SIZE, SIZE) * 0.3
    boxes, label = torch.zeros(count, 3, 4), torch.full((count, 3), -1)
    for number in range(count):
        left, top = 8 + 4 * (number % 6), 12
        x[number, number % 3, top:top + 24, left:left + 28] = 0.9
        boxes[number, 0] = torch.tensor([left, top, left + 28, top + 24]) / SIZE
        label[number, 0] = number % CLASSES
    return x, boxes, label, torch.ones(count)


def smooth(count, seed=0):
    """Pictures without noise, of which a network that never was taught makes too much."""
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear")


def built(kind, seed=0, classes=CLASSES):
    """A network as training leaves it in one respect: its normalisations know what passes through them. Else what a new
    YOLO network is shown fades away within it, and all its answers are alike."""
    torch.manual_seed(seed)
    engine = build_detector(*kind, classes).train()
    layers = [layer for layer in engine.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    usual = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 1.0
    with torch.no_grad():
        engine.raw(torch.cat([fixed(6)[0], smooth(6)]))
    for layer, momentum in zip(layers, usual, strict=True):
        layer.momentum = momentum
        layer.running_var += 0.3 * layer.running_var.mean()  # a few images vary less than many
    return engine


def close(a, b, tolerance=1e-4):
    return torch.allclose(a, b, atol=tolerance, rtol=1e-4)


def test_losses_are_finite_and_fall_on_a_batch_that_stays_the_same(kind):
    engine = built(kind).train()
    optimiser = torch.optim.AdamW(engine.parameters(), 1e-3)
    seen = []
    for step in range(16 if kind[0] == "yolo" else 10):
        torch.manual_seed(step)
        terms = engine.losses(*fixed())
        assert all(bool(torch.isfinite(value)) and value.ndim == 0 for value in terms.values())
        terms["loss"].backward()
        torch.nn.utils.clip_grad_norm_(engine.parameters(), 10.0)
        optimiser.step()
        optimiser.zero_grad()
        seen.append(terms["loss"].item())
    # YOLO's rises first: the better its boxes are, the more its scores are asked to be.
    assert np.mean(seen[-3:]) < 0.8 * max(seen)


def test_loss_is_the_sum_of_its_terms_and_its_gradient_reaches_every_weight(kind):
    engine = built(kind).train()
    terms = engine.losses(*fixed())
    assert terms["loss"].item() == pytest.approx(sum(v.item() for k, v in terms.items() if k != "loss"), rel=1e-4)
    terms["loss"].backward()
    without = [name for name, value in engine.named_parameters() if value.requires_grad and value.grad is None]
    assert without == []


def test_padding_changes_nothing(kind):
    engine, (x, boxes, label, weight) = built(kind).eval(), fixed()
    more = torch.cat([torch.rand(2, 5, 4), boxes], 1), torch.cat([torch.full((2, 5), -1), label], 1)
    with torch.no_grad():
        assert close(engine.losses(x, boxes, label, weight)["loss"], engine.losses(x, *more, weight)["loss"])


def test_what_lies_in_an_ignored_box_is_no_background(kind):
    engine, (x, boxes, label, weight) = built(kind).eval(), fixed()
    nothing, hidden = torch.full_like(label, -1), torch.full_like(label, -1)
    hidden[:, 0] = -2
    boxes[:, 0] = torch.tensor([0.0, 0.0, 1.0, 1.0])
    with torch.no_grad():
        seen = engine.losses(x, boxes, nothing, weight)["loss"]
        unseen = engine.losses(x, boxes, hidden, weight)["loss"]
    assert 0 <= unseen.item() < 0.5 * seen.item()


def test_images_without_animals_teach_too(kind):
    engine, (x, boxes, label, weight) = built(kind).train(), fixed()
    for empty_boxes, empty in ((boxes, torch.full_like(label, -1)), (boxes[:, :0], label[:, :0])):
        loss = engine.losses(x, empty_boxes, empty, weight)["loss"]
        loss.backward()
        assert bool(torch.isfinite(loss)) and loss.item() > 0
        assert all(bool(torch.isfinite(p.grad).all()) for p in engine.parameters() if p.grad is not None)


def test_images_without_weight_count_for_nothing(kind):
    engine, (x, boxes, label, weight) = built(kind).eval(), fixed()
    weight[1] = 0
    alone = engine.losses(x[:1], boxes[:1], label[:1], weight[:1])["loss"]
    assert close(engine.losses(x, boxes, label, weight)["loss"], alone, 1e-3)
    none = engine.train().losses(x, boxes, label, torch.zeros(2))["loss"]
    none.backward()
    assert none.item() == 0
    assert all(p.grad is not None and float(p.grad.abs().sum()) == 0 for p in engine.parameters() if p.requires_grad)


def test_weights_of_classes_count(kind):
    engine, batch = built(kind).eval(), fixed()
    with torch.no_grad():
        plain, same = engine.losses(*batch)["loss"], engine.losses(*batch, torch.ones(CLASSES))["loss"]
        other = engine.losses(*batch, torch.tensor([3.0, 1.0, 1.0]))["loss"]
    assert close(plain, same) and other.item() > plain.item()


def test_raw_answers_come_before_any_threshold(kind):
    engine, (x, *_) = built(kind).eval(), fixed()
    with torch.no_grad():
        boxes, scores = engine.raw(x)
    assert boxes.shape == (2, scores.shape[1], 4) and scores.shape[2] == CLASSES
    assert boxes.dtype == scores.dtype == torch.float32
    assert float(scores.min()) > 0 and float(scores.max()) < 1
    assert float(scores.min()) < 0.05  # what is certainly not there is told, too
    assert bool((boxes[..., 2:] >= boxes[..., :2]).all())


def test_an_image_is_answered_alike_in_any_batch(kind):
    engine, (x, *_) = built(kind).eval(), fixed(3)
    with torch.no_grad():
        together, alone = engine.raw(x), engine.raw(x[1:2])
    assert close(together.boxes[1], alone.boxes[0]) and close(together.scores[1], alone.scores[0])
    assert not close(together.boxes[1], together.boxes[0])


def test_both_at_once_are_what_each_is_alone(kind):
    engine, batch = built(kind).eval(), fixed()
    with torch.no_grad():
        terms, raw = engine.losses_and_raw(*batch)
        assert close(terms["loss"], engine.losses(*batch)["loss"])
        assert all(close(a, b) for a, b in zip(raw, engine.raw(batch[0]), strict=True))


@pytest.mark.parametrize("size", [(64, 64), (96, 96), (64, 128)])
def test_inputs_of_other_sizes_work(kind, size):
    engine = built(kind).eval()
    x = torch.rand(1, 3, *size)
    with torch.no_grad():
        boxes, _ = engine.raw(x)
        last = engine.backbone(x)
    assert last.shape[2:] == (size[0] // 32, size[1] // 32)
    assert engine.features(x).shape == (1, last.shape[1])
    assert 0.05 < float(boxes.mean()) < 0.95  # shares, whatever the size


def test_weights_go_out_and_come_back(kind):
    one, other = built(kind), built(kind, seed=1)
    x = torch.rand(1, 3, SIZE, SIZE)
    with torch.no_grad():
        before = one.eval().raw(x)
        assert not close(other.eval().raw(x).boxes, before.boxes)
        other.load_state_dict(one.state_dict())
        assert all(torch.equal(a, b) for a, b in zip(other.raw(x), before, strict=True))


def test_the_backbone_is_what_its_names_say(kind):
    engine, x = built(kind).eval(), torch.rand(1, 3, SIZE, SIZE)
    mine = [key for key in engine.state_dict() if engine.is_backbone(key)]
    assert len(mine) > 20
    with torch.no_grad():
        before, answer = engine.backbone(x), engine.raw(x)
        for key, value in engine.named_parameters():
            if not engine.is_backbone(key):
                value.add_(0.1)
        assert torch.equal(engine.backbone(x), before) and not close(engine.raw(x).scores, answer.scores)
        for key, value in engine.named_parameters():
            if engine.is_backbone(key):
                value.mul_(1.5)
        assert not close(engine.backbone(x), before)


def test_a_backbone_arrives_and_the_first_pass_uses_it(kind):
    source, engine = built(kind, seed=5).eval(), built(kind).eval()
    state = {key: value for key, value in source.state_dict().items() if source.is_backbone(key)}
    head = {key: value.clone() for key, value in engine.state_dict().items() if not engine.is_backbone(key)}
    arrival = load_start(engine, state, kind="backbone")
    assert arrival.matched == arrival.backbone == len(state) > 20
    assert (arrival.missing, arrival.unexpected, arrival.reshaped) == ((), (), ())
    assert arrival.hash == backbone_hash(source) == backbone_hash(engine)
    x = torch.rand(1, 3, SIZE, SIZE)
    with torch.no_grad():
        assert torch.equal(engine.features(x), source.features(x))
    assert all(torch.equal(value, head[key]) for key, value in engine.state_dict().items() if key in head)
    with torch.no_grad():
        next(value for key, value in engine.named_parameters() if engine.is_backbone(key)).add_(1e-3)
    assert backbone_hash(engine) != arrival.hash


def test_a_detector_of_other_classes_arrives_but_for_its_head(kind):
    engine = built(kind)
    arrival = load_start(engine, built(kind, seed=5, classes=CLASSES + 2).state_dict(), kind="detector")
    assert 0 < len(arrival.reshaped) < arrival.matched
    assert not any(engine.is_backbone(key) for key in arrival.reshaped)
    assert arrival.matched + len(arrival.reshaped) == len(engine.state_dict())


def test_weights_of_another_network_are_refused_and_nothing_is_changed(kind):
    engine = built(kind)
    before = backbone_hash(engine)
    key = next(key for key, value in engine.state_dict().items() if engine.is_backbone(key) and value.ndim == 4)
    whole = built(kind, seed=2).state_dict()
    for state in ({"encoder.weight": torch.ones(3)}, {}, {key: torch.ones(1, 2, 3, 3)},
                  whole | {key: torch.full_like(whole[key], torch.nan)}):
        with pytest.raises(InputError):
            load_start(engine, state, kind="backbone")
    assert backbone_hash(engine) == before


def test_the_same_seed_gives_the_same_loss_and_the_same_gradient(kind):
    found = []
    for _ in range(2):
        engine = built(kind).train()
        task = DetectionTask(engine, classes=("a", "b", "c"), size=SIZE)
        x, boxes, label, weight = fixed(4)
        torch.manual_seed(3)
        loss, _ = task.train()({"image": (x * 255).to(torch.uint8), "boxes": boxes * SIZE, "box_label": label,
                                "weight": weight}, torch.Generator().manual_seed(3))
        loss.backward()
        found.append((loss.item(), sum(p.grad.double().sum().item() for p in engine.parameters()
                                       if p.grad is not None)))
    assert found[0] == found[1]


@pytest.mark.slow
def test_the_exported_file_answers_as_the_network_does(kind, tmp_path):
    pytest.importorskip("onnxruntime")
    task = DetectionTask(built(kind).eval(), classes=("a", "b", "c"), size=SIZE, facts={"priority": ["critical"] * 3})

    def samples():
        for count in (1, 3, 96):
            yield {"image": (smooth(count, seed=count) * 255).round().numpy()}

    result = export_onnx(task.export(), tmp_path / "detector.onnx", samples)
    assert result.parity.samples == 100 and result.parity.difference <= 1e-4
    artifact = Artifact.open(tmp_path / "detector.onnx")
    image = (smooth(2, seed=5) * 255).to(torch.uint8).numpy()
    found, mine = artifact.run({"image": image.astype(np.float32)}), task.raw(torch.from_numpy(image))
    assert np.abs(found["boxes"] - mine.boxes.numpy()).max() <= 1e-4
    assert np.abs(found["scores"] - mine.scores.numpy()).max() <= 1e-4
    facts = artifact.metadata
    assert facts["suppress"] is task.engine.suppress and facts["classes"] == ["a", "b", "c"]
    assert facts["priority"] == ["critical"] * 3


def test_names_that_are_not_there_are_refused():
    with pytest.raises(InputError, match="rtdetr or yolo"):
        names("detectron")
    with pytest.raises(InputError, match="yolov8n"):
        build_detector("yolo", "yolov5n", 3)
    with pytest.raises(InputError):
        build_detector("yolo", "yolov8n", 0)
    assert set(NAMES) == {"rtdetr", "yolo"}
