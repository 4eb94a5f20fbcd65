"""Fault 1: kill -9 at any byte of a save: the checkpoint before it loads, and what was half written is swept away."""

from __future__ import annotations

import os
import random
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from processes import end, start
from toy import ToySetup, make_recipe, results

from groundswell.train import checkpoint
from groundswell.train.checkpoint import CheckpointFolder, read_checkpoint
from groundswell.train.fit import fit

RECIPE = make_recipe(checkpoint_every_steps=3, keep=100)


@dataclass(frozen=True)
class DiesWriting(ToySetup):
    """Kill -9 this process when so many bytes of its ``save``-th checkpoint are on the disk."""

    save: int = 3
    byte: int = 0

    def __call__(self, rank: int, world: int, device: Any) -> Any:
        original, saves = checkpoint.write_checkpoint, [0]

        def write(path: Path, state: dict[str, Any]) -> None:
            saves[0] += 1
            if saves[0] == self.save:
                checkpoint.open = Dying  # type: ignore[attr-defined]
                Dying.left = self.byte
            original(path, state)

        checkpoint.write_checkpoint = write
        return super().__call__(rank, world, device)


class Dying:
    """A file that takes so many bytes and then ends its process."""

    left = 0

    def __init__(self, path: Path, mode: str) -> None:
        self._file = open(path, mode, buffering=0)  # noqa: SIM115 - the process dies with it

    def __enter__(self) -> Dying:
        return self

    def __exit__(self, *error: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def write(self, data: Any) -> int:
        some = bytes(data)[:Dying.left]
        self._file.write(some)
        Dying.left -= len(some)
        if Dying.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return len(some)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    fit(ToySetup(RECIPE), RECIPE, folder, quiet=True)
    return folder


def test_the_checkpoint_before_loads_and_the_half_one_is_gone(whole: Path, tmp_path: Path) -> None:
    size = sorted((whole / "checkpoints").glob("*.ckpt"))[2].stat().st_size
    chance = random.Random(3)
    places = {"nothing": 0, "the header": 30, "anywhere": chance.randrange(size), "all but a byte": size - 1,
              "all, but not yet in its place": size}
    for name, byte in places.items():
        folder = tmp_path / name
        assert end(start(DiesWriting(RECIPE, byte=byte), folder)) == -signal.SIGKILL
        (half,) = (folder / "checkpoints").glob(".step-*.part*")
        assert half.stat().st_size == min(byte, size)
        kept = CheckpointFolder(folder / "checkpoints", keep=1, every=0, report=print)
        assert not half.exists()
        last = kept.latest()
        kept.close()
        assert last is not None
        assert read_checkpoint(last)["place"]["step"] == 6
        assert end(start(ToySetup(RECIPE), folder)) == 0
        assert results(folder) == results(whole), name
