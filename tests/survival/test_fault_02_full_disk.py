"""Fault 2: a full disk: a clean end with clear words, older files intact, and training on once there is space."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from survivors import At, Command, outcome

from groundswell.train.checkpoint import read_checkpoint

MOUNT = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x00020000) == 0
assert libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None) == 0
assert libc.mount(b"tmpfs", os.fsencode(sys.argv[1]), b"tmpfs", 0, b"size=64k") == 0
"""


def mount_small(folder: str, size_kib: int) -> None:
    """In a process of its own: put a file system of so many KiB at ``folder``, which no other process sees."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x00020000) == 0, os.strerror(ctypes.get_errno())
    assert libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None) == 0
    assert libc.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, f"size={size_kib}k".encode()) == 0


def fill(folder: str) -> None:
    """Leave no space on the file system of ``folder``."""
    with open(Path(folder) / "ballast", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def copy_out(folder: str, to: str) -> None:
    """What is on a file system that only its process sees, where the test can see it."""
    original = os._exit

    def leave(status: int) -> None:
        shutil.copytree(folder, to, dirs_exist_ok=True)
        original(status)

    os._exit = leave  # type: ignore[assignment]


def prepare(folder: str, to: str) -> None:
    mount_small(folder, 4096)
    copy_out(folder, to)


@pytest.fixture(scope="module")
def can_mount(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("mount")
    if subprocess.run([sys.executable, "-c", MOUNT, str(folder)], capture_output=True).returncode:
        pytest.skip("this process may not mount a file system")


@pytest.mark.parametrize("function", [
    "groundswell.train.checkpoint:write_checkpoint", "groundswell.train.logs:CsvLog._append",
    "groundswell.train.training:write_weights", "groundswell.data.predictions:Predictions.write",
])
def test_a_real_disk_that_fills_up_ends_it_cleanly_and_loses_nothing(
        function: str, can_mount: None, place: Path, whole: Path, tmp_path: Path) -> None:
    small, kept = tmp_path / "small", tmp_path / "kept"
    small.mkdir()
    at = At(function, 4 if "write_checkpoint" in function else 9 if "_append" in function else 1,
            before=functools.partial(fill, str(small)))
    command = Command(tmp_path / "said", "das", "train", place / "recipe.yaml", "--out", small / "run", at=at,
                      prepare=functools.partial(prepare, str(small), str(kept)))
    assert command.end() == 1, command.said
    assert "No space left" in command.complaint
    assert str(small) in command.complaint
    run = kept / "run"
    for path in run.glob("fold-1/checkpoints/*.ckpt"):
        read_checkpoint(path)
    assert not list(run.rglob(".*.part*"))
    again = Command(tmp_path / "said", "resume", run)
    assert again.end() == 0, again.said
    assert outcome(run) == outcome(whole)


def test_what_will_not_fit_is_not_begun(can_mount: None, place: Path, tmp_path: Path) -> None:
    small, kept = tmp_path / "small", tmp_path / "kept"
    small.mkdir()
    command = Command(tmp_path / "said", "das", "train", place / "recipe.yaml", "--set", "model.hidden_dim=256",
                      "--out", small / "run", prepare=functools.partial(prepare, str(small), str(kept)))
    assert command.end() == 1, command.said
    assert "will take about" in command.complaint
    assert not list(kept.rglob("*.ckpt"))
