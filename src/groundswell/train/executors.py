"""train: several tasks at once, such as the fits of a study. What fails, fails alone and by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from groundswell.core.errors import FailureError, GroundswellError, InputError
from groundswell.train.answers import Answer, Call, Pool
from groundswell.train.signals import STOPS, StoppedByTerminate, StopRequest, TrainingStopped

T = TypeVar("T")
Engine = Literal["inline", "loky", "dask"]
"""One task after another in this process; processes of this machine; processes of a Dask cluster."""


@dataclass(frozen=True)
class TaskResults(Generic[T]):
    """What came of tasks: results and failures by name, each in the order in which the tasks were given."""

    results: dict[str, T]
    failures: dict[str, GroundswellError]


def run_tasks(tasks: Mapping[str, Call[T]], *, engine: Engine = "inline", workers: int = 1, threads: int = 0,
              scheduler: str = "", retries: int = 2, finished: Callable[[str, T], None] | None = None) -> dict[str, T]:
    """Run named tasks; the first failure ends it: what is under way may finish, nothing more begins.

    Arguments are those of :func:`run_all`.

    Returns:
        results by name, in the order of ``tasks``.

    Raises:
        GroundswellError: of the kind that the failing task raised, with the task's name; FailureError if it was
            something else, or if the task's worker kept dying.
        TrainingStopped: as in :func:`run_all`.
        InputError: as in :func:`run_all`.
    """
    book = _Book(tasks, finished, None)
    _work(book, engine, workers, threads, scheduler, retries)
    return book.found().results


def run_all(tasks: Mapping[str, Call[T]], *, engine: Engine = "inline", workers: int = 1, threads: int = 0,
            scheduler: str = "", retries: int = 2, finished: Callable[[str, T], None] | None = None,
            failed: Callable[[str, GroundswellError], None] | None = None) -> TaskResults[T]:
    """Run named tasks, all of them: one that fails is recorded, and the others go on.

    A task that raises is not run again. When a worker process dies, finished tasks stay finished, and those that were
    under way are run again, one at a time and after the others, as it cannot be known which of them was to blame; one
    whose worker dies ``1 + retries`` times while it runs alone has failed.

    A signal (Ctrl-C, SIGTERM, SIGUSR1) is passed on to the tasks under way, so that trainings write their checkpoint;
    tasks that have not begun do not begin.

    Args:
        tasks: functions with their arguments by name.
        engine: ``inline``, ``loky`` or ``dask``.
        workers: processes (loky; dask, unless ``scheduler`` is given, whose cluster has its own).
        threads: of the numerical libraries in each process; 0 divides the processor cores of this machine among them,
            and leaves the workers of a given ``scheduler`` as they were started.
        scheduler: address of a Dask scheduler, such as ``tcp://10.0.0.5:8786``; "" makes a cluster on this machine.
        retries: see above. A given ``scheduler`` has its own number (``allowed-failures``).
        finished: called here with the name and the result of each task as it completes.
        failed: called here with the name and the error of each task that failed.

    Raises:
        TrainingStopped: a stop was asked for before all was done.
        InputError: the scheduler does not answer, or its workers cannot be used.
        MissingExtraError: dask is not installed.
        FailureError: the cluster went away.
    """
    book = _Book(tasks, finished, failed or _ignore)
    _work(book, engine, workers, threads, scheduler, retries)
    return book.found()


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def _ignore(name: str, error: GroundswellError) -> None:
    return


@dataclass
class _Book(Generic[T]):
    """The tasks and what has come of them; without ``on_failure`` the first failure is raised."""

    tasks: Mapping[str, Call[T]]
    on_success: Callable[[str, T], None] | None
    on_failure: Callable[[str, GroundswellError], None] | None
    results: dict[str, T] = field(default_factory=dict)
    failures: dict[str, GroundswellError] = field(default_factory=dict)

    def done(self, name: str, result: T) -> None:
        self.results[name] = result
        if self.on_success is not None:
            self.on_success(name, result)

    def failed(self, name: str, error: Exception) -> None:
        if isinstance(error, TrainingStopped):
            raise error
        named = _named(name, error)
        if self.on_failure is None:
            raise named from error
        self.failures[name] = named
        self.on_failure(name, named)

    def found(self) -> TaskResults[T]:
        return TaskResults({name: self.results[name] for name in self.tasks if name in self.results},
                           {name: self.failures[name] for name in self.tasks if name in self.failures})


def _named(name: str, error: Exception) -> GroundswellError:
    if isinstance(error, GroundswellError):
        return type(error)(f"{name}: {error.what}", where=error.where, fix=error.fix)
    return FailureError(f"{name}: {type(error).__name__}: {error}")


def _work(book: _Book[T], engine: Engine, workers: int, threads: int, scheduler: str, retries: int) -> None:
    if not book.tasks:
        return
    if engine == "inline":
        for name, (function, arguments) in book.tasks.items():
            try:
                result = function(*arguments)
            except Exception as error:
                book.failed(name, error)
            else:
                book.done(name, result)
        return
    with _pool(engine, min(workers, len(book.tasks)), threads, scheduler, retries) as pool, StopRequest() as stop:
        try:
            for name in _work_off(list(book.tasks), book, pool, stop):
                _alone(name, book, pool, stop)
        except TrainingStopped as error:
            # Whatever it was passed on as: the exit status is that of the signal which came here.
            raise STOPS.get(stop(), type(error))(error.what, where=error.where, fix=error.fix) from error
        if len(book.results) + len(book.failures) < len(book.tasks):
            raise STOPS.get(stop(), StoppedByTerminate)("Stopped between two tasks",
                                                        fix="'groundswell resume RUN' does the rest")


def _pool(engine: Engine, workers: int, threads: int, scheduler: str, retries: int) -> AbstractContextManager[Pool]:
    share = threads or max(1, available_cores() // workers)
    if engine == "loky":
        from groundswell.train.worker_pool import loky_pool

        return loky_pool(workers, share, retries)
    if engine != "dask":
        raise InputError(f"There is no engine '{engine}'", fix="Choose inline, loky or dask")
    from groundswell.train.dask_engine import given_cluster, own_cluster

    return given_cluster(scheduler, threads) if scheduler else own_cluster(workers, share, retries)


def _work_off(names: Sequence[str], book: _Book[T], pool: Pool, stop: Callable[[], int]) -> dict[str, Answer[T]]:
    """Run tasks as many at a time as there is room for; those whose worker died, with what was heard of it."""
    waiting, running, asked = list(names), set[str](), False
    died: dict[str, Answer[T]] = {}
    while running or (waiting and not stop()):
        while waiting and not stop() and len(running) < pool.room():
            name = waiting.pop(0)
            pool.submit(name, book.tasks[name])
            running.add(name)
        if stop() and not asked:
            pool.ask(stop())
            asked = True
        for name, answer in pool.wait():
            running.remove(name)
            if answer.kind == "done":
                book.done(name, answer.result)  # type: ignore[arg-type]
            elif answer.kind == "failed":
                book.failed(name, answer.exception())
            elif answer.kind == "died":
                died[name] = answer
    return died


def _alone(name: str, book: _Book[T], pool: Pool, stop: Callable[[], int]) -> None:
    """Run one task with nothing beside it, so that if its worker dies it is known whose fault it is."""
    for _ in range(pool.patience):
        if stop():
            return
        died = _work_off([name], book, pool, stop)
        if name not in died:
            return
    if stop():
        return
    why = f" ({died[name].why})" if died[name].why else ""
    times = "time" if pool.patience == 1 else "times"
    book.failed(name, FailureError(f"Its worker process died {pool.patience} {times} while it ran alone{why}",
                                   fix="Look at the memory of the machine, then resume"))
