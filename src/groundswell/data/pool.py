"""data: the pool, which keeps blocks of neighbouring samples for as long as the order wants something of them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.guard import patiently
from groundswell.data.source import Field, Source

WASTE = 1.25
"""A buffer is used for a block if it is at most so many times as large as need be."""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Blocks:
    """Rows of a source in groups of neighbours, each of which is read in one piece.

    Attributes:
        of_row: int64, shape (rows of the source,): block of each row, -1 for those that are in none.
        where: int64, shape (blocks, k): what the source finds a block by; nobody else's business.
        size_bytes: int64, shape (blocks,): memory that a block needs.
    """

    of_row: NDArray[np.int64]
    where: NDArray[np.int64]
    size_bytes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.size_bytes)


@runtime_checkable
class BlockSource(Source, Protocol):
    """A source whose rows share what is read for them, so that it pays to read some together."""

    def blocks(self, rows: NDArray[np.int64], most: int) -> Blocks:
        """``rows`` in blocks of at most ``most`` neighbours; the same whatever machine it is asked on."""
        ...

    def read_block(self, blocks: Blocks, block: int, buffer: Bytes) -> None:
        """Read one block into ``buffer``, which has the block's size.

        Raises:
            InputError: it cannot be read.
        """
        ...

    def take(self, blocks: Blocks, block: int, buffer: Bytes, row: int, place: int,
             out: Mapping[str, NDArray[Any]]) -> None:
        """Deliver ``row`` at ``place`` of ``out`` from its block in ``buffer``: exactly what :meth:`read` would."""
        ...

    def advise(self, blocks: Blocks, block: int, needed: bool) -> bool:
        """Tell the system that a block's bytes are needed soon, or no more; whether anything was told."""
        ...


@dataclass(eq=False)
class _Kept:
    """A block in the pool: its memory, who works with it now, and whether it has been read."""

    buffer: Bytes
    users: int = 1
    read: threading.Event = field(default_factory=threading.Event)
    failed: bool = False


