"""data: the loader, which reads batches ahead into a small ring of reused buffers and hands them out as tensors."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from groundswell.core.errors import FailureError
from groundswell.core.progress import say
from groundswell.data.guard import UNREAD, GuardedSource
from groundswell.data.order import Order
from groundswell.data.pool import pool_of
from groundswell.data.source import Field, Source

TELL_S = 60.0
"""So long a batch may let itself be waited for before that is told; told again whenever it has been twice as long."""
GIVE_UP_S = 1800.0
"""So long before waiting for a batch ends with an error."""
PART_S = 5.0
"""So long a reading thread that hangs is waited for when a pass ends."""


def _ended() -> RuntimeError:
    return RuntimeError("this pass over the loader was ended by close() or by a later pass")


class _Slot:
    """One batch's buffers: tensors for the consumer and numpy views of the same memory for the source."""

    def __init__(self, fields: Mapping[str, Field], samples: int, pinned: bool) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        for name, field in fields.items():
            # Strides are kept by all of these, so a field that lies turned round in memory stays so on the device.
            tensor = torch.from_numpy(field.allocate(samples))
            self.tensors[name] = tensor.pin_memory() if pinned else tensor
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

    def wait(self) -> None:
        """Return once no copy reads from the buffers any more."""
        if self.copied is not None:
            self.copied.synchronize()
            self.copied = None


class _Ahead:
    """Fills slots in a thread of its own, as far ahead of the consumer as there are free slots."""

    def __init__(self, fill: Callable[[_Slot, int], None], slots: Sequence[_Slot], batches: range) -> None:
        self._fill, self._batches = fill, batches
        self._free: queue.SimpleQueue[_Slot | None] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[_Slot | BaseException] = queue.SimpleQueue()
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

    def take(self, batch: int, place: Callable[[int], str]) -> _Slot:
        """The next filled slot, which is ``batch``'s (at ``place(batch)``); raises what the reading of it raised.

        Raises:
            FailureError: it has not come for a very long time.
        """
        # What still lies ready after the end may be overwritten by a later pass.
        got = _ended() if self._stopped else self._patiently(batch, place)
        if isinstance(got, BaseException):
            raise got
        return got

    def _patiently(self, batch: int, place: Callable[[int], str]) -> _Slot | BaseException:
        waited_s, wait_s = 0.0, TELL_S
        while True:
            try:
                return self._ready.get(timeout=wait_s)
            except queue.Empty:
                waited_s += wait_s
            if waited_s >= GIVE_UP_S:
                self.hangs = True
                raise FailureError(f"Nothing has come of reading batch {batch} for {waited_s:.0f} s",
                                   where=place(batch), fix="Look at the disk or the network file system, then resume")
            say(f"Still waiting for batch {batch}, for {waited_s:.0f} s now: {place(batch)}")
            wait_s = min(waited_s, GIVE_UP_S - waited_s)

    def give_back(self, slot: _Slot) -> None:
        """The consumer is done with ``slot``."""
        self._free.put(slot)

    def stop(self) -> None:
        """End the thread, after the batch it may be reading, and anyone's waiting for it."""
        self._stopped = True
        self._free.put(None)
        self._thread.join(PART_S if self.hangs else None)
        self._ready.put(_ended())  # wakes a consumer that waits in another thread


class _Pass:
    """One pass over batches: the readers that share a batch, and the thread that works ahead (if any)."""

    def __init__(self, source: Source, threads: int, place: Callable[[int], str]) -> None:
        self._source, self._place = source, place
        self._threads, self._pool = threads, pool_of(source)
        self._readers = ThreadPoolExecutor(threads, "groundswell-read") if threads > 1 else None
        self._ahead: _Ahead | None = None
        self.ended = False

    def read(self, rows: NDArray[np.int64], out: Mapping[str, NDArray[Any]]) -> None:
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

    def slots(self, fill: Callable[[_Slot, int], None], ring: Sequence[_Slot], batches: range) -> Iterator[_Slot]:
        """Filled slots, batch after batch. A ring of one slot is filled when asked, a larger one ahead."""
        if len(ring) == 1:
            for batch in batches:
                if self.ended:
                    raise _ended()
                fill(ring[0], batch)
                yield ring[0]
            return
        self._ahead = _Ahead(fill, ring, batches)
        for batch in batches:
            slot = self._ahead.take(batch, self._place)
            yield slot
            self._ahead.give_back(slot)

    def end(self) -> None:
        """Leave no thread behind. May be called again."""
        if self.ended:
            return
        self.ended = True
        if self._ahead is not None:
            self._ahead.stop()
        if self._readers is not None:
            self._readers.shutdown(wait=self._ahead is None or not self._ahead.hangs, cancel_futures=True)


