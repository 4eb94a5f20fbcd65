"""Fault 20: file systems that fail for a moment, for good, or hang; folders that cannot be written to or locked; two
runs that want one folder."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import CONTEXT
from survivors import At, Command, FaultySetup
from toy import make_recipe, results

from groundswell.core.errors import BusyError, FailureError, GroundswellError, InputError
from groundswell.core.locks import lock_file
from groundswell.core.run import RunFolder
from groundswell.data import guard, passes
from groundswell.data.arrays import ArraySource
from groundswell.data.guard import GuardedSource, may_pass
from groundswell.data.loader import Loader
from groundswell.data.order import Order
from groundswell.train.fit import fit
from groundswell.train.recipe import TrainRecipe

RECIPE = make_recipe(epochs=1)


class Faulty(ArraySource):
    """Fails the first ``times`` reads of a batch that holds a row of ``rows``; notes when its files were let go of."""

    def __init__(self, source: ArraySource, error: Exception, times: int, rows: range = range(1000)) -> None:
        self.inner, self.error, self.left, self.rows, self.closed = source, error, times, rows, 0

    @property
    def fields(self) -> Any:
        return self.inner.fields

    def __len__(self) -> int:
        return len(self.inner)

    def read(self, rows: Any, out: Any) -> None:
        if self.left and set(np.asarray(rows).tolist()) & set(self.rows):
            self.left -= 1
            for array in out.values():
                array[...] = 99  # what was read by half
            raise self.error
        self.inner.read(rows, out)

    def close(self) -> None:
        self.closed += 1


def hdf5_error(number: int) -> InputError:
    """As the reader of records raises it: the system's number stands in the library's text only."""
    error = InputError("The file is damaged: samples 0 to 9 cannot be read", where="a.h5")
    error.__cause__ = OSError(f"Can't read data (file read failed: errno = {number}, error message = 'x')")
    return error


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "WAITS_S", (0.01, 0.01, 0.01))


PASSING = {"EIO": OSError(errno.EIO, "Input/output error", "a.h5"), "ESTALE": OSError(errno.ESTALE, "Stale", "a.h5"),
           "timeout": OSError(errno.ETIMEDOUT, "Timed out", "a.h5"), "HDF5 EIO": hdf5_error(errno.EIO),
           "HDF5 ESTALE": hdf5_error(errno.ESTALE)}


@pytest.mark.parametrize("error", list(PASSING.values()), ids=list(PASSING))
def test_a_read_that_fails_for_a_moment_is_tried_again_and_changes_nothing(error: Exception, tmp_path: Path) -> None:
    fit(FaultySetup(RECIPE), RECIPE, tmp_path / "whole", quiet=True)
    sources: list[Faulty] = []

    def faulty(source: ArraySource) -> Faulty:
        sources.append(Faulty(source, error, times=3))
        return sources[-1]

    fit(FaultySetup(RECIPE, wrap=faulty), RECIPE, tmp_path / "run", quiet=True)
    assert results(tmp_path / "run") == results(tmp_path / "whole")
    assert sources[0].left == 0
    assert sources[0].closed >= 3, "handles that have gone stale were kept"


def test_one_that_fails_for_good_is_named_after_a_few_tries(tmp_path: Path) -> None:
    error = OSError(errno.EIO, "Input/output error", "/archive/a.h5")
    with pytest.raises(InputError, match=r"Input/output error \(tried 4 times\) \(/archive/a\.h5\)"):
        fit(FaultySetup(RECIPE, wrap=lambda source: Faulty(source, error, times=10**9)), RECIPE, tmp_path, quiet=True)


def test_a_damaged_file_is_not_tried_again() -> None:
    zeros = ArraySource({"x": np.zeros((4, 2), np.float32)})
    source = Faulty(zeros, InputError("It is damaged", where="a.h5"), times=1)
    out = {"x": np.ones((1, 2), np.float32)}
    with pytest.raises(InputError, match="It is damaged"):
        GuardedSource(source).read(np.array([0]), out)
    assert not may_pass(hdf5_error(errno.ENOENT))
    GuardedSource(source).read(np.array([0]), out)
    assert (out["x"] == 0).all()


def test_rows_that_cannot_be_read_for_good_can_be_skipped(tmp_path: Path) -> None:
    def faulty(source: ArraySource) -> Faulty:
        return Faulty(source, OSError(errno.EIO, "Input/output error", "/archive/a.h5"), 10**9, rows=range(17, 19))

    fit(FaultySetup(RECIPE, wrap=faulty, policy="skip"), RECIPE, tmp_path, quiet=True)
    journal = (tmp_path / "logs" / "quarantine.jsonl").read_text()
    assert journal.count("\n") == 2
    assert "sample-17" in journal and "sample-18" in journal and "tried 4 times" in journal


class Hangs(ArraySource):
    """Does not come back from reading for so long."""

    def __init__(self, source: ArraySource, hang_s: float) -> None:
        self.inner, self.hang_s, self.goes_on = source, hang_s, threading.Event()

    @property
    def fields(self) -> Any:
        return self.inner.fields

    def __len__(self) -> int:
        return len(self.inner)

    def read(self, rows: Any, out: Any) -> None:
        self.goes_on.wait(self.hang_s)
        self.inner.read(rows, out)

    def close(self) -> None:
        self.inner.close()


def loader(source: Hangs) -> Loader:
    return Loader(source, Order(np.arange(8), 4, 0, shuffle=False), {}, threads=1,
                  place=lambda row: f"window {row} of /archive/a.h5")


def test_a_batch_that_does_not_come_is_told_of_and_given_up_in_the_end(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(passes, "TELL_S", 0.05)
    monkeypatch.setattr(passes, "PART_S", 0.05)
    values = ArraySource({"x": np.zeros((8, 2), np.float32)})
    slow, asked = loader(Hangs(values, 0.3)), time.monotonic()
    assert len(list(slow.iterate(0))) == 2
    times = math.ceil(math.log2((time.monotonic() - asked) / 0.05)) + 1
    slow.close()
    told = capsys.readouterr().err
    assert "Still waiting for batch 0" in told
    assert "window 0 of /archive/a.h5" in told
    assert told.count("batch 0,") <= times, "told again only when it has been twice as long"
    monkeypatch.setattr(passes, "GIVE_UP_S", 0.4)
    hangs = Hangs(values, 60)
    stuck, asked = loader(hangs), time.monotonic()
    with pytest.raises(FailureError, match=r"Nothing has come of reading batch 0.*window 0 of /archive/a\.h5"):
        list(stuck.iterate(0))
    assert time.monotonic() - asked < 30, "the thread that hangs was waited for"
    hangs.goes_on.set()


# -- folders ----------------------------------------------------------------------------------------------------------

def begin(path: Path, barrier: Any, found: Any) -> None:
    barrier.wait()
    try:
        RunFolder.create(path, TrainRecipe(), {})
    except GroundswellError as error:
        found.put(str(error))
    else:
        found.put("")


def test_of_two_runs_begun_in_one_folder_at_the_same_moment_one_is(tmp_path: Path) -> None:
    for trial in range(3):
        barrier, found = CONTEXT.Barrier(4), CONTEXT.Queue()
        processes = [CONTEXT.Process(target=begin, args=(tmp_path / str(trial), barrier, found)) for _ in range(4)]
        for process in processes:
            process.start()
        said = [found.get(timeout=60) for _ in processes]
        for process in processes:
            process.join()
        assert said.count("") == 1, said
        assert all("run in this folder already" in text or "works in this run folder" in text or "not empty" in text
                   for text in said if text)
        assert (tmp_path / str(trial) / "recipe.yaml").exists()


def test_a_second_program_is_kept_out_of_a_run_that_trains(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    at = At("groundswell.train.training:Training.batch", 2)
    first = Command(tmp_path / "said", "das", "train", place / "recipe.yaml", "--out", run, at=at).met()
    second = Command(tmp_path / "said", "resume", run)
    assert second.end() == 2
    assert "Another process works in this run folder" in second.complaint
    assert f"process {first.process.pid}" in second.complaint
    assert first.let_go().end() == 0, first.said


def test_a_lock_ends_with_its_process_even_by_kill_9(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    at = At("groundswell.train.training:Training.batch", 2)
    first = Command(tmp_path / "said", "das", "train", place / "recipe.yaml", "--out", run, at=at).met()
    first.process.kill()
    first.end()
    assert Command(tmp_path / "said", "resume", run).end() == 0


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_where_files_cannot_be_locked_this_machine_keeps_others_out_and_says_what_it_cannot(
        number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    flock = fcntl.flock

    def without_locks(descriptor: int, how: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(tmp_path / "network")):
            raise OSError(number, os.strerror(number))
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", without_locks)
    (tmp_path / "network").mkdir()
    path = tmp_path / "network" / "run.lock"
    with lock_file(path) as (mine, _):
        assert mine
        assert "cannot lock files" in capsys.readouterr().err
        with lock_file(path) as (second, holder):
            assert not second
            assert holder.startswith(f"process {os.getpid()}")
    with lock_file(path) as (mine, _):
        assert mine


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_to_is_named(
        number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def read_only(path: Any, flags: int, *more: Any, **keys: Any) -> int:
        if flags & os.O_CREAT and str(path).startswith(str(tmp_path)):
            raise OSError(number, os.strerror(number), str(path))
        return opened(path, flags, *more, **keys)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(InputError, match="Cannot write here") as caught:
        RunFolder.create(tmp_path / "run", TrainRecipe(), {})
    assert str(tmp_path) in str(caught.value)
    assert not isinstance(caught.value, BusyError)
    with pytest.raises(InputError, match="Cannot write here"):
        fit(FaultySetup(RECIPE), RECIPE, tmp_path / "fit", quiet=True)
