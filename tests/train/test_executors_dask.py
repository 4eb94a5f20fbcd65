"""Tasks on a Dask cluster: one that others keep, what is left of it afterwards, and what can go wrong with it."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from small_tasks import begun, die_always, square, torch_threads, train_in_two_parts, train_until_asked, wait_for, work

from groundswell.core.errors import FailureError, InputError, MissingExtraError
from groundswell.train import dask_engine
from groundswell.train.dask_worker import desk_of
from groundswell.train.executors import run_all, run_tasks
from groundswell.train.signals import StoppedByTerminate

distributed = pytest.importorskip("distributed")
dask = pytest.importorskip("dask")


@pytest.fixture
def cluster(monkeypatch):
    """Two workers of somebody else's, whose scheduler allows one death."""
    for name in (*dask.config.get("distributed.nanny.pre-spawn-environ"), "PYTHONHASHSEED", "__DASK_PARENT_PID"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))  # Dask sets them here: as they were, afterwards
    with (dask.config.set({"distributed.scheduler.allowed-failures": 1}),
          distributed.LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", silence_logs=50,
                                   scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"}) as made):
        yield made


def test_a_given_cluster_is_used_and_left_as_it_was(cluster, tmp_path) -> None:
    tasks = {"deadly": (die_always, (tmp_path, "deadly", "fold*", 4)), "threads": (torch_threads, ()),
             **{f"fold {k}": (work, (tmp_path, f"fold {k}")) for k in range(4)}}
    found = run_all(tasks, engine="dask", scheduler=cluster.scheduler_address, threads=2)
    assert found.results == {"threads": 2, **{f"fold {k}": f"fold {k}" for k in range(4)}}
    assert list(found.failures) == ["deadly"]
    assert "deadly: Its worker process died 1 time while it ran alone (the last" in str(found.failures["deadly"])
    assert begun(tmp_path, "deadly") == 4  # the scheduler's two, beside others and alone
    with distributed.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=20)
        assert client.submit(square, 3).result(timeout=10) == 9
        left = client.run(lambda dask_worker: (desk_of(dask_worker).asked, desk_of(dask_worker).under_way))
        assert list(left.values()) == [({}, set())] * 2


def test_a_training_whose_worker_is_closed_goes_on_elsewhere(cluster, tmp_path) -> None:
    def close() -> None:
        wait_for("fold-*", tmp_path, 1)
        with distributed.Client(cluster, set_as_default=False) as client:
            busy = next(name for name, tasks in client.processing().items() if tasks)
            client.retire_workers([busy])

    thread = threading.Thread(target=close)
    thread.start()
    found = run_tasks({"fold": (train_in_two_parts, (tmp_path, "fold"))}, engine="dask",
                      scheduler=cluster.scheduler_address)
    thread.join()
    assert found == {"fold": "fold"}
    assert begun(tmp_path, "fold") == 2 and (tmp_path / "fold.saved").exists()


def test_a_stop_also_reaches_the_workers_of_a_given_cluster(cluster, tmp_path) -> None:
    def ask() -> None:
        wait_for("*-*", tmp_path, 2)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask).start()
    tasks = {name: (train_until_asked, (tmp_path, name)) for name in "abcdef"}
    with pytest.raises(StoppedByTerminate):
        run_all(tasks, engine="dask", scheduler=cluster.scheduler_address)
    names = [path.name.partition("-")[0] for path in tmp_path.iterdir()]
    assert sum(name.endswith(".saved") for name in names) == 2 and len(names) == 4


def test_a_scheduler_that_goes_away_is_a_failure(cluster, tmp_path) -> None:
    def close() -> None:
        wait_for("*-*", tmp_path, 2)
        cluster.close()

    threading.Thread(target=close).start()
    tasks = {name: (train_until_asked, (tmp_path, name)) for name in ("a", "b", "c")}
    with pytest.raises(FailureError, match="scheduler went away"):
        run_all(tasks, engine="dask", scheduler=cluster.scheduler_address)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nowhere", "http://127.0.0.1:9", "127.0.0.1:x"])
def test_a_scheduler_that_does_not_answer_is_named(address, monkeypatch) -> None:
    monkeypatch.setattr(dask_engine, "CONNECT_S", 1)
    began = time.monotonic()
    with pytest.raises(InputError, match=r"No Dask scheduler answers") as caught:
        run_tasks({"a": (square, (1,))}, engine="dask", scheduler=address)
    assert address in str(caught.value)
    assert time.monotonic() - began < 5


def test_workers_with_several_threads_are_refused() -> None:
    with (distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, host="127.0.0.1",
                                   protocol="tcp", dashboard_address="127.0.0.1:0", silence_logs=50) as made,
          pytest.raises(InputError, match=r"2 threads for tasks.*--nthreads 1")):
        run_tasks({"a": (square, (1,))}, engine="dask", scheduler=made.scheduler_address)


def test_without_the_extra_it_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"groundswell\[cluster\]"):
        run_tasks({"a": (square, (1,))}, engine="dask")


def test_the_job_script_of_the_page_asks_for_one_task_with_several_cores() -> None:
    jobqueue = pytest.importorskip("dask_jobqueue")
    page = (Path(__file__).resolve().parents[2] / "docs" / "rooms" / "train.md").read_text("utf-8")
    call = re.search(r"SLURMCluster\((\n.*?)\n    \)", page, re.DOTALL)
    given = eval(f"dict({call[1]})")
    with jobqueue.SLURMCluster(**given, interface="lo", scheduler_options={"dashboard_address": "127.0.0.1:0"}) as made:
        script = made.job_script()
    for part in ("--cpus-per-task=8", "--nthreads 1 ", "--lifetime 11h45m", "--gres=gpu:1", "OMP_NUM_THREADS=8"):
        assert part in script