class Loader:
    """Batches of a source in the order given, as tensors on a device.

    A ring of ``prefetch_batches + 1`` sets of buffers is allocated once and reused, so memory stays flat however long
    the table is: *a batch is valid until the next one is asked for*. On the CPU the tensors are the buffers; on a CUDA
    device the buffers are pinned and copied without waiting. What is delivered depends on the source, the order and
    the columns alone, not on ``threads`` or ``prefetch_batches``. One pass at a time: starting one ends the one before.

    Args:
        source: read by position, from several threads at once.
        order: of positions in the source.
        columns: further arrays by name, first axis the source's row (``{"label": table.labels()}``); numbers or bool.
        device: where batches are wanted.
        threads: readers that share the samples of a batch; 1 reads it in one piece.
        prefetch_batches: batches read ahead of the one in use; 0 reads when asked.
        skip_unreadable: give a sample that cannot be read weight 0 and zeros, and mark it in a further field
            ``unread`` (uint8, 1); otherwise reading it raises.
        place: says where a row lies, for what is told of a batch that does not come.

    Raises:
        ValueError: a column's name or length, or the order, does not go with the source.
        TypeError: a field or column has a dtype that torch does not know.
    """

    def __init__(self, source: Source, order: Order, columns: Mapping[str, NDArray[Any]], *,
                 device: str | torch.device = "cpu", threads: int = 4, prefetch_batches: int = 2,
                 skip_unreadable: bool = False, place: Callable[[int], str] = "row {}".format) -> None:
        if threads < 1 or prefetch_batches < 0:
            raise ValueError("a loader needs at least one thread, and cannot prefetch fewer than 0 batches")
        if order.rows.min() < 0 or order.rows.max() >= len(source):
            raise ValueError(f"the order reaches outside the source of {len(source)} rows")
        # Every reading of samples goes through the guard: it tries again where the file system is to blame.
        self._source, self._order, self._place = GuardedSource(source, skip=skip_unreadable), order, place
        self._columns = {name: np.ascontiguousarray(column) for name, column in columns.items()}
        self._device = torch.device(device)
        self._threads, self._prefetch = threads, prefetch_batches
        self._fields = dict(self._source.fields)
        for name, column in self._columns.items():
            if name in {*self._fields, "row", "weight"} or len(column) != len(source):
                raise ValueError(f"the column '{name}' ({len(column)} rows) does not go with a source of "
                                 f"{len(source)} rows that delivers {', '.join(self._fields)}")
            self._fields[name] = Field(column.shape[1:], column.dtype)
        self._fields |= {"row": Field((), np.int64), "weight": Field((), np.float32)}
        for field in self._fields.values():
            torch.from_numpy(np.empty(0, field.dtype))  # says at once what torch could not take later
        self._ring: list[_Slot] = []
        self._pass: _Pass | None = None

    @property
    def batches(self) -> int:
        """Batches in an epoch."""
        return self._order.batches

    def why_unread(self, row: int) -> str:
        """Why the sample at ``row`` could not be read, where that is known; otherwise nothing."""
        return self._source.reasons.get(row, "")

    def iterate(self, epoch: int, start_batch: int = 0) -> Iterator[dict[str, torch.Tensor]]:
        """Batches of one epoch from ``start_batch`` on; batches before it are not read.

        Yields:
            the source's fields and the columns, each (batch, ...), with ``row`` (int64, position in the source) and
            ``weight`` (float32, 0 for filling), each (batch,).

        Raises:
            ValueError: ``start_batch`` is outside the epoch.
            Exception: whatever reading a sample raised, unchanged.
        """
        if not 0 <= start_batch <= self.batches:
            raise ValueError(f"batch {start_batch} is outside an epoch of {self.batches}")
        return self._iterate(epoch, range(start_batch, self.batches))

    def _iterate(self, epoch: int, batches: range) -> Iterator[dict[str, torch.Tensor]]:
        self._end_pass()
        rows, weight = self._order.epoch(epoch)
        names = list(self._source.fields)
        reading = self._pass = _Pass(self._source, self._threads, lambda batch: self._place(int(rows[batch][0])))
        pool = pool_of(self._source)
        if pool is not None:
            pool.plan(rows[batches.start:])

        def fill(slot: _Slot, batch: int) -> None:
            slot.wait()
            if pool is not None:
                pool.expect(rows[batch + 1:batch + 2].ravel())
            reading.read(rows[batch], {name: slot.arrays[name] for name in names})
            for name, column in self._columns.items():
                np.take(column, rows[batch], axis=0, out=slot.arrays[name], mode="clip")
            slot.arrays["row"][:] = rows[batch]
            slot.arrays["weight"][:] = weight[batch]
            if UNREAD in slot.arrays:
                slot.arrays["weight"][slot.arrays[UNREAD] != 0] = 0

        try:
            for slot in reading.slots(fill, self._buffers(), batches):
                yield slot.to(self._device)
        finally:
            reading.end()

    def _buffers(self) -> list[_Slot]:
        if not self._ring:
            pinned = self._device.type == "cuda"
            self._ring = [_Slot(self._fields, self._order.batch_size, pinned) for _ in range(self._prefetch + 1)]
        return self._ring

    def _end_pass(self) -> None:
        if self._pass is not None:
            self._pass.end()
            self._pass = None

    def close(self) -> None:
        """End a pass that is under way, and let go of the buffers and of the source's files."""
        self._end_pass()
        self._ring = []
        self._source.close()
