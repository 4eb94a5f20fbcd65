"""train: what comes of a task that ran in another process, in a form that can be sent, and what a pool offers."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from groundswell.core.errors import FailureError, GroundswellError

T = TypeVar("T")
Call = tuple[Callable[..., T], tuple[Any, ...]]
"""A function and its arguments; for ``loky`` and ``dask`` both can be pickled."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""The environment variables by which numerical libraries are told, before they are loaded, how many threads to use."""


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What came of a task.

    ``done``: it has a ``result``. ``failed``: it raised ``error``. ``died``: its worker did not live to say (``why``,
    as far as that is known). ``dropped``: it has not begun and will not, because a stop was asked for.
    """

    kind: Literal["done", "failed", "died", "dropped"]
    result: T | None = None
    error: tuple[type[GroundswellError], str, str, str] | None = None
    why: str = ""

    def exception(self) -> GroundswellError:
        """The error of a task that failed, made anew."""
        assert self.error is not None
        kind, what, where, fix = self.error
        return kind(what, where=where, fix=fix)


def failed(error: BaseException) -> Answer[Any]:
    """The answer for a task that raised ``error``; what is not ours becomes a FailureError that names its kind."""
    if isinstance(error, GroundswellError):
        return Answer("failed", error=(type(error), error.what, error.where, error.fix))
    return Answer("failed", error=(FailureError, f"{type(error).__name__}: {error}", "", ""))


def answer(function: Callable[..., T], arguments: tuple[Any, ...]) -> Answer[T]:
    """Call the function; what it raises is answered, not raised. A traceback goes to this process's stderr."""
    try:
        return Answer("done", function(*arguments))
    except GroundswellError as error:
        return failed(error)
    except (Exception, SystemExit) as error:
        sys.stderr.write(traceback.format_exc())
        return failed(error)


@contextlib.contextmanager
def environment(values: Mapping[str, str], touched: Iterable[str] = ()) -> Iterator[None]:
    """Sets environment variables while it is entered; afterwards these, and others ``touched``, are as they were."""
    before = {name: os.environ.get(name) for name in {*values, *touched}}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class Pool(Protocol):
    """Processes that work tasks off, as the loop in ``train.executors`` sees them."""

    patience: int
    """How many deaths of its worker, running alone, say that a task is itself to blame."""

    def room(self) -> int:
        """How many tasks may be handed over at a time."""
        ...

    def submit(self, name: str, call: Call[Any]) -> None:
        """Hand a task over."""
        ...

    def wait(self) -> list[tuple[str, Answer[Any]]]:
        """Names and answers of tasks that ended; waits a moment if there is none."""
        ...

    def ask(self, number: int) -> None:
        """Have the tasks under way stop because of signal ``number``; those that have not begun do not begin."""
        ...
