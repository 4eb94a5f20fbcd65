"""Several tasks at once: all results, a name for each failure, and no worker's death that costs more than its task."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from small_tasks import (
    begun,
    crash,
    die,
    die_always,
    die_once,
    leave,
    refuse,
    square,
    touch_later,
    train_until_asked,
    wait_for,
    who,
    work,
    work_a_while,
)

from groundswell.core.errors import FailureError, GroundswellError, InputError
from groundswell.train.executors import run_all, run_tasks
from groundswell.train.signals import StoppedByInterrupt, StoppedByTerminate, StoppedByUser1

ENGINES = ["inline", "loky", "dask"]
PROCESSES = ["loky", "dask"]


@pytest.mark.parametrize("engine", ENGINES)
def test_results_come_by_name_in_order(engine) -> None:
    seen: dict[str, int] = {}
    tasks = {f"fold {k}": (square, (k,)) for k in range(5)}
    found = run_tasks(tasks, engine=engine, workers=2, finished=seen.__setitem__)
    assert list(found.items()) == [(f"fold {k}", k * k) for k in range(5)]
    assert seen == found


@pytest.mark.parametrize("engine", ENGINES)
def test_no_tasks_are_done_at_once(engine) -> None:
    assert run_tasks({}, engine=engine) == {}


@pytest.mark.parametrize("engine", PROCESSES)
def test_processes_are_others_with_their_share_of_threads(engine) -> None:
    before = dict(os.environ)
    found = run_tasks({"a": (who, ()), "b": (who, ())}, engine=engine, workers=2, threads=3)
    assert all(pid != os.getpid() and threads == "3" for pid, threads in found.values())
    assert dict(os.environ) == before


@pytest.mark.parametrize("engine", ["inline", "loky"])
def test_a_failed_task_is_named_and_keeps_its_kind(engine) -> None:
    with pytest.raises(InputError, match=r"^fold 2: This fold has one class \(labels\.json\)\. Label more\.$"):
        run_tasks({"fold 1": (square, (1,)), "fold 2": (refuse, (1,))}, engine=engine, workers=2)
    with pytest.raises(FailureError, match="fold 2: ZeroDivisionError: by zero"):
        run_tasks({"fold 1": (square, (1,)), "fold 2": (crash, ())}, engine=engine, workers=2)


@pytest.mark.parametrize("engine", ENGINES)
def test_all_are_run_although_some_fail(engine) -> None:
    heard: dict[str, GroundswellError] = {}
    tasks = {"a": (refuse, (1,)), "b": (square, (2,)), "c": (crash, ()), "d": (square, (3,))}
    if engine != "inline":  # there, who asks to leave leaves
        tasks["e"] = (leave, ())
        tasks["f"] = (square, (threading.Lock(),))
    found = run_all(tasks, engine=engine, workers=2, failed=heard.__setitem__)
    assert found.results == {"b": 4, "d": 9}
    assert list(found.failures) == [name for name in tasks if name not in "bd"]
    assert heard == found.failures
    assert type(found.failures["a"]) is InputError and found.failures["a"].fix == "Label more"
    assert type(found.failures["c"]) is FailureError and "c: ZeroDivisionError: by zero" in str(found.failures["c"])
    if engine != "inline":
        assert "e: SystemExit: 3" in str(found.failures["e"])
        assert "pickle" in str(found.failures["f"])


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(InputError, match="no engine 'slurm'"):
        run_tasks({"a": (square, (1,))}, engine="slurm")


@pytest.mark.parametrize("engine", PROCESSES)
def test_a_task_whose_worker_died_is_done_by_another(engine, tmp_path) -> None:
    tasks = {"unlucky": (die_once, (tmp_path, "unlucky")), **{f"{k}": (work, (tmp_path, f"{k}")) for k in range(3)}}
    assert run_tasks(tasks, engine=engine, workers=2) == {name: name for name in tasks}
    assert begun(tmp_path, "unlucky") == 2


@pytest.mark.parametrize("engine", PROCESSES)
def test_a_task_that_keeps_killing_its_worker_fails_alone(engine, tmp_path) -> None:
    # It kills when the others are done: none of them may be run again, none may be lost.
    tasks = {"deadly": (die_always, (tmp_path, "deadly", "fold*", 4)),
             **{f"fold {k}": (work, (tmp_path, f"fold {k}")) for k in range(4)}}
    found = run_all(tasks, engine=engine, workers=2, retries=1)
    assert found.results == {f"fold {k}": f"fold {k}" for k in range(4)}
    assert list(found.failures) == ["deadly"] and type(found.failures["deadly"]) is FailureError
    assert "deadly: Its worker process died 2 times while it ran alone" in str(found.failures["deadly"])
    assert [begun(tmp_path, f"fold {k}") for k in range(4)] == [1, 1, 1, 1]
    assert begun(tmp_path, "deadly") == 3  # beside others, then twice alone


@pytest.mark.parametrize("engine", PROCESSES)
def test_who_worked_beside_a_task_that_kills_is_not_blamed(engine, tmp_path) -> None:
    tasks = {"deadly": (die_always, (tmp_path, "deadly", "innocent*", 1)),
             "innocent": (work_a_while, (tmp_path, "innocent"))}
    found = run_all(tasks, engine=engine, workers=2, retries=0)
    assert found.results == {"innocent": "innocent"}
    assert list(found.failures) == ["deadly"]
    # loky's processes all end with the one that died; Dask's do not.
    assert begun(tmp_path, "innocent") == (2 if engine == "loky" else 1)


def test_one_task_alone_may_also_kill_its_worker() -> None:
    with pytest.raises(FailureError, match=r"^fold 1: Its worker process died 1 time while it ran alone \(SIGKILL"):
        run_tasks({"fold 1": (die, ())}, engine="loky", workers=4, retries=0)


@pytest.mark.parametrize("engine", PROCESSES)
def test_after_a_failure_nothing_begins(engine, tmp_path) -> None:
    tasks = {"bad": (crash, ()), "slow": (touch_later, (tmp_path / "slow",)),
             "never": (touch_later, (tmp_path / "never",))}
    with pytest.raises(FailureError, match="bad"):
        run_tasks(tasks, engine=engine, workers=2)
    assert [path.name for path in tmp_path.iterdir()] == ["slow"]


@pytest.mark.parametrize(("engine", "run", "number", "stopped"), [
    ("loky", run_tasks, signal.SIGTERM, StoppedByTerminate), ("loky", run_all, signal.SIGINT, StoppedByInterrupt),
    ("dask", run_all, signal.SIGUSR1, StoppedByUser1)])
def test_a_signal_reaches_the_trainings(engine, run, number, stopped, tmp_path) -> None:
    def ask() -> None:
        wait_for("*-*", tmp_path, 2)
        os.kill(os.getpid(), number)

    threading.Thread(target=ask).start()
    tasks = {name: (train_until_asked, (tmp_path, name)) for name in ("a", "b", "c")}
    with pytest.raises(stopped):
        run(tasks, engine=engine, workers=2)
    assert sorted(path.name.partition("-")[0] for path in tmp_path.iterdir()) == ["a", "a.saved", "b", "b.saved"]
