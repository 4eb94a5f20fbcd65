"""Threads that look at the same pages of a file at once all see them, whichever of them brought them in."""

from __future__ import annotations

import errno
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from groundswell.pipelines.das.formats import hdf5_mapped
from groundswell.pipelines.das.formats.hdf5_mapped import BUDGET, Mapping
from groundswell.pipelines.das.formats.hdf5_scratch import Descriptor


def test_threads_that_want_the_same_pages_wait_for_the_one_that_brings_them(tmp_path: Path,
                                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    path, cell = tmp_path / "file", 2**16
    values = np.random.default_rng(0).integers(0, 255, 8 * cell).astype(np.uint8)
    values.tofile(path)
    cells = np.arange(8, dtype=np.int64)
    mapped = Mapping(Descriptor(path), values.nbytes, cells * cell, cell)
    with mapped.look(cells) as held:  # the first look is by calls
        assert held is None
    take, together = BUDGET.take, threading.Barrier(3)

    def slowly(length: int) -> bool:
        time.sleep(0.2)  # the others come to the lock meanwhile
        return take(length)

    monkeypatch.setattr(hdf5_mapped.BUDGET, "take", slowly)

    def look(_: int) -> bool | None:
        together.wait()
        with mapped.look(cells) as held:
            return None if held is None else bool((held == values).all())

    with ThreadPoolExecutor(3) as pool:
        seen = list(pool.map(look, range(3)))
    if seen == [None] * 3:
        pytest.skip("leases or mapped pages are not to be had here")
    assert seen == [True] * 3


class FailingPages:
    """Mapped pages that a disk does not deliver."""

    def __init__(self, number: int) -> None:
        self.number = number

    def madvise(self, *_given: int) -> None:
        raise OSError(self.number, "failed")


@pytest.mark.parametrize(("number", "for_good"), [(errno.EFAULT, False), (errno.ENOMEM, False), (errno.EINVAL, True)])
def test_pages_that_cannot_be_brought_in_are_left_to_reading_calls(tmp_path: Path, number: int, for_good: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(8 * 4096))
    mapping = Mapping(Descriptor(path), 8 * 4096, np.arange(0, 8 * 4096, 4096), 4096)
    held = BUDGET._held
    for _ in range(2):
        with mapping.look(slice(0, 2)):
            pass
    if mapping._pages is None:
        pytest.skip("files cannot be mapped under a lease here")
    mapping._pages = FailingPages(number)  # type: ignore[assignment]
    for _ in range(2):
        with mapping.look(slice(4, 6)) as seen:
            assert seen is None
    assert mapping._refused == for_good
    assert BUDGET._held == held + 2 * 4096
