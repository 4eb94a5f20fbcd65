"""train: the processes of a fit: this one alone, those of torchrun, or some that are started and watched here."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import distributed

from groundswell.core import errors
from groundswell.core.errors import FailureError, GroundswellError, InputError
from groundswell.train import signals
from groundswell.train.executors import available_cores
from groundswell.train.recipe import TrainRecipe
from groundswell.train.signals import StopRequest, die_with_parent

T = TypeVar("T")
Stop = Callable[[], int]
"""Gives the number of the signal that asked training to stop, or 0."""
Work = Callable[[Fabric, Stop, Any], T]
"""What every process does, with what it is given; can be pickled."""

COLLECTIVE_TIMEOUT_S = 1800
"""After so long without an answer from another process, a collective operation fails instead of hanging."""
GRACE_S = 60.0
"""When one process has ended with an error, how long the others may take to end as well."""
_PRECISION: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def launch(work: Work[T], given: Any, recipe: TrainRecipe) -> T:
    """Run ``work(fabric, stop, given)`` in as many processes as the recipe says; the result of the first one.

    Under torchrun the processes are there already, and each gets its own result.

    Raises:
        InputError: the recipe asks for devices that are not there.
        FailureError: a process died or failed.
        GroundswellError: whatever ``work`` raised.
    """
    device = check_devices(recipe)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        world = int(os.environ["WORLD_SIZE"])
        if world != recipe.devices:
            raise InputError(f"torchrun started {world} processes, and the recipe has train.devices={recipe.devices}",
                             fix=f"Set train.devices={world}, or start as many as the recipe says")
        with StopRequest() as stop:
            return _in_group(work, given, recipe, device, "env://", stop)
    if recipe.devices == 1:
        _hush_fabric()
        with StopRequest() as stop, _threads(recipe.threads):
            fabric = Fabric(accelerator=device, devices=1, precision=_PRECISION[recipe.precision],
                            plugins=[LightningEnvironment()])
            fabric.launch()
            return work(fabric, stop, given)
    result: T = _Workers(work, given, recipe, device).result()
    return result


def _hush_fabric() -> None:
    # It announces precision and devices for each fit, in every process.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


def check_devices(recipe: TrainRecipe) -> str:
    """``cpu`` or ``cuda``: what the recipe runs on here.

    Raises:
        InputError: it cannot.
    """
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device = ("cuda" if there else "cpu") if recipe.accelerator == "auto" else recipe.accelerator
    if device == "cuda" and there < (int(os.environ.get("LOCAL_WORLD_SIZE", "0")) or recipe.devices):
        raise InputError(f"The recipe asks for {recipe.devices} GPU(s) and {there} can be used here",
                         where="train.accelerator, train.devices", fix="Set train.accelerator=cpu, or fewer devices")
    cores = available_cores()
    if device == "cpu" and recipe.devices > 2 * cores:
        raise InputError(f"The recipe asks for {recipe.devices} processes on {cores} processor core(s)",
                         where="train.devices", fix="Set train.devices to the number of cores, or fewer")
    if device == "cpu" and recipe.precision == "16":
        raise InputError("16-bit training with loss scaling needs a GPU", where="train.precision",
                         fix="Set train.precision=bf16 or 32")
    return device


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    if number:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_group(work: Work[T], given: Any, recipe: TrainRecipe, device: str, meeting: str, stop: Stop) -> T:
    """Join the other processes, work, and part from them."""
    _hush_fabric()
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    torch.set_num_threads(recipe.threads or max(1, available_cores() // local))
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    timeout = timedelta(seconds=COLLECTIVE_TIMEOUT_S)
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", init_method=meeting, rank=rank,
                                   world_size=world, timeout=timeout)
    try:
        # Buffers are shared by the loop after each step: DDP would share them in some forward passes only.
        # With three processes or more a sum depends on how gradients are laid out in DDP's buckets; it lays them out
        # anew after a process's first step, which resuming would make visible, unless it looks for unused parameters.
        strategy = DDPStrategy(timeout=timeout, forward_sync_buffers=False, find_unused_parameters=world > 2)
        fabric = Fabric(accelerator=device, devices=local, num_nodes=world // local, strategy=strategy,
                        precision=_PRECISION[recipe.precision], plugins=[TorchElasticEnvironment()])
        fabric.launch()
        result = work(fabric, stop, given)
        fabric.barrier()
        return result
    finally:
        distributed.destroy_process_group()


@dataclass(frozen=True)
class _Report:
    """What a worker process sends back: a result, or an error in words."""

    rank: int
    result: Any = None
    kind: str = ""
    what: str = ""
    where: str = ""
    fix: str = ""

    def raise_error(self) -> None:
        for room in (errors, signals):
            kind = getattr(room, self.kind, None)
            if isinstance(kind, type) and issubclass(kind, GroundswellError):
                raise kind(self.what, where=self.where, fix=self.fix)
        raise FailureError(f"Training process {self.rank} failed: {self.what}", where=self.where)


def _worker(rank: int, world: int, work: Work[Any], given: Any, recipe: TrainRecipe, device: str, meeting: str,
            asked: Any, answer: Connection) -> None:
    # Signals were blocked before this process was started and stay so: requests come through ``asked``.
    die_with_parent(signal.SIGKILL)
    os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world),
                       "LOCAL_WORLD_SIZE": str(world), "GROUP_RANK": "0"})
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    try:
        report = _Report(rank, _in_group(work, given, recipe, device, meeting, lambda: int(asked.value)))
    except GroundswellError as error:
        report = _Report(rank, None, type(error).__name__, error.what, error.where, error.fix)
    except Exception as error:
        sys.stderr.write(traceback.format_exc())
        report = _Report(rank, None, "FailureError", f"{type(error).__name__}: {error}", f"training process {rank}")
    answer.send(report)
    answer.close()


class _Workers:
    """Processes of one fit on this machine. If one fails, all end."""

    def __init__(self, work: Work[Any], given: Any, recipe: TrainRecipe, device: str) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._given = (work, given, recipe, device)
        self._asked = self._context.Value("i", 0)
        self._folder = tempfile.TemporaryDirectory(prefix="groundswell-")
        self._processes: list[SpawnProcess] = []
        self._answers: list[Connection] = []

    def result(self) -> Any:
        """Start them and wait for all; the first process's result."""
        try:
            # From before the first one is started: what a signal asks for then, those that come after find as well.
            with StopRequest(self._ask):
                self._start()
                reports = self._reports()
        finally:
            self._end()
        failed = [report for report in reports if report.kind]
        if failed:
            failed[0].raise_error()
        return min(reports, key=lambda report: report.rank).result

    def _start(self) -> None:
        work, given, recipe, device = self._given
        meeting = f"file://{Path(self._folder.name) / 'meeting'}"
        # They inherit what this thread blocks. It keeps no signal from this process, which has other threads.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, list(signals.STOPS))
        try:
            for rank in range(recipe.devices):
                receive, send = self._context.Pipe(duplex=False)
                process = self._context.Process(target=_worker, name=f"groundswell-train-{rank}", args=(
                    rank, recipe.devices, work, given, recipe, device, meeting, self._asked, send))
                self._answers.append(receive)
                process.start()
                self._processes.append(process)
                send.close()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _ask(self, number: int) -> None:
        self._asked.value = number

    def _end(self) -> None:
        for process in self._processes:
            if process.is_alive():
                process.kill()
            process.join()
        for answer in self._answers:
            answer.close()
        self._folder.cleanup()

    def _reports(self) -> list[_Report]:
        """What each process had to say, in the order they ended; after an error the others have some time left."""
        reports: list[_Report] = []
        waiting = dict(zip(self._answers, range(len(self._answers)), strict=True))
        failed = False
        while waiting:
            ready = wait(list(waiting), GRACE_S if failed else None)
            if not ready:
                break
            for answer in ready:
                assert isinstance(answer, Connection)
                rank = waiting.pop(answer)
                try:
                    report = answer.recv()
                except EOFError:
                    self._processes[rank].join()
                    report = _Report(rank, None, "FailureError", f"Training process {rank} died "
                                     f"({_how_it_died(self._processes[rank].exitcode)})", "",
                                     "Look at the memory of this machine, then resume")
                reports.append(report)
                failed = failed or bool(report.kind)
        return reports


def _how_it_died(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit status {code}"
