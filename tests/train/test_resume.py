"""A fit that was killed at any moment, and resumed, is the fit that was not."""

from __future__ import annotations

import dataclasses
import errno
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from processes import end, start, start_group, wait_for_steps
from toy import ToySetup, make_recipe, results

from groundswell.core.errors import InputError
from groundswell.core.locks import lock_file
from groundswell.train import launch
from groundswell.train.checkpoint import read_checkpoint
from groundswell.train.fit import fit
from groundswell.train.signals import Interrupted, interruptible

RECIPE = make_recipe(checkpoint_every_steps=3, accumulate=1)
ACCUMULATING = make_recipe(checkpoint_every_steps=2, accumulate=3, scheduler="cosine", precision="bf16")


@pytest.fixture(scope="module", params=[RECIPE, ACCUMULATING], ids=["plain", "accumulating-bf16"])
def whole(request, tmp_path_factory):
    setup = ToySetup(request.param)
    folder = tmp_path_factory.mktemp("whole")
    fit(setup, setup.recipe, folder, quiet=True)
    return setup, results(folder)


def moments(setup: ToySetup, folder: Path) -> int:
    """How many of them there are at which a process can be made to die."""
    from unittest import mock

    import torch

    count = [0]

    def counted(function):
        def call(*args, **kwargs):
            count[0] += 1
            return function(*args, **kwargs)
        return call

    with mock.patch("os.fsync", counted(os.fsync)), mock.patch("os.replace", counted(os.replace)), \
            mock.patch("os.unlink", counted(os.unlink)), \
            mock.patch.object(torch.optim.AdamW, "step", counted(torch.optim.AdamW.step)):
        fit(setup, setup.recipe, folder, quiet=True)
    return count[0]


def die_and_resume(setup: ToySetup, folder: Path, deaths: list[int]) -> dict[str, bytes]:
    for moment in deaths:
        assert end(start(dataclasses.replace(setup, kill_at=moment), folder)) in (-signal.SIGKILL, 0)
    assert end(start(setup, folder)) == 0
    assert not list(folder.rglob(".*.part*")), "what killed processes left behind is still there"
    return results(folder)


def test_killed_at_moments_drawn_by_chance(whole, tmp_path) -> None:
    setup, expected = whole
    last = moments(setup, tmp_path / "count")
    chance = random.Random(5)
    for trial in range(6):
        deaths = [chance.randint(1, last) for _ in range(chance.randint(1, 3))]
        assert die_and_resume(setup, tmp_path / str(trial), deaths) == expected, deaths


@pytest.mark.soak
def test_killed_at_every_moment(whole, tmp_path) -> None:
    setup, expected = whole
    for moment in range(1, moments(setup, tmp_path / "count") + 1):
        assert die_and_resume(setup, tmp_path / str(moment), [moment]) == expected, moment


def test_killed_twice_in_one_epoch(whole, tmp_path) -> None:
    setup, expected = whole
    slow = dataclasses.replace(setup, options=(("slow_s", 0.05),))
    for steps in (2, 2 + setup.recipe.checkpoint_every_steps):
        process = start(slow, tmp_path / "run")
        wait_for_steps(tmp_path / "run", steps if setup.recipe.accumulate == 1 else 1, process)
        os.kill(process.pid, signal.SIGKILL)
        assert end(process) == -signal.SIGKILL
    assert end(start(setup, tmp_path / "run")) == 0
    assert results(tmp_path / "run") == expected


def test_killed_before_the_first_checkpoint(whole, tmp_path) -> None:
    setup, expected = whole
    assert die_and_resume(setup, tmp_path, [1]) == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_in_training_saves_once_and_leaves(whole, tmp_path, number) -> None:
    setup, expected = whole
    setup = dataclasses.replace(setup, recipe=setup.recipe.model_copy(update={"checkpoint_every_steps": 0}))
    slow = dataclasses.replace(setup, options=(("slow_s", 0.05),))
    process = start(slow, tmp_path)
    wait_for_steps(tmp_path, 1, process)
    os.kill(process.pid, number)
    assert end(process) == 128 + number
    (only,) = (tmp_path / "checkpoints").glob("*.ckpt")
    assert read_checkpoint(only)["place"]["batch"] > 0
    assert end(start(setup, tmp_path)) == 0
    found = results(tmp_path)
    assert {k: v for k, v in found.items() if "ckpt" not in k} == {k: v for k, v in expected.items() if "ckpt" not in k}


