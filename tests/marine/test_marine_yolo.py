"""The engine yolo: the same as Ultralytics' own where it should be, and nothing of Ultralytics beyond its parts."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from groundswell.core.errors import InputError
from groundswell.core.optional import available
from groundswell.pipelines.marine.decode import decode, to_original
from groundswell.pipelines.marine.detector import load_start
from groundswell.pipelines.marine.engines import build_detector
from groundswell.pipelines.marine.engines.ultralytics_parts import parts
from groundswell.pipelines.marine.engines.user_weights import read_user_weights
from groundswell.pipelines.marine.letterbox import letterbox

pytestmark = pytest.mark.skipif(not available("ultralytics"), reason="the extra yolo is not installed")
CLASSES = 4


@pytest.fixture(scope="module", params=["yolov8n", "yolo11n"])
def pair(request):
    """A network of ours and Ultralytics' own with the same weights, neither fresh: normalisations know their inputs and
    scores lie around a half."""
    torch.manual_seed(0)
    engine = build_detector("yolo", request.param, CLASSES).train()
    layers = [layer for layer in engine.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for layer in layers:
        layer.momentum = 1.0
    with torch.no_grad():
        x = torch.stack([torch.from_numpy(letterbox(picture(seed), 128)[0].transpose(2, 0, 1)).float() / 255
                         for seed in range(8)])
        engine.raw(x)
        spread = engine.eval().raw(x).scores.clamp(1e-9, 1 - 1e-7).logit().std(1).mean()
        for branch in engine.model[-1].cv3:
            branch[-1].weight.mul_(1.5 / spread)
            branch[-1].bias.fill_(-1.0)
    with torch.random.fork_rng():
        theirs = parts().model(f"{request.param}.yaml", nc=CLASSES, verbose=False)
    theirs.load_state_dict(engine.state_dict())  # the same names, all of them
    return engine.eval(), theirs.eval()


def picture(seed):
    """Smooth, with some bright discs; not all of one shape."""
    chance, width, height = np.random.default_rng(seed), 200 + 10 * seed, 120 + 20 * seed
    y, x = np.mgrid[:height, :width]
    image = np.stack([90 + 60 * np.sin(x / chance.uniform(9, 40) + chance.uniform(0, 6)) + y / 4 for _ in range(3)], 2)
    for _ in range(6):
        middle, radius = chance.uniform((10, 10), (width - 10, height - 10)), chance.uniform(5, 30)
        image[(x - middle[0]) ** 2 + (y - middle[1]) ** 2 < radius ** 2] = chance.uniform(0, 255, 3)
    return np.clip(image, 0, 255).astype(np.uint8)


def test_our_boxes_are_those_of_ultralytics_own_predictor(pair, monkeypatch):
    """Letterbox, network, decoding and suppression: scores within 1e-4, boxes within a hundredth of a pixel. It is kept
    from folding normalisations into convolutions, for rounding otherwise decides which of two boxes goes."""
    from ultralytics.models.yolo.detect import DetectionPredictor

    engine, theirs = pair
    monkeypatch.setattr(type(theirs), "fuse", lambda self, *args, **kwargs: self)
    predictor = DetectionPredictor(overrides={"imgsz": 128, "conf": 0.3, "iou": 0.6, "max_det": 50, "verbose": False,
                                              "save": False, "rect": False, "device": "cpu", "mode": "predict",
                                              "batch": 1, "task": "detect", "model": "none.pt"})
    predictor.setup_model(theirs, verbose=False)
    seen = 0
    for seed in range(8):
        image = picture(seed)
        square, placed = letterbox(image, 128)
        expected = predictor(source=image[..., ::-1].copy())[0].boxes  # it takes BGR
        with torch.no_grad():
            raw = engine.raw(torch.from_numpy(square.transpose(2, 0, 1))[None].float() / 255)
        found = to_original(decode(raw.boxes[0].numpy(), raw.scores[0].numpy(), size=128, suppress=True,
                                   confidence=0.3, iou=0.6, most=50, single=True), placed)
        assert len(found.score) == len(expected)
        # Nearly equal scores may come in the other order: each of theirs is to be among ours.
        same = (np.abs(found.boxes[:, None] - expected.xyxy.numpy()).max(2) < 0.01) \
            & (np.abs(found.score[:, None] - expected.conf.numpy()) < 1e-4) \
            & (found.label[:, None] == expected.cls.numpy())
        assert same.any(0).all() and same.any(1).all()
        seen += len(expected)
    assert seen > 50


def test_our_loss_is_ultralytics_own_where_every_image_counts_alike(pair):
    from ultralytics.utils.loss import v8DetectionLoss

    engine, theirs = pair
    theirs.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
    chance = torch.Generator().manual_seed(1)
    x = torch.stack([torch.from_numpy(letterbox(picture(seed), 128)[0].transpose(2, 0, 1)) for seed in range(3)]) / 255
    corner = torch.rand(3, 5, 2, generator=chance) * 0.6
    boxes = torch.cat([corner, corner + 0.05 + torch.rand(3, 5, 2, generator=chance) * 0.3], -1)
    label = torch.randint(0, CLASSES, (3, 5), generator=chance)
    label[0, 2:] = label[1] = -1
    image, row = (label >= 0).nonzero(as_tuple=True)
    flat = boxes[image, row]
    batch = {"batch_idx": image.float(), "cls": label[image, row].float(),
             "bboxes": torch.cat([(flat[:, :2] + flat[:, 2:]) / 2, flat[:, 2:] - flat[:, :2]], 1)}
    with torch.no_grad():
        _, expected = v8DetectionLoss(theirs)(theirs(x), batch)
        found = engine.losses(x, boxes, label, torch.ones(3))
    for mine, name in (("box", "box_loss"), ("class", "cls_loss"), ("edge", "dfl_loss")):
        assert found[mine].item() == pytest.approx(expected[name].item(), rel=1e-4)


def test_weights_of_an_ultralytics_network_arrive_as_a_plain_state_dict(pair, tmp_path):
    engine, theirs = pair
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    torch.manual_seed(9)
    fresh = build_detector("yolo", engine.name, CLASSES).eval()
    arrival = load_start(fresh, read_user_weights(tmp_path / "theirs.pth"), kind="detector")
    assert arrival.matched == len(engine.state_dict()) and not arrival.missing and not arrival.unexpected
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(fresh.raw(x).boxes, engine.raw(x).boxes)


def test_an_ultralytics_pickle_is_refused_with_the_way_to_convert_it_and_runs_nothing(tmp_path, pair):
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(ran),)

    for name, content in (("best.pt", {"model": pair[1], "epoch": 3}), ("trap.pt", {"state_dict": {}, "x": Trap()})):
        torch.save(content, tmp_path / name)
        with pytest.raises(InputError, match=r"state_dict\(\)") as caught:
            read_user_weights(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    assert not ran.exists()


def test_state_dicts_are_found_inside_what_programs_save(tmp_path):
    state = {"a": torch.ones(2, dtype=torch.float16), "n": torch.tensor(3)}
    for number, content in enumerate(({"state_dict": state}, {"model_state_dict": state, "epoch": 3}, state)):
        torch.save(content, tmp_path / f"{number}.pth")
        found = read_user_weights(tmp_path / f"{number}.pth")
        assert set(found) == {"a", "n"} and found["a"].dtype == torch.float32 and found["n"].dtype == torch.int64


def test_damaged_or_strange_files_are_refused(tmp_path):
    whole = tmp_path / "whole.pth"
    torch.save({"a": torch.ones(1000)}, whole)
    broken = bytearray(whole.read_bytes())
    broken[len(broken) // 2] ^= 255
    (tmp_path / "flipped.pth").write_bytes(broken)
    (tmp_path / "short.pth").write_bytes(bytes(broken[:300]))
    (tmp_path / "text.pth").write_text("no weights")
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    torch.save({}, tmp_path / "empty.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("flipped", "short", "text", "none", "empty", "list", "absent"):
        with pytest.raises(InputError) as caught:
            read_user_weights(tmp_path / f"{name}.pth")
        assert caught.value.exit_status == 2


def test_ultralytics_reaches_no_network_and_writes_nothing_of_its_own(tmp_path):
    script = textwrap.dedent("""
        import os, socket, sys
        import numpy as np, torch
        def refused(*args, **kwargs):
            raise SystemExit("a connection was tried")
        socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused
        before, shown = dict(os.environ), (str(torch.tensor([1.5])), str(np.array([1.5, 2.25])))
        from groundswell.pipelines.marine.engines import build_detector
        network = build_detector("yolo", "yolov8n", 2)
        network.losses(torch.rand(1, 3, 64, 64), torch.rand(1, 1, 4), torch.full((1, 1), -1), torch.ones(1))
        assert dict(os.environ) == before, set(os.environ.items()) ^ set(before.items())
        assert (str(torch.tensor([1.5])), str(np.array([1.5, 2.25]))) == shown
        from ultralytics.utils import ONLINE, SETTINGS, checks
        assert not ONLINE and not SETTINGS["sync"] and not checks.AUTOINSTALL
        assert not any(value for value in SETTINGS.values() if isinstance(value, bool))
    """)
    home, work, temporary = (tmp_path / name for name in ("home", "work", "temporary"))
    for folder in (home, work, temporary):
        folder.mkdir()
    # A file of the working directory must not be taken for the network's description.
    (work / "yolov8n.yaml").write_text("nonsense: true")
    (work / "yolov8.yaml").write_text("nonsense: true")
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith(("YOLO", "XDG", "ULTRALYTICS"))},
                   "HOME": str(home), "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1",
                   "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", script], cwd=work, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == ""
    assert list(home.rglob("*")) == [] and sorted(path.name for path in work.iterdir()) == ["yolov8.yaml",
                                                                                           "yolov8n.yaml"]
    assert [path for path in temporary.rglob("*") if "yolo" in path.name.lower() or "ultra" in path.name.lower()] == []


def test_nothing_else_of_ours_imports_ultralytics():
    import groundswell

    folder = next(iter(groundswell.__path__))
    found = subprocess.run(["grep", "-rlE", r"^\s*(import|from) ultralytics", folder, "--include=*.py"],
                           capture_output=True, text=True).stdout.split()
    assert found == []
    door = subprocess.run(["grep", "-rl", "require(\"ultralytics", folder, "--include=*.py"], capture_output=True,
                          text=True).stdout.split()
    assert [os.path.basename(path) for path in door] == ["ultralytics_parts.py"]