class BlockPool:
    """A source that reads blocks once, keeps them within a budget of memory, and delivers rows out of them.

    What is delivered is what the source would deliver, whatever the budget. A block is read by one thread, while others
    that want it wait. When room is needed, what the rest of the pass will not want again makes way first, then what it
    will want last; a block that made way too early is read again. Buffers are used again. Where all blocks have room
    they stay from pass to pass. A block that cannot be read is given up for the pass, and its rows are read one by one,
    so that only those that are damaged themselves are refused.

    Args:
        source: what is read.
        blocks: its rows in blocks; rows in none are read straight from the source.
        budget_bytes: memory for blocks. Each thread can hold one block, even where there is no room for it.
    """

    def __init__(self, source: BlockSource, blocks: Blocks, budget_bytes: int) -> None:
        self.inner, self.blocks, self._budget = source, blocks, int(budget_bytes)
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._free: list[Bytes] = []
        self._broken: set[int] = set()
        self._stay = int(self.blocks.size_bytes.sum()) <= self._budget
        self.held_bytes = 0
        """Memory of all buffers."""
        self.reads, self.read_bytes = 0, 0
        self._known = np.zeros(len(self.blocks), bool)  # the system most likely has these in its own memory
        self._forget_plan()

    def _forget_plan(self) -> None:
        # Rows of each block that the pass has still to deliver, and at which steps of the pass, block after block.
        self._left = np.zeros(len(self.blocks), np.int64)
        self._ends = np.zeros(len(self.blocks), np.int64)
        self._steps = np.zeros(0, np.int64)

    def __getstate__(self) -> dict[str, Any]:
        return {"inner": self.inner, "blocks": self.blocks, "_budget": self._budget}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    @property
    def fields(self) -> Mapping[str, Field]:
        """Those of the source."""
        return self.inner.fields

    def __len__(self) -> int:
        return len(self.inner)

    def shared_by(self, workers: int) -> None:
        """Take one of ``workers`` equal shares of the budget."""
        self._budget //= workers
        self._reset()

    def plan(self, rows: NDArray[np.int64]) -> None:
        """Say which rows the pass that begins now will read, in their order; nobody may be reading."""
        found = self.blocks.of_row[rows.ravel()]
        inside = np.flatnonzero(found >= 0)
        order = np.argsort(found[inside], kind="stable")
        with self._lock:
            self._steps = inside[order]
            self._left = np.bincount(found[inside], minlength=len(self.blocks))
            self._ends = np.cumsum(self._left)
            self._broken.clear()
            for block in [b for b in self._kept if not self._wanted(b)]:
                self._let_go(block)

    def expect(self, rows: NDArray[np.int64]) -> None:
        """Say which rows come next, so that the system can begin to read what is not here yet."""
        blocks = np.unique(self.blocks.of_row[rows])
        with self._lock:
            absent = [b for b in blocks.tolist()
                      if b >= 0 and not (self._known[b] or b in self._kept or b in self._broken)]
        for block in absent:
            self.inner.advise(self.blocks, block, True)

    def read(self, rows: NDArray[np.int64], out: Mapping[str, NDArray[Any]]) -> None:
        """See :meth:`groundswell.data.source.Source.read`."""
        rows = np.asarray(rows, np.int64)
        found = self.blocks.of_row[rows]
        places: dict[int, list[int]] = {}
        for place, block in enumerate(found.tolist()):
            places.setdefault(block, []).append(place)
        with self._lock:  # what is here first: others may be reading the rest meanwhile
            turn = sorted(places, key=lambda block: block not in self._kept)
        for block in turn:
            self._deliver(block, rows, places[block], out)

    def _deliver(self, block: int, rows: NDArray[np.int64], places: list[int],
                 out: Mapping[str, NDArray[Any]]) -> None:
        kept = self._acquire(block) if block >= 0 else None
        if kept is None:
            for place in places:
                self.inner.read(rows[place:place + 1], {name: array[place:place + 1] for name, array in out.items()})
            return
        try:
            for place in places:
                self.inner.take(self.blocks, block, kept.buffer, int(rows[place]), place, out)
        finally:
            self._release(block, kept, len(places))

    def _acquire(self, block: int) -> _Kept | None:
        """The block, read; ``None`` if it cannot be."""
        while True:
            with self._lock:
                if block in self._broken:
                    return None
                kept = self._kept.get(block)
                if kept is None:
                    mine = self._kept[block] = _Kept(self._room(int(self.blocks.size_bytes[block])))
                    break
                kept.users += 1
                self._kept.move_to_end(block)
            kept.read.wait()
            if not kept.failed:
                return kept
        try:
            patiently(lambda: self.inner.read_block(self.blocks, block, self._part(block, mine)), self.inner.close)
        except BaseException as error:
            self._give_up(block, mine, broken=isinstance(error, InputError))
            if isinstance(error, InputError):
                return None
            raise
        with self._lock:
            self._known[block] = True
            self.reads, self.read_bytes = self.reads + 1, self.read_bytes + int(self.blocks.size_bytes[block])
        mine.read.set()
        return mine

    def _part(self, block: int, kept: _Kept) -> Bytes:
        return kept.buffer[:int(self.blocks.size_bytes[block])]

    def _give_up(self, block: int, kept: _Kept, *, broken: bool) -> None:
        with self._lock:
            self._kept.pop(block, None)
            self._free.append(kept.buffer)
            if broken:
                self._broken.add(block)
        kept.failed = True
        kept.read.set()

    def _release(self, block: int, kept: _Kept, rows: int) -> None:
        with self._lock:
            kept.users -= 1
            self._left[block] = max(0, self._left[block] - rows)
            done = not self._left[block] and not kept.users and not self._wanted(block)
            if done and block in self._kept:
                self._let_go(block)
        if done and self.inner.advise(self.blocks, block, False):
            self._known[block] = False

    def _wanted(self, block: int) -> bool:
        # Without a plan nobody knows, and a block stays until its room is needed.
        return self._stay or bool(self._left[block]) or not len(self._steps)

    def _next(self, block: int) -> int:
        """The step of the pass at which a block is wanted again; past the end if never."""
        left = int(self._left[block])
        return int(self._steps[self._ends[block] - left]) if left else len(self.blocks.of_row) + len(self._steps)

    def _let_go(self, block: int) -> None:
        self._free.append(self._kept.pop(block).buffer)

    def _room(self, size: int) -> Bytes:
        """A buffer for ``size`` bytes, within the budget unless every other block is in use."""
        while True:
            fitting = [k for k, buffer in enumerate(self._free) if size <= len(buffer) <= max(WASTE * size, 4096)]
            if fitting:
                return self._free.pop(min(fitting, key=lambda k: len(self._free[k])))
            if self.held_bytes + size <= self._budget:
                break
            if self._free:
                self.held_bytes -= len(self._free.pop())
                continue
            idle = [b for b, kept in self._kept.items() if not kept.users]
            if not idle:
                break
            self._let_go(max(idle, key=self._next))  # of several alike the first, which was used longest ago
        self.held_bytes += size
        return np.empty(size, np.uint8)

    def close(self) -> None:
        """Let go of the source's files and of all blocks that nobody uses now."""
        with self._lock:
            for block in [b for b, kept in self._kept.items() if not kept.users]:
                self._let_go(block)
            self.held_bytes -= sum(map(len, self._free))
            self._free.clear()
        self.inner.close()


def pool_of(source: Any) -> BlockPool | None:
    """The pool that a source is or is wrapped about, if any."""
    while source is not None and not isinstance(source, BlockPool):
        source = getattr(source, "inner", None)
    return source
