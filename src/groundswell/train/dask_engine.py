"""train: tasks on the workers of a Dask cluster: one given by its scheduler's address, or one of our own."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from typing import Any

from groundswell.core.errors import FailureError, InputError
from groundswell.core.optional import require
from groundswell.train import dask_worker
from groundswell.train.answers import THREADS, Answer, Call, environment, failed

POLL_S = 0.1
"""So often the loop looks for tasks that ended and for a stop that was asked for."""
CONNECT_S = 8
"""So long a scheduler may take to answer."""
START_S = 120.0
"""So long our own cluster may be without a worker."""
RESULT_S = 30
"""So long a result may take to arrive, once it is there."""
FORGETS = 3
"""So often a task is handed over again whose key the scheduler forgot, as it can when a worker dies with its result."""
_PURPOSE = "Running tasks through Dask"


@contextlib.contextmanager
def own_cluster(workers: int, threads: int, retries: int) -> Iterator[DaskPool]:
    """A cluster of processes on this machine that nobody outside it can reach, while this is entered.

    Args:
        workers: processes.
        threads: of the numerical libraries in each.
        retries: see :attr:`groundswell.train.answers.Pool.patience`.
    """
    distributed = require("distributed", extra="cluster", purpose=_PURPOSE)
    dask = require("dask", extra="cluster", purpose=_PURPOSE)
    # A death is counted here and not by Dask, which would give the task at once to a worker that is busy with another.
    settings: dict[str, Any] = {"distributed.scheduler.allowed-failures": 0, "distributed.scheduler.worker-ttl": None,
                                "distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}
    with contextlib.ExitStack() as stack:
        # Dask sets variables in this process, for the processes that it starts: undone at the end.
        touched = {*dask.config.get("distributed.nanny.pre-spawn-environ"), "PYTHONHASHSEED", "__DASK_PARENT_PID"}
        stack.enter_context(environment(dict.fromkeys(THREADS, str(threads)), touched))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="groundswell-", ignore_cleanup_errors=True))
        with dask.config.set(settings):
            cluster = stack.enter_context(distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, host="127.0.0.1", protocol="tcp",
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"}, memory_limit=None,
                local_directory=folder, silence_logs=logging.CRITICAL, preload=["groundswell.train.dask_worker"]))
        client = stack.enter_context(distributed.Client(cluster, set_as_default=False))
        pool = DaskPool(client, own=True, patience=1 + retries)
        stack.callback(pool.close)
        yield pool


@contextlib.contextmanager
def given_cluster(address: str, threads: int) -> Iterator[DaskPool]:
    """The cluster of the scheduler at ``address``, which goes on when this is left.

    Args:
        address: such as ``tcp://10.0.0.5:8786``.
        threads: of the numerical libraries in each worker; 0 leaves them as they are.

    Raises:
        InputError: nothing answers there, or a worker has several threads.
    """
    distributed = require("distributed", extra="cluster", purpose=_PURPOSE)
    try:
        distributed.comm.get_address_host_port(address)  # a client that could not read it would not let go of it
        client = distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"No Dask scheduler answers: {error}", where=address,
                         fix="Give the address that the scheduler shows when it starts, or leave it out to run on this "
                             "machine") from error
    with client:
        wide = {name: number for name, number in client.nthreads().items() if number > 1}
        if wide:
            name, number = next(iter(wide.items()))
            raise InputError(f"A worker of the cluster has {number} threads for tasks, and trainings in one process "
                             f"would share their random numbers", where=name,
                             fix="Start workers with --nthreads 1; the cores are for the threads of each training")
        pool = DaskPool(client, own=False, patience=1, threads=threads)
        try:
            yield pool
        finally:
            pool.close()


class DaskPool:
    """Futures of one run of tasks.

    Args:
        client: of the cluster.
        own: whether the cluster is ours: it then gets no more tasks than it has idle workers, so that a worker that
            dies does so of one task, and takes no result with it that was not fetched. Another grows and shrinks as it
            likes, and gets all there is.
        patience: see :attr:`groundswell.train.answers.Pool.patience`.
        threads: see :func:`given_cluster`.
    """

    def __init__(self, client: Any, *, own: bool, patience: int, threads: int = 0) -> None:
        from distributed import as_completed

        self.patience = patience
        self._client, self._own, self._threads = client, own, threads
        self._run = uuid.uuid4().hex[:12]
        self._number = 0
        self._completed: Any = as_completed(loop=client.loop)  # type: ignore[no-untyped-call]
        self._names: dict[Any, str] = {}
        self._calls: dict[str, Call[Any]] = {}
        self._forgotten: dict[str, int] = {}
        self._ready: list[tuple[str, Answer[Any]]] = []
        self._asked = self._lost = False
        self._manned = time.monotonic()

    def room(self) -> int:
        """As many as there are workers in a cluster of our own."""
        if not self._own:
            return sys.maxsize
        workers = len(self._client.nthreads())
        now = time.monotonic()
        if workers:
            self._manned = now
        elif now - self._manned > START_S:
            raise FailureError(f"No worker process of Dask has come up within {START_S:.0f} s",
                               fix="Use the engine loky, which needs less")
        return workers

    def submit(self, name: str, call: Call[Any]) -> None:
        """Hand a task over; one that cannot be pickled has failed."""
        self._number += 1
        self._calls[name] = call
        key = f"{name}-{self._run}-{self._number}"
        try:
            future = self._client.submit(dask_worker.perform, self._run, key, self._threads, *call, key=key, retries=0,
                                         pure=False)
        except Exception as error:
            self._ready.append((name, failed(error.__cause__ or error)))  # Dask wraps what pickle said
            return
        self._names[future] = name
        self._completed.add(future)

    def wait(self) -> list[tuple[str, Answer[Any]]]:
        """Names and answers of tasks that ended.

        Raises:
            FailureError: the scheduler went away.
        """
        found, self._ready = self._ready, []
        for future in self._completed.next_batch(block=False):
            answer = self._answer(future)
            if answer is None and future.status == "cancelled":
                self.submit(name := self._names.pop(future), self._calls[name])
            elif answer is None:
                self._completed.add(future)
            else:
                found.append((self._names.pop(future), answer))
                future.release()
        if not found:
            time.sleep(POLL_S)
        return found

    def _answer(self, future: Any) -> Answer[Any] | None:
        from distributed import KilledWorker

        if future.status == "finished":
            try:
                result: Answer[Any] = future.result(timeout=RESULT_S)
            except TimeoutError:
                return None  # its worker died before the result was fetched: Dask runs it again
            except Exception as error:
                return failed(error)
            return result
        if future.status == "error":
            raised = future.exception()
            if isinstance(raised, KilledWorker):
                return Answer("died", why=f"the last one was {raised.last_worker.address}")
            return failed(raised)
        if self._asked and self._client.status == "running":
            return Answer("dropped")
        name = self._names[future]
        self._forgotten[name] = self._forgotten.get(name, 0) + 1
        if self._client.status == "running" and self._forgotten[name] <= FORGETS:
            return None
        self._lost = True
        raise FailureError("The Dask scheduler went away, or somebody cancelled the tasks",
                           fix="Start the cluster again, then resume")

    def ask(self, number: int) -> None:
        """Ask the tasks under way, on whichever machine, to stop; the others are cancelled."""
        self._asked = True
        under_way = self._client.run(dask_worker.ask, self._run, number, on_error="ignore")
        begun = {key for keys in under_way.values() for key in keys}
        self._client.cancel([future for future in self._names if future.key not in begun and not future.done()])

    def close(self) -> None:
        """Begin nothing more; wait for what is under way."""
        if self._lost or self._client.status != "running":
            return
        with contextlib.suppress(FailureError):
            if self._names and not self._asked:
                self.ask(0)
            while self._names:
                self.wait()
        if not self._lost:
            self._client.run(dask_worker.forget, self._run, on_error="ignore")
