"""Tasks for the executors. They leave files behind, so that it can be seen how often each began."""

from __future__ import annotations

import os
import signal
import time
import uuid
from pathlib import Path

from groundswell.core.errors import BusyError, InputError
from groundswell.train.signals import StoppedByTerminate, StopRequest


def square(x: int) -> int:
    return x * x


def who() -> tuple[int, str]:
    return os.getpid(), os.environ["OMP_NUM_THREADS"]


def torch_threads() -> int:
    import torch

    return torch.get_num_threads()


def refuse(x: int) -> int:
    raise InputError("This fold has one class", where="labels.json", fix="Label more")


def crash() -> None:
    raise ZeroDivisionError("by zero")


def leave() -> None:
    raise SystemExit(3)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def begin(folder: Path, name: str) -> None:
    (folder / f"{name}-{uuid.uuid4().hex}").touch()


def begun(folder: Path, name: str) -> int:
    return len(list(folder.glob(f"{name}-*")))


def wait_for(pattern: str, folder: Path, number: int) -> None:
    """Wait until there are so many such files; the test that waits in vain fails by what it finds afterwards."""
    for _ in range(2000):
        if len(list(folder.glob(pattern))) >= number:
            return
        time.sleep(0.01)


def work(folder: Path, name: str, needs: str = "*", number: int = 0) -> str:
    """Begins, waits until so many files are there, and is done."""
    begin(folder, name)
    wait_for(needs, folder, number)
    return name


def die_once(folder: Path, name: str) -> str:
    begin(folder, name)
    if begun(folder, name) == 1:
        die()
    return name


def die_always(folder: Path, name: str, needs: str = "*", number: int = 0) -> None:
    begin(folder, name)
    wait_for(needs, folder, number)
    die()


def work_a_while(folder: Path, name: str) -> str:
    begin(folder, name)
    time.sleep(0.5)
    return name


def touch_later(path: Path) -> None:
    time.sleep(0.5)
    path.touch()


def train_until_asked(folder: Path, name: str) -> None:
    with StopRequest() as stop:
        begin(folder, name)
        while not stop():
            time.sleep(0.01)
    (folder / f"{name}.saved").touch()
    raise StoppedByTerminate("Stopped", where=folder / name)


def train_in_two_parts(folder: Path, name: str) -> str:
    """Trains until it is asked to stop, which takes a while; the second time it goes on from there and is done."""
    if begun(folder, name):
        if not (folder / f"{name}.saved").exists():
            raise BusyError("Another process is training into this folder", where=folder)
        begin(folder, name)
        return name
    with StopRequest() as stop:
        begin(folder, name)
        while not stop():
            time.sleep(0.01)
    time.sleep(0.7)
    (folder / f"{name}.saved").touch()
    raise StoppedByTerminate("Stopped", where=folder / name)
