"""Several tasks at once: all results, and a name for each failure."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from groundswell.core.errors import FailureError, InputError
from groundswell.train.executors import run_tasks
from groundswell.train.signals import StoppedByTerminate, StopRequest


def square(x: int) -> int:
    return x * x


def who() -> tuple[int, str]:
    return os.getpid(), os.environ["OMP_NUM_THREADS"]


def refuse(x: int) -> int:
    raise InputError("This fold has one class", where="labels.json", fix="Label more")


def crash() -> None:
    raise ZeroDivisionError("by zero")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def touch_later(path: Path) -> None:
    time.sleep(0.5)
    path.touch()


def train_until_asked(path: Path) -> None:
    with StopRequest() as stop:
        path.touch()
        while not stop():
            time.sleep(0.01)
    path.with_suffix(".saved").touch()
    raise StoppedByTerminate("Stopped", where=path)


@pytest.mark.parametrize("engine", ["inline", "loky"])
def test_results_come_by_name_in_order(engine) -> None:
    seen: dict[str, int] = {}
    tasks = {f"fold {k}": (square, (k,)) for k in range(5)}
    found = run_tasks(tasks, engine=engine, workers=2, finished=seen.__setitem__)
    assert list(found.items()) == [(f"fold {k}", k * k) for k in range(5)]
    assert seen == found


def test_processes_are_others_with_their_share_of_threads() -> None:
    found = run_tasks({"a": (who, ()), "b": (who, ())}, engine="loky", workers=2, threads=3)
    assert all(pid != os.getpid() and threads == "3" for pid, threads in found.values())


@pytest.mark.parametrize("engine", ["inline", "loky"])
def test_a_failed_task_is_named_and_keeps_its_kind(engine) -> None:
    with pytest.raises(InputError, match=r"^fold 2: This fold has one class \(labels\.json\)\. Label more\.$"):
        run_tasks({"fold 1": (square, (1,)), "fold 2": (refuse, (1,))}, engine=engine, workers=2)
    with pytest.raises(FailureError, match="fold 2: ZeroDivisionError: by zero"):
        run_tasks({"fold 1": (square, (1,)), "fold 2": (crash, ())}, engine=engine, workers=2)


def test_a_worker_that_dies_is_noticed() -> None:
    with pytest.raises(FailureError, match=r"worker process died.*fold 1"):
        run_tasks({"fold 1": (die, ()), "fold 2": (square, (2,))}, engine="loky", workers=1)


def test_after_a_failure_nothing_begins(tmp_path) -> None:
    tasks = {"bad": (crash, ()), "slow": (touch_later, (tmp_path / "slow",)),
             "never": (touch_later, (tmp_path / "never",))}
    with pytest.raises(FailureError, match="bad"):
        run_tasks(tasks, engine="loky", workers=2)
    assert [path.name for path in tmp_path.iterdir()] == ["slow"]


def test_a_signal_reaches_the_trainings(tmp_path) -> None:
    def ask() -> None:
        for _ in range(3000):
            if len(list(tmp_path.iterdir())) == 2:
                break
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask).start()
    tasks = {name: (train_until_asked, (tmp_path / name,)) for name in ("a", "b", "c")}
    with pytest.raises(StoppedByTerminate):
        run_tasks(tasks, engine="loky", workers=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.saved", "b", "b.saved"]
