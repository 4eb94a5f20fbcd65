"""Checkpoints come back as they went, or not at all."""

from __future__ import annotations

import contextlib
import json
import resource
import struct
import zlib
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import ToySetup, ToyTask, make_recipe, results

from groundswell.core.errors import FailureError, InputError
from groundswell.train import checkpoint
from groundswell.train.checkpoint import HEADER_BYTES, CheckpointFolder, DamagedError, read_checkpoint, write_checkpoint
from groundswell.train.fit import fit, load_best
from groundswell.train.tagged import flatten, unflatten
from groundswell.train.weights import read_pth, read_weights, write_pth, write_weights

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple)
    | st.dictionaries(st.text(max_size=4) | st.integers(0, 9), inner, max_size=3), max_leaves=12)


@given(plain)
@settings(deadline=None)
def test_any_plain_value_survives(value) -> None:
    skeleton, tensors = flatten(value)
    back = unflatten(json.loads(json.dumps(skeleton, allow_nan=False)), tensors)
    assert back == value
    assert repr(back) == repr(value)  # -0.0, True and 1, tuples and lists


def test_tensors_survive_with_every_bit(tmp_path) -> None:
    base = torch.randn(6, 5)
    state = {"a": {0: {"x": base, "tied": base, "view": base[:, 1:3], "turned": base.T}},
             "kinds": [torch.arange(3), torch.tensor(2.5, dtype=torch.float64), torch.zeros(0), torch.tensor([True]),
                       torch.tensor([1.5], dtype=torch.bfloat16), torch.tensor([torch.nan, -0.0, torch.inf])],
             "odd": (float("nan"), float("-inf"), {"~": 1})}
    write_checkpoint(tmp_path / "c", state)
    back = read_checkpoint(tmp_path / "c")
    for mine, its in zip(state["kinds"], back["kinds"], strict=True):
        assert mine.dtype == its.dtype
        assert mine.numel() == 0 or torch.equal(mine.reshape(-1).view(torch.uint8), its.reshape(-1).view(torch.uint8))
    for name, mine in state["a"][0].items():
        assert torch.equal(mine, back["a"][0][name])
    assert repr(back["odd"]) == repr(state["odd"])
    write_checkpoint(tmp_path / "d", state)
    assert (tmp_path / "c").read_bytes() == (tmp_path / "d").read_bytes()


def test_what_json_and_tensors_cannot_say_is_refused(tmp_path) -> None:
    for value in ({1, 2}, object(), {"x": {True: 1}}, b"bytes", {"a/b": torch.ones(1), "a": {"b": torch.ones(1)}}):
        with pytest.raises(TypeError):
            write_checkpoint(tmp_path / "c", {"value": value})
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("c") / "good.ckpt"
    write_checkpoint(path, {"numbers": list(range(50)), "weights": torch.randn(40), "name": "x"})
    return path


def test_one_flipped_bit_anywhere_is_noticed(file, tmp_path) -> None:
    good = file.read_bytes()
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << (place % 8)
        (tmp_path / "bad").write_bytes(bad)
        with pytest.raises(DamagedError):
            read_checkpoint(tmp_path / "bad")


def test_a_file_cut_off_or_grown_is_noticed(file, tmp_path) -> None:
    good = file.read_bytes()
    for length in [*range(len(good)), len(good) + 1]:
        (tmp_path / "bad").write_bytes((good + b"\0")[:length])
        with pytest.raises(DamagedError):
            read_checkpoint(tmp_path / "bad")


def test_a_newer_format_is_refused(file, tmp_path) -> None:
    good = bytearray(file.read_bytes())
    good[8:12] = struct.pack("<I", 2)
    good[28:32] = struct.pack("<I", zlib.crc32(good[HEADER_BYTES:], zlib.crc32(good[:28])))
    (tmp_path / "new").write_bytes(good)
    with pytest.raises(DamagedError, match="format 2"):
        read_checkpoint(tmp_path / "new")


def test_a_missing_file_is_an_error(tmp_path) -> None:
    with pytest.raises(InputError, match="no such checkpoint") as caught:
        read_checkpoint(tmp_path / "gone.ckpt")
    assert not isinstance(caught.value, DamagedError)