def test_a_signal_in_validation_is_answered_there(whole, tmp_path) -> None:
    setup, expected = whole
    slow = dataclasses.replace(setup, options=(("slow_validation_s", 1.5),))
    process = start(slow, tmp_path)
    steps = -(-8 // setup.recipe.accumulate)
    wait_for_steps(tmp_path, steps, process)
    asked = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    assert end(process) == 143
    assert time.monotonic() - asked < 6  # the whole of it takes 7.5 s
    last = sorted((tmp_path / "checkpoints").glob("*.ckpt"))[-1]
    place = read_checkpoint(last)["place"]
    assert (place["epoch"], place["batch"], place["step"]) == (0, 8, steps)
    assert not (tmp_path / "logs" / "epochs.csv").read_text()
    assert end(start(setup, tmp_path)) == 0
    assert results(tmp_path) == expected


def test_a_second_signal_ends_at_once(tmp_path) -> None:
    setup = ToySetup(RECIPE, options=(("slow_s", 5.0),))
    process = start(setup, tmp_path)
    while not (tmp_path / "logs" / "steps.csv").exists():
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGTERM)
    time.sleep(1.0)
    assert process.is_alive()
    os.kill(process.pid, signal.SIGTERM)
    assert end(process, 4) == 143


def test_a_finished_fit_stays_as_it_is(whole, tmp_path) -> None:
    setup, expected = whole
    first = fit(setup, setup.recipe, tmp_path, quiet=True)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "checkpoints").glob("*.ckpt")}
    assert fit(setup, setup.recipe, tmp_path, resume=True, quiet=True) == first
    assert results(tmp_path) == expected
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_best_weights_that_are_gone_come_back(tmp_path) -> None:
    recipe = make_recipe(epochs=1)
    fit(ToySetup(recipe), recipe, tmp_path, quiet=True)
    best = (tmp_path / "weights" / "best.safetensors")
    content = best.read_bytes()
    best.unlink()
    fit(ToySetup(recipe), recipe, tmp_path, resume=True, quiet=True)
    assert best.read_bytes() == content


def test_from_a_checkpoint_that_is_named(whole, tmp_path) -> None:
    setup, expected = whole
    fit(setup, setup.recipe, tmp_path, quiet=True)
    middle = sorted((tmp_path / "checkpoints").glob("step-*.ckpt"))[0]
    fit(setup, setup.recipe, tmp_path, resume=middle, quiet=True)
    assert results(tmp_path) == expected
    with pytest.raises(InputError, match="no such checkpoint"):
        fit(setup, setup.recipe, tmp_path, resume=tmp_path / "checkpoints" / "step-000000001.ckpt", quiet=True)
    assert results(tmp_path) == expected


