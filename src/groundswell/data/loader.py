"""data: the loader, which reads batches ahead into a small ring of reused buffers and hands them out as tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from groundswell.data.guard import UNREAD, GuardedSource
from groundswell.data.order import Order
from groundswell.data.passes import Slot, ThreadPass, WorkerPass
from groundswell.data.pool import pool_of
from groundswell.data.source import Field, Source
from groundswell.data.workers import Workers


class Loader:
    """Batches of a source in the order given, as tensors on a device.

    A ring of ``prefetch_batches + 1`` sets of buffers is allocated once and reused, so memory stays flat however long
    the table is: *a batch is valid until the next one is asked for*. On the CPU the tensors are the buffers; on a CUDA
    device the buffers are pinned (unless processes fill them) and copied without waiting. What is delivered depends on
    the source, the order and the columns alone, not on ``threads``, ``workers`` or ``prefetch_batches``. One pass at a
    time: starting one ends the one before.

    A :class:`groundswell.data.pool.BlockPool` as the source is told of each pass, so that it knows what comes next.

    Args:
        source: read by position, from several threads at once.
        order: of positions in the source.
        columns: further arrays by name, first axis the source's row (``{"label": table.labels()}``); numbers or bool.
        device: where batches are wanted.
        threads: readers that share the samples of a batch; 1 reads it in one piece.
        prefetch_batches: batches read ahead of the one in use; 0 reads when asked.
        workers: processes that read instead of threads; they stay from pass to pass, and end with this one. With 0,
            threads read.
        skip_unreadable: give a sample that cannot be read weight 0 and zeros, and mark it in a further field
            ``unread`` (uint8, 1); otherwise reading it raises.
        place: says where a row lies, for what is told of a batch that does not come.

    Raises:
        ValueError: a column's name or length, or the order, does not go with the source.
        TypeError: a field or column has a dtype that torch does not know.
    """

    def __init__(self, source: Source, order: Order, columns: Mapping[str, NDArray[Any]], *,
                 device: str | torch.device = "cpu", threads: int = 4, prefetch_batches: int = 2,
                 workers: int = 0, skip_unreadable: bool = False,
                 place: Callable[[int], str] = "row {}".format) -> None:
        if threads < 1 or prefetch_batches < 0 or workers < 0:
            raise ValueError("a loader needs at least one thread, and cannot prefetch fewer than 0 batches, nor have "
                             "fewer than 0 workers")
        if order.rows.min() < 0 or order.rows.max() >= len(source):
            raise ValueError(f"the order reaches outside the source of {len(source)} rows")
        # Every reading of samples goes through the guard: it tries again where the file system is to blame.
        self._source, self._order, self._place = GuardedSource(source, skip=skip_unreadable), order, place
        self._columns = {name: np.ascontiguousarray(column) for name, column in columns.items()}
        self._device = torch.device(device)
        self._threads, self._prefetch, self._count = threads, prefetch_batches, workers
        self._fields = dict(self._source.fields)
        for name, column in self._columns.items():
            if name in {*self._fields, "row", "weight"} or len(column) != len(source):
                raise ValueError(f"the column '{name}' ({len(column)} rows) does not go with a source of "
                                 f"{len(source)} rows that delivers {', '.join(self._fields)}")
            self._fields[name] = Field(column.shape[1:], column.dtype)
        self._fields |= {"row": Field((), np.int64), "weight": Field((), np.float32)}
        for field in self._fields.values():
            torch.from_numpy(np.empty(0, field.dtype))  # says at once what torch could not take later
        self._ring: list[Slot] = []
        self._pass: ThreadPass | WorkerPass | None = None
        self._workers: Workers | None = None

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

        def finish(slot: Slot, batch: int) -> None:
            for name, column in self._columns.items():
                np.take(column, rows[batch], axis=0, out=slot.arrays[name], mode="clip")
            slot.arrays["row"][:] = rows[batch]
            slot.arrays["weight"][:] = weight[batch]
            if UNREAD in slot.arrays:
                slot.arrays["weight"][slot.arrays[UNREAD] != 0] = 0

        ring = self._buffers()
        passing = self._pass = self._begun(epoch, rows, batches)
        try:
            for slot in passing.slots(finish, ring, batches):
                yield slot.to(self._device)
        finally:
            self._end(passing)

    def _begun(self, epoch: int, rows: NDArray[np.int64], batches: range) -> ThreadPass | WorkerPass:
        def place(batch: int) -> str:
            return self._place(int(rows[batch][0]))

        if self._workers is not None:
            return WorkerPass(self._workers, epoch, place, self._source.reasons)
        pool = pool_of(self._source)
        if pool is not None:
            pool.plan(rows[batches.start:])
        return ThreadPass(self._source, rows, self._threads, place)

    def _buffers(self) -> list[Slot]:
        if not self._ring:
            slots, pinned = self._prefetch + 1, self._device.type == "cuda"
            if self._count:
                self._workers = Workers(self._source, self._order, slots, self._count)
            shared = self._workers.arrays if self._workers is not None else [{}] * slots
            self._ring = [Slot(self._fields, self._order.batch_size, pinned, arrays) for arrays in shared]
        return self._ring

    def _end_pass(self) -> None:
        if self._pass is not None:
            self._end(self._pass)
            self._pass = None

    def _end(self, passing: ThreadPass | WorkerPass) -> None:
        if not passing.end():
            self._dismiss()

    def _dismiss(self) -> None:
        """Let processes go, and the buffers that they shared."""
        if self._workers is not None:
            workers, self._workers, self._ring = self._workers, None, []
            workers.close()

    def close(self) -> None:
        """End a pass that is under way, and let go of processes, of the buffers and of the source's files."""
        self._end_pass()
        self._dismiss()
        self._ring = []
        self._source.close()
