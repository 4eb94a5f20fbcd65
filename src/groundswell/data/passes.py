"""data: one pass over batches: the buffers they are read into, the threads or processes that read, and patience."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from groundswell.core.errors import FailureError
from groundswell.core.progress import say
from groundswell.data.pool import pool_of
from groundswell.data.source import Field, Source
from groundswell.data.workers import Workers

T = TypeVar("T")

TELL_S = 60.0
"""So long a batch may let itself be waited for before that is told; told again whenever it has been twice as long."""
GIVE_UP_S = 1800.0
"""So long before waiting for a batch ends with an error."""
PART_S = 5.0
"""So long a reading thread that hangs is waited for when a pass ends."""


def ended() -> RuntimeError:
    """What a consumer is told who goes on with a pass that is over."""
    return RuntimeError("this pass over the loader was ended by close() or by a later pass")


def _patiently(wait: Callable[[float], T | None], batch: int, place: Callable[[int], str],
               give_up: Callable[[], None]) -> T:
    """What ``wait`` gives once it gives something; it is called with seconds to wait, and told of when they are many.

    Raises:
        FailureError: nothing has come for a very long time; ``give_up`` was called before.
    """
    waited_s, wait_s = 0.0, TELL_S
    while True:
        got = wait(wait_s)
        if got is not None:
            return got
        waited_s += wait_s
        if waited_s >= GIVE_UP_S:
            give_up()
            raise FailureError(f"Nothing has come of reading batch {batch} for {waited_s:.0f} s",
                               where=place(batch), fix="Look at the disk or the network file system, then resume")
        say(f"Still waiting for batch {batch}, for {waited_s:.0f} s now: {place(batch)}")
        wait_s = min(waited_s, GIVE_UP_S - waited_s)


class Slot:
    """One batch's buffers: tensors for the consumer and numpy views of the same memory for the source.

    Args:
        fields: what is in a batch.
        samples: of a batch.
        pinned: whether they are copied to a GPU.
        shared: arrays of some of the fields that are there already, in memory that other processes fill.
    """

    def __init__(self, fields: Mapping[str, Field], samples: int, pinned: bool,
                 shared: Mapping[str, NDArray[Any]]) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        for name, field in fields.items():
            # Strides are kept by all of these, so a field that lies turned round in memory stays so on the device.
            tensor = torch.from_numpy(shared[name] if name in shared else field.allocate(samples))
            self.tensors[name] = tensor.pin_memory() if pinned and name not in shared else tensor
        self.arrays: dict[str, NDArray[Any]] = {name: tensor.numpy() for name, tensor in self.tensors.items()}
        self.copied: torch.cuda.Event | None = None

    def to(self, device: torch.device) -> dict[str, torch.Tensor]:
        """The batch on ``device``; on the CPU the buffers themselves."""
        if device.type == "cpu":
            return dict(self.tensors)
        moved = {name: tensor.to(device, non_blocking=True) for name, tensor in self.tensors.items()}
        if device.type == "cuda":
            # The copies run behind our back: whoever fills these buffers next must wait for this mark.
            self.copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self.copied.record(torch.cuda.current_stream(device))
        return moved

    @property
    def free(self) -> bool:
        """Whether no copy reads from the buffers any more."""
        return self.copied is None or bool(self.copied.query())  # type: ignore[no-untyped-call]

    def wait(self) -> None:
        """Return once no copy reads from the buffers any more."""
        if self.copied is not None:
            self.copied.synchronize()
            self.copied = None


class _Ahead:
    """Fills slots in a thread of its own, as far ahead of the consumer as there are free slots."""

    def __init__(self, fill: Callable[[Slot, int], None], slots: Sequence[Slot], batches: range) -> None:
        self._fill, self._batches = fill, batches
        self._free: queue.SimpleQueue[Slot | None] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[Slot | BaseException] = queue.SimpleQueue()
        self._stopped = False
        self.hangs = False
        """Whether the reading of a batch has been given up; its thread may never come back."""
        for slot in slots:
            self._free.put(slot)
        self._thread = threading.Thread(target=self._run, name="groundswell-prefetch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for batch in self._batches:
                slot = self._free.get()
                if slot is None or self._stopped:
                    return
                self._fill(slot, batch)
                self._ready.put(slot)
        except BaseException as error:
            self._ready.put(error)

    def take(self, batch: int, place: Callable[[int], str]) -> Slot:
        """The next filled slot, which is ``batch``'s (at ``place(batch)``); raises what the reading of it raised.

        Raises:
            FailureError: it has not come for a very long time.
        """
        # What still lies ready after the end may be overwritten by a later pass.
        got: Slot | BaseException = ended()
        if not self._stopped:
            (got,) = _patiently(self._wait, batch, place, self._give_up)
        if isinstance(got, BaseException):
            raise got
        return got

    def _wait(self, seconds: float) -> tuple[Slot | BaseException] | None:
        try:
            return (self._ready.get(timeout=seconds),)
        except queue.Empty:
            return None

    def _give_up(self) -> None:
        self.hangs = True

    def give_back(self, slot: Slot) -> None:
        """The consumer is done with ``slot``."""
        self._free.put(slot)

    def stop(self) -> None:
        """End the thread, after the batch it may be reading, and anyone's waiting for it."""
        self._stopped = True
        self._free.put(None)
        self._thread.join(PART_S if self.hangs else None)
        self._ready.put(ended())  # wakes a consumer that waits in another thread


