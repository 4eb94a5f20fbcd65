"""train: several tasks at once on one machine, such as the folds of a split; a task that fails is named."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Literal, TypeVar

from groundswell.core.errors import FailureError, GroundswellError
from groundswell.train.signals import STOPS, StopRequest, TrainingStopped, die_with_parent

T = TypeVar("T")
Call = tuple[Callable[..., T], tuple[Any, ...]]
"""A function and its arguments; for ``loky`` both can be pickled."""


def run_tasks(tasks: Mapping[str, Call[T]], *, engine: Literal["inline", "loky"] = "inline", workers: int = 1,
              threads: int = 0, finished: Callable[[str, T], None] | None = None) -> dict[str, T]:
    """Run named tasks, one after another in this process or several at once in processes of their own.

    A signal (Ctrl-C, SIGTERM, SIGUSR1) is passed on to the processes, so that trainings write their checkpoint; tasks
    that have not begun do not begin.

    Args:
        tasks: functions with their arguments by name.
        engine: ``inline`` or ``loky``.
        workers: processes (loky).
        threads: of each process (loky); 0 divides the processor cores among them.
        finished: called here with the name and the result of each task as it completes.

    Returns:
        results by name, in the order of ``tasks``.

    Raises:
        GroundswellError: of the kind that the first failing task raised, with the task's name; FailureError if it was
            something else.
    """
    results: dict[str, T] = {}
    if engine == "inline" or len(tasks) < 2:
        for name, (function, arguments) in tasks.items():
            try:
                results[name] = function(*arguments)
            except Exception as error:
                raise _named(name, error) from error
            if finished is not None:
                finished(name, results[name])
        return results
    results = _in_processes(tasks, min(workers, len(tasks)), threads, finished)
    return {name: results[name] for name in tasks}


def _named(name: str, error: Exception) -> Exception:
    if isinstance(error, TrainingStopped):
        return error
    if isinstance(error, GroundswellError):
        return type(error)(f"{name}: {error.what}", where=error.where, fix=error.fix)
    return FailureError(f"{name}: {type(error).__name__}: {error}")


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def _in_processes(tasks: Mapping[str, Call[T]], workers: int, threads: int,
                  finished: Callable[[str, T], None] | None) -> dict[str, T]:
    from concurrent.futures import FIRST_COMPLETED, Future, wait

    from joblib.externals.loky import ProcessPoolExecutor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    number = str(threads or max(1, available_cores() // workers))
    environment = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), number)
    pool = ProcessPoolExecutor(workers, initializer=_prepare, env=environment)
    results: dict[str, T] = {}
    waiting = list(tasks)
    running: dict[Future[Any], str] = {}
    try:
        with StopRequest(_pass_on) as stop, warnings.catch_warnings():
            # It replaces workers that have grown, which is what one wants of it; it need not be announced.
            warnings.filterwarnings("ignore", message="A worker stopped while some jobs", category=UserWarning)
            while waiting or running:
                # No more are handed over than can begin, so that after a failure none begins.
                while waiting and len(running) < workers and not stop():
                    name = waiting.pop(0)
                    running[pool.submit(_answer, os.getpid(), *tasks[name])] = name
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    result, failure = future.result()
                    name = running.pop(future)
                    if failure is not None:
                        raise _named(name, failure[0](failure[1], where=failure[2], fix=failure[3]))
                    results[name] = result
                    if finished is not None:
                        finished(name, result)
            if waiting:
                raise STOPS[stop()]("Stopped between two tasks", fix="'groundswell resume RUN' does the rest")
    except TerminatedWorkerError as error:
        raise FailureError(f"A worker process died; these were under way: {', '.join(running.values())}",
                           fix="Look at the memory of this machine, then resume") from error
    finally:
        pool.shutdown(wait=True)  # tasks under way may finish: one that is asked to stop writes its checkpoint first
    return results


def _pass_on(number: int) -> None:
    import psutil

    for child in psutil.Process().children():
        child.send_signal(signal.SIGTERM)


def _prepare() -> None:
    """In a worker: a request to stop is for the task, which listens for itself; an idle worker dies with its parent."""
    parent = os.getppid()

    def idle(number: int, frame: FrameType | None) -> None:
        if os.getppid() != parent:
            os._exit(128 + number)

    signal.signal(signal.SIGTERM, idle)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(signal.SIGTERM)


def _answer(parent: int, function: Callable[..., T], arguments: tuple[Any, ...]) -> tuple[
        T | None, tuple[type[GroundswellError], str, str, str] | None]:
    try:
        return function(*arguments), None
    except GroundswellError as error:
        if os.getppid() != parent:
            os._exit(error.exit_status)
        return None, (type(error), error.what, error.where, error.fix)
    except Exception as error:
        sys.stderr.write(traceback.format_exc())
        return None, (FailureError, f"{type(error).__name__}: {error}", "", "")
