"""What a session at the notebook learns of its machine, and chance that repeats."""

from __future__ import annotations

import json
import os
import random
import re

import numpy as np
import psutil
import pytest
import torch
from torch import nn

from groundswell.core.errors import InputError
from groundswell.pipelines.geomag import environment
from groundswell.pipelines.geomag.environment import (
    check_environment,
    check_version_compatibility,
    clear_gpu_memory,
    environment_text,
    get_device,
    get_memory_usage,
    print_environment_info,
    set_random_seeds,
    suggest_batch_size,
)
from groundswell.train.state import generators, set_generators


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """Whatever a test switches on for all of torch is switched off again."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "x")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    before = (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark,
              torch.backends.cudnn.deterministic)
    state = generators()
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = before[1:]
    set_generators(state)


class Recurrent(nn.Module):
    """A small network with running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.norm, self.out = nn.GRU(24, 16, batch_first=True), nn.BatchNorm1d(16), nn.Linear(16, 2)

    def forward(self, x):
        return self.out(self.norm(self.gru(x)[0][:, -1]))


class Gpu:
    """What torch says of a GPU."""

    name, total_memory, major, minor = "NVIDIA GeForce RTX 4090", 24 * 2**30, 8, 9


@pytest.fixture
def one_gpu(monkeypatch):
    """A machine on which torch sees one GPU of 24 GB."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda k: Gpu)
    monkeypatch.setattr(torch.version, "cuda", "12.1")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 8902)


def test_the_environment_is_told_as_it_is() -> None:
    env = check_environment()
    assert env["pytorch_version"] == torch.__version__
    assert env["numpy_mode"] == f"numpy_{np.__version__[0]}"
    assert env["numpy_version"] == np.__version__
    assert env["memory_gb"] == pytest.approx(psutil.virtual_memory().total / 2**30)
    assert 1 <= env["cpu_count"] <= os.cpu_count()
    json.dumps(env, allow_nan=False)


def test_what_is_printed_names_each_thing_once(capsys) -> None:
    text = print_environment_info(check_environment())
    assert capsys.readouterr().out == text
    for name in ("Python", "PyTorch", "NumPy", "CPUs", "CUDA", "GPUs"):
        assert len(re.findall(rf"^  {name}:", text, re.M)) == 1
    assert re.search(r"NumPy: .*\(Mode: numpy_\d\)", text)


def test_a_gpu_is_named_with_its_memory(one_gpu) -> None:
    text = environment_text(check_environment())
    assert "Using device: cuda:0 (NVIDIA GeForce RTX 4090, 24.00 GB)" in text
    assert re.search(r"CUDA: +12\.1\n", text) and re.search(r"GPUs: +1\n", text)


def test_without_a_gpu_the_cpu_is_used(monkeypatch, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert get_device() == torch.device("cpu")
    assert not capsys.readouterr().err
    assert get_device(gpu_memory_fraction=0.5) == torch.device("cpu")
    assert "no effect" in capsys.readouterr().err
    assert "Using device: cpu (" in environment_text(check_environment())


def test_with_a_gpu_the_share_of_its_memory_is_set(one_gpu, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *a: asked.append(a))
    assert get_device() == torch.device("cuda", 0)
    assert not asked
    get_device(gpu_memory_fraction=0.25)
    assert asked == [(0.25, torch.device("cuda", 0))]


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_of_memory_is_above_0_and_up_to_1(fraction) -> None:
    with pytest.raises(InputError, match="share of the GPU"):
        get_device(fraction)


def test_memory_adds_up() -> None:
    stats = get_memory_usage(torch.device("cpu"))
    assert stats["total_gb"] == pytest.approx(psutil.virtual_memory().total / 2**30)
    assert stats["used_gb"] + stats["free_gb"] == pytest.approx(stats["total_gb"])
    assert 0 < stats["process_gb"] < stats["total_gb"]
    assert stats["percent"] == pytest.approx(100 * stats["used_gb"] / stats["total_gb"])


def test_memory_that_torch_keeps_unused_counts_as_free(monkeypatch) -> None:
    gb = 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda d: (10 * gb, 24 * gb))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda d: 3 * gb)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda d: 5 * gb)
    stats = get_memory_usage("cuda:0")
    assert (stats["free_gb"], stats["total_gb"], stats["process_gb"]) == (12, 24, 3)


def test_nothing_is_given_back_where_no_gpu_was_used() -> None:
    assert clear_gpu_memory() == 0


def test_versions_are_compared_with_those_asked_for(monkeypatch) -> None:
    found = check_version_compatibility()
    assert found["python"]["ok"] and found["torch"]["required"].startswith("==")
    monkeypatch.setattr(environment.importlib.metadata, "version", lambda name: "1.0")
    old = check_version_compatibility()
    assert not old["numpy"]["ok"] and old["numpy"]["required"] == ">=2.0"
    assert "numpy: 1.0, and >=2.0 is asked for" in environment_text({**check_environment(), "compatibility": old})


def _draws():
    return random.random(), float(np.random.rand()), torch.rand(3).tolist()  # noqa: NPY002 - what older code draws from


def test_the_same_seed_gives_the_same_chance() -> None:
    set_random_seeds(42)
    first = _draws()
    set_random_seeds()
    assert _draws() == first
    set_random_seeds(43)
    assert _draws() != first
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_strict_determinism_refuses_what_may_differ_from_run_to_run() -> None:
    def put():
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))  # which of the two lands is not defined

    put()
    set_random_seeds(42, strict_determinism=True)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
        put()
    set_random_seeds(42)
    put()


def test_a_workspace_that_was_chosen_is_kept(monkeypatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    set_random_seeds(1, strict_determinism=True)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_a_batch_size_is_a_power_of_two_and_grows_with_memory() -> None:
    model = Recurrent()
    sizes = [suggest_batch_size(model, (7, 24), free_gb=gb, largest=4096) for gb in (0.0005, 0.001, 0.01, 0.1)]
    assert all(size & (size - 1) == 0 for size in sizes)
    assert sizes == sorted(sizes) and 2 <= sizes[0] < sizes[-1]
    assert suggest_batch_size(model, (7, 24), free_gb=100) == 512
    assert suggest_batch_size(model, (7, 24), "cpu", largest=8) == 8


def test_a_batch_size_follows_from_the_bytes_that_are_kept() -> None:
    layer = nn.Sequential(nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 2))
    weights = 4 * sum(p.nbytes for p in layer.parameters())
    each = 2 * (4 * 1000 + 4 * 1000)  # input of the first layer, input of the second (the ReLU keeps the same)
    for batch in (32, 128):
        free = (weights + batch * each) / 2**30
        assert suggest_batch_size(layer, (1000,), free_gb=free * 1.001, share=1.0) == batch
        assert suggest_batch_size(layer, (1000,), free_gb=free * 0.999, share=1.0) < batch


def test_a_batch_size_is_found_without_touching_the_network() -> None:
    model = Recurrent()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    suggest_batch_size(model, (7, 24))
    torch.testing.assert_close(dict(model.state_dict()), before)
    assert torch.equal(torch.get_rng_state(), state)


def test_too_little_memory_is_said() -> None:
    with pytest.raises(InputError, match="smaller network"):
        suggest_batch_size(Recurrent(), (7, 24), free_gb=1e-6)
