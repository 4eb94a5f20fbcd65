"""Processes read what threads would; they end with their parent, and what they raise comes back as it was."""

import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from block_sources import ROWS, Logged, Turned, Windows, X, pooled
from test_pool import check, loader

from groundswell.core.errors import FailureError, InputError, RefusedError
from groundswell.data.loader import Loader
from groundswell.data.order import Order
from groundswell.data.workers import packed


def made(source, *, workers=2, prefetch=2, batch=4, **options):
    return Loader(source, Order(np.arange(len(source)), batch, 5), {"label": np.arange(len(source)) % 3},
                  workers=workers, prefetch_batches=prefetch, **options)


def drained(batches, *names):
    return [{name: batch[name].clone() for name in names or batch} for batch in batches]


def children():
    return [c.pid for c in psutil.Process().children() if c.status() != psutil.STATUS_ZOMBIE
            and any("spawn_main" in part for part in c.cmdline())]


@pytest.fixture(autouse=True)
def no_process_outlives_its_loader():
    yield
    assert children() == []


def test_batches_are_those_of_threads_from_any_batch_on_whatever_the_number_of_processes():
    plain = drained(made(Turned(), workers=0).iterate(2), "x", "row", "weight", "label")
    for workers, prefetch in ((1, 0), (2, 2), (3, 1)):
        ours = made(Turned(), workers=workers, prefetch=prefetch)
        for start in (0, 3, len(plain)):
            got = drained(ours.iterate(2, start))
            assert len(got) == len(plain) - start
            for batch, wanted in zip(got, plain[start:], strict=True):
                assert all((batch[name] == wanted[name]).all() for name in wanted)
                assert batch["x"].stride()[1:] == (1, 5), "turned round in memory, as the field says"
        if prefetch:
            assert len({int(p) for batch in drained(ours.iterate(0)) for p in batch["process"]}) == workers
        assert len(children()) == workers, "they stay from pass to pass"
        ours.close()
        assert children() == []


def test_each_process_has_its_share_of_the_blocks_and_reads_none_twice(tmp_path):
    plain = drained(loader(pooled(Windows(120))).iterate(1))
    source = Logged(120, tmp_path / "log")
    made = loader(pooled(source, budget=60 * 200), prefetch=2, workers=2)
    check(made.iterate(0))
    got = drained(made.iterate(1, 2))
    made.close()
    assert [batch["row"].tolist() for batch in got] == [batch["row"].tolist() for batch in plain[2:]]
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    owner: dict[str, set[str]] = {}
    for process, block in lines:
        owner.setdefault(block, set()).add(process)
    assert len(owner) == 30 and all(len(processes) == 1 for processes in owner.values())
    assert len({p for processes in owner.values() for p in processes}) == 2
    assert len(lines) <= 60, "once in each pass"


def test_what_is_raised_in_a_process_comes_back_as_it_was_and_the_loader_lives_on():
    source = Turned(bad_row=11)
    ours = made(source)
    before = 0
    with pytest.raises(InputError) as caught:
        for _ in ours.iterate(0):
            before += 1
    with pytest.raises(InputError) as wanted:
        drained(made(source, workers=0).iterate(0))
    assert str(caught.value) == str(wanted.value)
    assert (caught.value.what, caught.value.where, caught.value.fix) == ("The file ends early ...", "record of row 11",
                                                                         "Copy it again")
    rows = Order(np.arange(ROWS), 4, 5).epoch(0)[0]
    assert before == int(np.flatnonzero((rows == 11).any(axis=1))[0]), "every batch before the bad one was delivered"
    with pytest.raises(InputError, match="ends early"):
        drained(ours.iterate(1))
    ours.close()


def test_errors_that_do_not_survive_being_pickled_come_back_in_words():
    class Local(Exception):
        pass

    for error in (InputError("What", where="here", fix="Do"), RefusedError("No ..."), MemoryError("no more"),
                  FileNotFoundError(2, "No such file", "x")):
        again = pickle.loads(packed(error))
        assert type(again) is type(error) and str(again) == str(error) and again.__dict__ == error.__dict__
    again = pickle.loads(packed(Local("odd")))
    assert isinstance(again, FailureError) and "Local: odd" in str(again)


def test_rows_that_cannot_be_read_are_skipped_and_their_reasons_told():
    ours = made(Turned(bad_row=11), skip_unreadable=True)
    batches = drained(ours.iterate(0), "row", "unread", "weight")
    bad = [int(row) for batch in batches for row in batch["row"][(batch["unread"] != 0) & (batch["weight"] == 0)]]
    assert bad == [11] and "ends early" in ours.why_unread(11)
    ours.close()


def test_a_process_that_dies_is_told_of_and_another_pass_starts_new_ones():
    ours = made(Turned(deadly_row=11))
    with pytest.raises(FailureError, match=r"Process \d of the loader died \(SIGKILL\)"):
        drained(ours.iterate(0))
    assert children() == []
    first = next(ours.iterate(0))
    assert (first["x"].numpy() == X[first["row"].numpy()]).all()
    ours.close()


def test_leaving_early_and_one_pass_at_a_time():
    ours = made(Turned(seconds=0.01))
    for _ in ours.iterate(0):
        break
    first = ours.iterate(0)
    next(first)
    second = ours.iterate(1)
    got = drained(second)
    plain = drained(made(Turned(), workers=0).iterate(1))
    assert [batch["row"].tolist() for batch in got] == [batch["row"].tolist() for batch in plain]
    with pytest.raises(RuntimeError, match="ended"):
        next(first)
    ours.close()


def test_a_batch_lasts_until_the_next_is_asked_for():
    ours = made(Turned())
    places = set()
    for epoch in range(3):
        for batch in ours.iterate(epoch):
            places.add(batch["x"].data_ptr())
            time.sleep(0.002)
            assert (batch["x"].numpy() == X[batch["row"].numpy()]).all()
    assert len(places) == 3
    ours.close()


PROGRAM = """
import sys

if __name__ == "__main__":  # what stands outside is done again in each process
    import time
    sys.path.insert(0, {here!r})
    from test_workers import Turned, children, made

    ours = made(Turned(seconds=0.2))
    for batch in ours.iterate(0):
        print(*children(), flush=True)
        {then}
"""


def started(tmp_path, then):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM.format(here=os.path.dirname(__file__), then=then))
    process = subprocess.Popen([sys.executable, path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return process, [int(p) for p in process.stdout.readline().split()]


@pytest.mark.parametrize(("then", "status"), [("time.sleep(60)", -9), ("sys.exit(3)", 3), ("1 / 0", 1)])
def test_processes_end_with_their_parent_however_it_ends(tmp_path, then, status):
    process, workers = started(tmp_path, then)
    assert len(workers) == 2
    for worker in workers:  # requests to stop are for the parent alone
        os.kill(worker, signal.SIGTERM)
        os.kill(worker, signal.SIGINT)
    if status == -9:
        time.sleep(0.1)
        assert all(psutil.pid_exists(worker) for worker in workers)
        process.kill()
    assert process.wait(60) == status
    process.stdout.close()
    for _ in range(100):
        alive = [w for w in workers if psutil.pid_exists(w) and psutil.Process(w).status() != psutil.STATUS_ZOMBIE]
        if not alive:
            break
        time.sleep(0.05)
    assert not alive


def test_fewer_than_no_workers_are_refused():
    with pytest.raises(ValueError, match="workers"):
        made(Turned(), workers=-1)
