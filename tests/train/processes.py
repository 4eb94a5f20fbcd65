"""Runs fits in processes of their own, forked from a server that has torch loaded already."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from groundswell.core.errors import GroundswellError

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch", "numpy", "groundswell.train.fit", "groundswell.data.loader",
                                "groundswell.data.arrays", "toy"])


def _fit(setup: Any, recipe: Any, folder: Path, resume: bool, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    from groundswell.train.fit import fit
    try:
        fit(setup, recipe, folder, resume=resume, quiet=True)
    except GroundswellError as error:
        sys.stderr.write(f"{error}\n")
        os._exit(error.exit_status)
    except BaseException:
        traceback.print_exc()
        os._exit(99)


def start(setup: Any, folder: Path, *, recipe: Any = None, resume: bool = True, **environment: str) -> Any:
    """Begin, or go on with, what ``setup`` describes; its recipe is the setup's own unless another is given."""
    process = CONTEXT.Process(target=_fit, args=(setup, recipe or setup.recipe, folder, resume, environment))
    process.start()
    return process


def start_group(setup: Any, folder: Path, world: int) -> list[Any]:
    """As torchrun would start them, on a port nobody else has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    return [start(setup, folder, TORCHELASTIC_RUN_ID="test", RANK=str(rank), LOCAL_RANK=str(rank), GROUP_RANK="0",
                  WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=port,
                  GLOO_SOCKET_IFNAME="lo") for rank in range(world)]


def end(process: Any, timeout_s: float = 60) -> int:
    """Exit status; minus the signal's number if one ended it."""
    process.join(timeout_s)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError("the process did not end")
    status = process.exitcode
    process.close()
    return int(status)


def wait_for_steps(folder: Path, steps: int, process: Any, timeout_s: float = 60) -> None:
    log = folder / "logs" / "steps.csv"
    deadline = time.monotonic() + timeout_s
    while not (log.exists() and log.read_text().count("\n") > steps):
        assert process.is_alive(), "the fit was over before it had come that far"
        assert time.monotonic() < deadline
        time.sleep(0.005)

