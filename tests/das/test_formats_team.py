"""Threads that help with chunks: everything is done once, nothing after an error, and nobody waits for idle helpers."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.pipelines.das.formats import team
from groundswell.pipelines.das.formats.team import Team


@settings(deadline=None, max_examples=40)
@given(cores=st.integers(1, 4), callers=st.integers(1, 5), items=st.integers(1, 30))
def test_every_item_is_done_once_before_the_caller_goes_on(cores: int, callers: int, items: int) -> None:
    ours = Team(cores)

    def call(caller: int) -> bool:
        done: list[int] = []
        for _ in range(5):
            done.clear()
            ours.share(done.append, range(items))
            if sorted(done) != list(range(items)):
                return False
        return True

    with ThreadPoolExecutor(callers) as pool:
        assert all(pool.map(call, range(callers)))
    assert ours._working == 0


def test_an_idle_core_helps_and_a_busy_one_is_left_alone() -> None:
    ours, both = Team(2), threading.Barrier(2, timeout=20)
    ours.share(lambda _: both.wait(), [0, 1])  # would wait for ever if one thread did both
    threads: set[int] = set()
    held, go = threading.Event(), threading.Event()

    def hold(_: int) -> None:
        held.set()
        go.wait(20)

    other = threading.Thread(target=ours.share, args=(hold, [0]))
    other.start()
    held.wait(20)
    ours.share(lambda _: (threads.add(threading.get_ident()), time.sleep(0.01)), range(6))
    go.set()
    other.join()
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("cores", [1, 2])
def test_an_error_reaches_the_caller_and_ends_the_work(cores: int) -> None:
    ours, done = Team(cores), []

    def work(item: int) -> None:
        if item == 3:
            raise OSError(5, "no")
        time.sleep(0.005)
        done.append(item)

    with pytest.raises(OSError, match="no"):
        ours.share(work, range(100))
    count = len(done)
    time.sleep(0.05)
    assert len(done) == count < 20 and ours._working == 0


def test_an_index_error_of_the_work_is_not_taken_for_the_end() -> None:
    with pytest.raises(IndexError, match="mine"):
        Team(1).share(lambda item: (_ for _ in ()).throw(IndexError("mine")), [1, 2])


def test_a_forked_process_makes_a_team_of_its_own() -> None:
    team.share(lambda _: None, [1, 2])
    child = os.fork()
    if child == 0:
        done: list[int] = []
        try:
            team.share(done.append, range(10))
        finally:
            os._exit(0 if sorted(done) == list(range(10)) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