def test_a_damaged_checkpoint_is_reported_and_the_one_before_used(whole, tmp_path, capsys) -> None:
    setup, expected = whole
    fit(setup, setup.recipe, tmp_path, quiet=True)
    last = sorted((tmp_path / "checkpoints").glob("step-*.ckpt"))[-1]
    damaged = bytearray(last.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    last.write_bytes(damaged)
    fit(setup, setup.recipe, tmp_path, resume=True)
    told = capsys.readouterr().err
    assert "damaged" in told and str(last) in told
    assert results(tmp_path) == expected
    assert last.with_suffix(".damaged").read_bytes() == damaged


def test_when_all_are_damaged_nothing_begins_anew(tmp_path) -> None:
    recipe = make_recipe(epochs=1)
    fit(ToySetup(recipe), recipe, tmp_path, quiet=True)
    (only,) = (tmp_path / "checkpoints").glob("*.ckpt")
    only.write_bytes(only.read_bytes()[:-1])
    log = (tmp_path / "logs" / "steps.csv").read_bytes()
    for _ in range(2):
        with pytest.raises(InputError, match="All 1 checkpoints are damaged"):
            fit(ToySetup(recipe), recipe, tmp_path, resume=True, quiet=True)
    assert (tmp_path / "logs" / "steps.csv").read_bytes() == log


def test_another_recipe_or_other_data_cannot_be_resumed(tmp_path) -> None:
    fit(ToySetup(RECIPE), RECIPE, tmp_path, quiet=True)
    before = results(tmp_path)
    other = RECIPE.model_copy(update={"learning_rate": 0.5})
    with pytest.raises(InputError, match=r"learning_rate was 0\.01 and is 0\.5"):
        fit(ToySetup(other), other, tmp_path, resume=True, quiet=True)
    with pytest.raises(InputError, match="the data changed"):
        fit(ToySetup(RECIPE, samples=99), RECIPE, tmp_path, resume=True, quiet=True)
    assert results(tmp_path) == before


def test_a_log_that_lost_its_end_is_not_continued(tmp_path) -> None:
    fit(ToySetup(RECIPE), RECIPE, tmp_path, quiet=True)
    log = tmp_path / "logs" / "epochs.csv"
    log.write_bytes(log.read_bytes()[:-5])
    with pytest.raises(InputError, match="Put the log back"):
        fit(ToySetup(RECIPE), RECIPE, tmp_path, resume=True, quiet=True)


@pytest.mark.parametrize("name", ["epochs.csv", "steps.csv"])
@pytest.mark.parametrize("place", [3, 40, -3])
def test_a_log_in_which_a_bit_flipped_is_not_continued(tmp_path, name: str, place: int) -> None:
    recipe = make_recipe(epochs=3)
    fit(ToySetup(recipe), recipe, tmp_path, quiet=True)
    log = tmp_path / "logs" / name
    damaged = bytearray(log.read_bytes())
    damaged[place] ^= 4
    log.write_bytes(damaged)
    with pytest.raises(InputError, match=rf"changed or damaged.*{name}"):
        fit(ToySetup(recipe), recipe, tmp_path, resume=True, quiet=True)
    assert log.read_bytes() == damaged


def test_a_log_of_times_that_was_damaged_begins_anew(tmp_path) -> None:
    recipe = make_recipe(epochs=3)
    fit(ToySetup(recipe), recipe, tmp_path / "whole", quiet=True)
    fit(ToySetup(recipe), recipe, tmp_path / "damaged", quiet=True)
    log = tmp_path / "damaged" / "logs" / "timing.csv"
    log.write_bytes(b"\xff" + log.read_bytes())
    first = sorted((tmp_path / "damaged" / "checkpoints").glob("*.ckpt"))[0]
    fit(ToySetup(recipe), recipe, tmp_path / "damaged", resume=first, quiet=True)
    assert results(tmp_path / "damaged") == results(tmp_path / "whole")
    assert log.read_text().startswith("epoch,finished,")


def test_a_folder_holds_one_fit_at_a_time(tmp_path) -> None:
    slow = ToySetup(RECIPE, options=(("slow_s", 0.2),))
    process = start(slow, tmp_path)
    try:
        wait_for_steps(tmp_path, 1, process)
        with pytest.raises(InputError, match="Another process is training"):
            fit(slow, RECIPE, tmp_path, resume=True, quiet=True)
    finally:
        process.kill()
        end(process)
    with pytest.raises(InputError, match="trained in this folder already"):
        fit(slow, RECIPE, tmp_path, quiet=True)


# -- several processes -----------------------------------------------------------------------------------------------

DDP = make_recipe(devices=2, checkpoint_every_steps=2, accumulate=1)


def run_group(setup: ToySetup, folder: Path, world: int = 2) -> list[int]:
    return [end(process) for process in start_group(setup, folder, world)]


def test_two_processes_resume_exactly(tmp_path) -> None:
    setup = ToySetup(DDP)
    assert run_group(setup, tmp_path / "whole") == [0, 0]
    slow = dataclasses.replace(setup, options=(("slow_s", 0.05),))
    for steps in (1, 3, 7):
        group = start_group(slow, tmp_path / "killed", 2)
        wait_for_steps(tmp_path / "killed", steps, group[0])
        for process in group:
            os.kill(process.pid, signal.SIGKILL)
        assert [end(process) for process in group] == [-9, -9]
    assert run_group(setup, tmp_path / "killed") == [0, 0]
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


def test_a_signal_to_one_of_two_processes_stops_both(tmp_path) -> None:
    setup = ToySetup(DDP)
    assert run_group(setup, tmp_path / "whole") == [0, 0]
    for place, options in (("train", (("slow_s", 0.05),)), ("validation", (("slow_validation_s", 0.4),))):
        folder = tmp_path / place
        group = start_group(dataclasses.replace(setup, options=options), folder, 2)
        wait_for_steps(folder, 1 if place == "train" else 4, group[0])
        os.kill(group[1].pid, signal.SIGTERM)
        assert [end(process) for process in group] == [143, 143]
        assert run_group(setup, folder) == [0, 0]
        assert results(folder) == results(tmp_path / "whole")


def test_three_processes_resume_exactly(tmp_path) -> None:
    setup = ToySetup(make_recipe(devices=3, checkpoint_every_steps=1, accumulate=2, batch_size=4))
    assert run_group(setup, tmp_path / "whole", 3) == [0, 0, 0]
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    first = sorted((tmp_path / "again" / "checkpoints").glob("*.ckpt"))[0]
    for path in sorted((tmp_path / "again" / "checkpoints").glob("*.ckpt"))[1:]:
        path.unlink()
    assert first.name != sorted((tmp_path / "whole" / "checkpoints").glob("*.ckpt"))[-1].name
    assert run_group(setup, tmp_path / "again", 3) == [0, 0, 0]
    assert results(tmp_path / "again") == results(tmp_path / "whole")


def _free(lock: Path) -> bool:
    with lock_file(lock) as (mine, _):
        return mine


@pytest.mark.slow
def test_processes_that_fit_starts_itself(tmp_path) -> None:
    setup = ToySetup(DDP)
    assert run_group(setup, tmp_path / "whole") == [0, 0]
    slow = dataclasses.replace(setup, options=(("slow_s", 0.1),))
    process = start(slow, tmp_path / "own")
    wait_for_steps(tmp_path / "own", 2, process, 200)
    os.kill(process.pid, signal.SIGKILL)
    assert end(process) == -signal.SIGKILL
    # Its workers die with it: the folder is free.
    (lock,), ends = (tmp_path / "own").rglob("lock"), time.monotonic() + 30
    while not _free(lock):
        assert time.monotonic() < ends
        time.sleep(0.05)
    process = start(slow, tmp_path / "own")
    wait_for_steps(tmp_path / "own", 4, process, 200)
    os.kill(process.pid, signal.SIGTERM)
    assert end(process, 200) == 143
    assert run_group(setup, tmp_path / "own") == [0, 0]
    assert results(tmp_path / "own") == results(tmp_path / "whole")


def test_a_log_that_is_too_short_is_told_before_anything_is_taken_back(tmp_path) -> None:
    recipe = make_recipe(epochs=3)
    fit(ToySetup(recipe), recipe, tmp_path, quiet=True)
    before = sorted((tmp_path / "checkpoints").glob("*.ckpt"))
    os.truncate(tmp_path / "logs" / "steps.csv", 50)
    kept = (tmp_path / "logs" / "epochs.csv").read_bytes()
    with pytest.raises(InputError, match=r"The log has 50 bytes.*steps\.csv"):
        fit(ToySetup(recipe), recipe, tmp_path, resume=before[0], quiet=True)
    assert sorted((tmp_path / "checkpoints").glob("*.ckpt")) == before
    assert (tmp_path / "logs" / "epochs.csv").read_bytes() == kept


def note_what_is_asked(fabric, stop, folder: Path) -> None:
    ends = time.monotonic() + 60
    while not stop() and time.monotonic() < ends:
        time.sleep(0.01)
    (folder / str(fabric.global_rank)).write_text(str(stop()))


def test_a_signal_while_processes_are_started_is_passed_on_to_all(tmp_path, monkeypatch) -> None:
    spawn = multiprocessing.get_context("spawn")
    started: list[object] = []

    class Process:
        def __init__(self, **given) -> None:
            self.real = spawn.Process(**given)

        def start(self) -> None:
            self.real.start()
            started.append(self.real)
            if len(started) == 1:
                os.kill(os.getpid(), signal.SIGTERM)

        def __getattr__(self, name: str):
            return getattr(self.real, name)

    context = SimpleNamespace(Value=spawn.Value, Pipe=spawn.Pipe, Process=Process)
    monkeypatch.setattr(launch.multiprocessing, "get_context", lambda kind: context)
    # Where another thread takes the signal, nothing that this one blocks delays it.
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    try:
        with pytest.raises(Interrupted) as stopped, interruptible():
            launch.launch(note_what_is_asked, tmp_path, make_recipe(devices=2))
    finally:
        done.set()
        other.join()
    assert stopped.value.number == signal.SIGTERM
    assert {file.name: int(file.read_text()) for file in tmp_path.iterdir()} == dict.fromkeys("01", signal.SIGTERM)
    assert not any(made.is_alive() for made in started)


def test_where_one_process_cannot_be_started_none_is_left_behind(monkeypatch) -> None:
    alive: list[object] = []

    class Process:
        exitcode = None

        def __init__(self, **_given) -> None: ...

        def start(self) -> None:
            if alive:
                raise OSError(errno.EAGAIN, "no more processes")
            alive.append(self)

        def is_alive(self) -> bool:
            return self in alive

        def kill(self) -> None:
            alive.remove(self)

        def join(self) -> None: ...

    spawn = multiprocessing.get_context("spawn")
    context = SimpleNamespace(Value=spawn.Value, Pipe=spawn.Pipe, Process=Process)
    monkeypatch.setattr(launch.multiprocessing, "get_context", lambda kind: context)
    with pytest.raises(OSError, match="no more processes"):
        launch.launch(print, None, make_recipe(devices=2))
    assert not alive
