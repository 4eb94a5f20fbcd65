"""Commands of the real command line in processes that can be met at a chosen moment, and fits with faults built in.

A command runs ``groundswell.cli.main`` in a process forked from a server that has torch loaded already, so that a test
of a signal costs a second and not six. ``at`` names a function: when it is called for the ``nth`` time a file appears,
and the process waits there.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from toy import ToyTask, make_data

from groundswell.data.arrays import ArraySource
from groundswell.data.loader import Loader
from groundswell.data.order import Order
from groundswell.train.quarantine import BadSamples
from groundswell.train.recipe import TrainRecipe
from groundswell.train.setup import Setup

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch", "numpy", "groundswell.train.fit", "groundswell.data.loader", "toy",
                                "groundswell.data.arrays", "groundswell.pipelines.das.data", "groundswell.cli.main",
                                "groundswell.pipelines.judge", "groundswell.pipelines.das.steps"])


@dataclass(frozen=True)
class At:
    """Where a command is met: ``module:name`` or ``module:Class.name``, when called for the ``nth`` time."""

    function: str
    nth: int = 1
    wait_s: float = 30.0
    deep: bool = False
    """Wait inside a library, where Python calls no handler, instead of asleep."""
    before: Callable[[], None] | None = None
    """Called there instead of telling the test."""

    def install(self, mark: Path) -> None:
        """In the command's process: make it wait there."""
        module, _, name = self.function.partition(":")
        owner: Any = importlib.import_module(module)
        *path, last = name.split(".")
        for part in path:
            owner = getattr(owner, part)
        original, calls = getattr(owner, last), [0]

        def called(*args: Any, **kwargs: Any) -> Any:
            calls[0] += 1
            if calls[0] == self.nth:
                if self.before is not None:
                    self.before()
                else:
                    self._wait(mark)
            return original(*args, **kwargs)

        setattr(owner, last, called)

    def _wait(self, mark: Path) -> None:
        mark.touch()
        if self.deep:
            import hashlib

            hashlib.pbkdf2_hmac("sha256", b"deep", b"water", 40_000_000)
        deadline = time.monotonic() + self.wait_s
        while mark.exists() and time.monotonic() < deadline:
            time.sleep(0.01)


def _run(words: Sequence[str], at: At | None, mark: Path, said: Path, prepare: Callable[[], None] | None) -> None:
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 2)
    os.dup2(descriptor, 1)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    import torch

    torch.set_num_threads(1)
    if prepare is not None:
        prepare()
    if at is not None:
        at.install(mark)
    from groundswell.cli.main import main

    status = main(["--quiet", *words])
    sys.stderr.flush()
    os._exit(status)


class Command:
    """A command that runs; it is met where ``at`` says.

    Args:
        folder: for what it says and the file by which it is met.
        words: of the command line.
        at: where it is met; it runs through where None.
        prepare: called in its process first; can be pickled.
    """

    def __init__(self, folder: Path, *words: str | Path, at: At | None = None,
                 prepare: Callable[[], None] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        number = len(list(folder.glob("said-*")))
        self._mark, self._said = folder / f"mark-{number}", folder / f"said-{number}"
        self._said.touch()
        self.process = CONTEXT.Process(target=_run, args=([str(word) for word in words], at, self._mark, self._said,
                                                          prepare))
        self.process.start()

    def met(self) -> Command:
        """Wait until it is where ``at`` says."""
        deadline = time.monotonic() + 60
        while not self._mark.exists():
            assert self.process.is_alive(), f"it was over before it came there: {self.said}"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return self

    def send(self, number: int) -> Command:
        """Send it a signal and, a moment later, let it go on."""
        os.kill(self.process.pid, number)
        return self

    def let_go(self) -> Command:
        """Let it go on from where it was met."""
        self._mark.unlink(missing_ok=True)
        return self

    def end(self, timeout_s: float = 60) -> int:
        """Its exit status; minus the signal's number if one ended it."""
        self.process.join(timeout_s)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
            raise AssertionError(f"it did not end; it said: {self.said}")
        return int(self.process.exitcode)

    @property
    def said(self) -> str:
        """What it has written to the terminal so far."""
        return self._said.read_text()

    @property
    def complaint(self) -> str:
        """Its last words, which must be one paragraph."""
        lines = [line for line in self.said.splitlines() if line.startswith("groundswell: ")]
        assert len(lines) == 1, self.said
        assert "Traceback" not in self.said
        assert "should not have happened" not in self.said
        return lines[0]


def outcome(run: Path) -> dict[str, bytes]:
    """What must not depend on interruptions: logs, sample order, weights, last checkpoints, predictions."""
    found = {}
    for fold in sorted(run.glob("fold-*")):
        names = ["logs/epochs.csv", "logs/steps.csv", "logs/quarantine.jsonl", "logs/setbacks.jsonl",
                 "weights/best.safetensors"]
        paths = [fold / name for name in names if (fold / name).exists()]
        paths += sorted((fold / "checkpoints").glob("step-*.ckpt"))[-1:]
        found |= {str(path.relative_to(run)): path.read_bytes() for path in paths}
    for name in ("predictions.parquet", "validation.parquet"):
        if (run / name).exists():
            found[name] = (run / name).read_bytes()
    return found


@dataclass(frozen=True)
class FaultySetup:
    """A toy fit with rows that are not finite, or a source with faults.

    Attributes:
        recipe: of training.
        nan, inf: rows of the training part that hold one such value.
        nan_validation: likewise of the validation part.
        policy, most: what becomes of them.
        options: of the task.
        wrap: makes another source of the training part's.
    """

    recipe: TrainRecipe
    nan: tuple[int, ...] = ()
    inf: tuple[int, ...] = ()
    nan_validation: tuple[int, ...] = ()
    policy: Any = "stop"
    most: int = 100
    options: tuple[tuple[str, Any], ...] = ()
    wrap: Callable[[Any], Any] | None = None
    threads: int = 1

    def __call__(self, rank: int, world: int, device: Any) -> Setup:
        loaders = []
        for samples, seed, shuffle in ((61, 1, True), (33, 2, False)):
            data = make_data(samples, seed)
            data["x"][list(self.nan if shuffle else self.nan_validation), 3] = np.nan
            if shuffle:
                data["x"][list(self.inf), 5] = -np.inf
            order = Order(np.arange(samples), self.recipe.batch_size, self.recipe.seed, shuffle, rank=rank, world=world)
            source: Any = ArraySource({"x": data["x"]})
            if self.wrap is not None and shuffle:
                source = self.wrap(source)
            loaders.append(Loader(source, order, {"label": data["label"]}, device=device, threads=self.threads,
                                  skip_unreadable=self.policy == "skip"))
        bad = BadSamples(self.policy, self.most, lambda row: {"row": row, "sample_id": f"sample-{row}"},
                         loaders[0].why_unread)
        return Setup(ToyTask(**dict(self.options)), loaders[0], loaders[1], bad)