@contextlib.contextmanager
def small_files(size):
    """Files of at most so many bytes can be written: the nearest thing to a full disk that a test can have.

    Never beyond a test's own lines: what reports on the tests may be writing to a longer file.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_old_file(tmp_path) -> None:
    write_checkpoint(tmp_path / "c", {"x": torch.ones(4)})
    with small_files(2000):
        with pytest.raises(FailureError, match="No space left"):
            write_checkpoint(tmp_path / "c", {"x": torch.ones(4000)})
        with pytest.raises(FailureError, match="No space left"):
            write_weights(tmp_path / "w", torch.nn.Linear(100, 100), {})
        with pytest.raises(FailureError, match="No space left"):
            write_pth(tmp_path / "p", {"x": torch.ones(4000)})
    assert torch.equal(read_checkpoint(tmp_path / "c")["x"], torch.ones(4))
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_fit_that_filled_the_disk_can_be_resumed(tmp_path) -> None:
    recipe = make_recipe(epochs=2)
    fit(ToySetup(recipe), recipe, tmp_path / "whole", quiet=True)
    for limit in (1000, 300):  # too little for a checkpoint, and then for the log of an epoch's steps
        with small_files(limit), pytest.raises(FailureError, match="No space left"):
            fit(ToySetup(recipe), recipe, tmp_path / "run", resume=True, quiet=True)
        assert not list((tmp_path / "run" / "checkpoints").glob("*.ckpt"))
    fit(ToySetup(recipe), recipe, tmp_path / "run", resume=True, quiet=True)
    assert results(tmp_path / "run") == results(tmp_path / "whole")


def test_what_will_not_fit_is_not_begun(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(checkpoint, "free_gib", lambda folder: 1e-6)
    recipe = make_recipe()
    with pytest.raises(FailureError, match="will take about"):
        fit(ToySetup(recipe), recipe, tmp_path, quiet=True)
    assert not (tmp_path / "logs").exists()


def test_which_checkpoints_are_kept(tmp_path) -> None:
    recipe = make_recipe(epochs=7, checkpoint_every=2, checkpoint_every_steps=4, keep=2)
    fit(ToySetup(recipe), recipe, tmp_path, quiet=True)
    names = [path.name for path in sorted((tmp_path / "checkpoints").glob("*.ckpt"))]
    assert names == ["step-000000016-epoch-0002.ckpt", "step-000000032-epoch-0004.ckpt",
                     "step-000000048-epoch-0006.ckpt", "step-000000052.ckpt", "step-000000056-epoch-0007.ckpt"]


def test_leftovers_of_a_kill_are_swept_and_the_folder_is_locked(tmp_path) -> None:
    (tmp_path / ".step-000000001-abc.part.ckpt").write_bytes(b"half")
    folder = CheckpointFolder(tmp_path, keep=1, every=0, report=print)
    assert folder.latest() is None
    assert not list(tmp_path.glob(".*part*"))
    with pytest.raises(InputError, match="Another process"):
        CheckpointFolder(tmp_path, keep=1, every=0, report=print)
    folder.close()
    CheckpointFolder(tmp_path, keep=1, every=0, report=print).close()


# -- weights -----------------------------------------------------------------------------------------------------------


def test_weights_are_loaded_whole_or_refused(tmp_path) -> None:
    path = tmp_path / "weights" / "best.safetensors"
    task = ToyTask()
    write_weights(path, task, {"epoch": 3})
    other = ToyTask()
    assert load_best(other, tmp_path) == {"epoch": 3}
    for name, value in task.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    good = path.read_bytes()
    before = {name: value.clone() for name, value in other.state_dict().items()}
    for place in range(0, len(good), 7):
        bad = bytearray(good)
        bad[place] ^= 1
        path.write_bytes(bad)
        with pytest.raises(InputError):
            load_best(other, tmp_path)
    path.write_bytes(good)
    with pytest.raises(InputError, match="another network"):
        load_best(torch.nn.Linear(2, 2), tmp_path)
    with pytest.raises(InputError, match="no such weights"):
        load_best(other, tmp_path / "nowhere")
    assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())


def test_the_best_weights_are_those_of_the_best_epoch(tmp_path) -> None:
    recipe = make_recipe(epochs=40, early_stopping_patience=2, checkpoint_every=1)
    result = fit(ToySetup(recipe), recipe, tmp_path, quiet=True)
    assert result.best_epoch == result.epochs - 2
    tensors, facts = read_weights(result.best)
    (path,) = (tmp_path / "checkpoints").glob(f"*-epoch-{result.best_epoch:04d}.ckpt")
    state = read_checkpoint(path)
    assert facts["epoch"] == result.best_epoch
    assert facts["metrics"] == result.metrics
    for name, value in state["model"].items():
        assert torch.equal(value, tensors[name])


def test_state_dicts_for_other_programs(tmp_path) -> None:
    path = tmp_path / "best_model.pth"
    content = {"epoch": 2, "model_state_dict": ToyTask().state_dict(), "val_metrics": {"loss": 0.5},
               "config": {"model": {"type": "toy", "sizes": [1, 2]}}}
    write_pth(path, content)
    back = read_pth(path)
    assert {key: back[key] for key in ("epoch", "val_metrics", "config")} == {
        key: content[key] for key in ("epoch", "val_metrics", "config")}
    ToyTask().load_state_dict(back["model_state_dict"])
    with pytest.raises(TypeError):
        write_pth(path, {"config": object()})
    good = path.read_bytes()
    bad = bytearray(good)
    bad[good.index(back["model_state_dict"]["network.0.weight"].numpy().tobytes()) + 5] ^= 1
    path.write_bytes(bad)
    with pytest.raises(DamagedError):
        read_pth(path)
    path.write_bytes(good[:-10])
    with pytest.raises(DamagedError):
        read_pth(path)
    torch.save({"x": Path("a")}, path)
    with pytest.raises(InputError, match="more than tensors"):
        read_pth(path)
    with pytest.raises(InputError, match="no such file"):
        read_pth(tmp_path / "gone.pth")