class ThreadPass:
    """One pass over batches: the readers that share a batch, and the thread that works ahead (if any).

    Args:
        source: what is read.
        rows: of each batch of the epoch, shape (batches, batch_size).
        threads: readers that share a batch.
        place: says where a batch lies.
    """

    def __init__(self, source: Source, rows: NDArray[np.int64], threads: int, place: Callable[[int], str]) -> None:
        self._source, self._rows, self._place = source, rows, place
        self._pool, self._threads = pool_of(source), threads
        self._readers = ThreadPoolExecutor(threads, "groundswell-read") if threads > 1 else None
        self._ahead: _Ahead | None = None
        self.ended = False

    def _fill(self, finish: Callable[[Slot, int], None], names: Sequence[str], slot: Slot, batch: int) -> None:
        slot.wait()
        if self._pool is not None:
            self._pool.expect(self._rows[batch + 1:batch + 2].ravel())
        self._read(self._rows[batch], {name: slot.arrays[name] for name in names})
        finish(slot, batch)

    def _read(self, rows: NDArray[np.int64], out: Mapping[str, NDArray[Any]]) -> None:
        """Read a batch, its samples divided among the readers."""
        if self._readers is None:
            self._source.read(rows, out)
            return
        # With a pool some samples come from memory and some from a file: small parts keep all readers busy.
        shares = self._threads if self._pool is None else 4 * self._threads
        edges = np.linspace(0, len(rows), min(shares, len(rows)) + 1).astype(int)
        parts = [self._readers.submit(self._source.read, rows[a:b], {name: array[a:b] for name, array in out.items()})
                 for a, b in itertools.pairwise(edges)]
        for part in parts:
            part.result()

    def slots(self, finish: Callable[[Slot, int], None], ring: Sequence[Slot], batches: range) -> Iterator[Slot]:
        """Filled slots, batch after batch; ``finish`` adds what the source does not read.

        A ring of one slot is filled when asked, a larger one ahead.
        """
        fill = partial(self._fill, finish, list(self._source.fields))
        if len(ring) == 1:
            for batch in batches:
                if self.ended:
                    raise ended()
                fill(ring[0], batch)
                yield ring[0]
            return
        self._ahead = _Ahead(fill, ring, batches)
        for batch in batches:
            slot = self._ahead.take(batch, self._place)
            yield slot
            self._ahead.give_back(slot)

    def end(self) -> bool:
        """Leave no thread behind; true. May be called again."""
        if not self.ended:
            self.ended = True
            if self._ahead is not None:
                self._ahead.stop()
            if self._readers is not None:
                self._readers.shutdown(wait=self._ahead is None or not self._ahead.hangs, cancel_futures=True)
        return True


class WorkerPass:
    """One pass over batches that processes read; there is no thread in this one."""

    def __init__(self, workers: Workers, epoch: int, place: Callable[[int], str], why: dict[int, str]) -> None:
        self._workers, self._epoch, self._place, self._why = workers, epoch, place, why
        self._listening = threading.Lock()  # another thread may end the pass
        self._hangs = False
        self.ended = False

    def slots(self, finish: Callable[[Slot, int], None], ring: Sequence[Slot], batches: range) -> Iterator[Slot]:
        """Filled slots, batch after batch; ``finish`` adds what processes do not read."""
        self._workers.begin(self._epoch, batches.start)
        free, begun, coming = deque(range(len(ring))), deque[tuple[int, int]](), deque(batches)
        while coming or begun:
            # A buffer that is still being copied to the GPU waits for the next turn, unless it is all there is.
            while coming and free and (ring[free[0]].free or not begun):
                ring[free[0]].wait()
                self._workers.submit(free[0], coming[0])
                begun.append((free.popleft(), coming.popleft()))
            index, batch = begun.popleft()
            _patiently(partial(self._done, batch), batch, self._place, self._give_up)
            self._why |= self._workers.result(batch)
            finish(ring[index], batch)
            yield ring[index]
            if self.ended:
                raise ended()
            free.append(index)

    def _done(self, batch: int, seconds: float) -> bool | None:
        until = time.monotonic() + seconds
        while True:
            with self._listening:
                if self.ended:
                    raise ended()
                if self._workers.done(batch, min(0.2, max(0.0, until - time.monotonic()))):
                    return True
            if time.monotonic() >= until:
                return None

    def _give_up(self) -> None:
        self._hangs = True

    def end(self) -> bool:
        """Wait for what is being read; false if the processes are of no use any more. May be called again."""
        with self._listening:
            if self.ended:
                return True
            self.ended = True
            return self._workers.finish(PART_S if self._hangs else None)
