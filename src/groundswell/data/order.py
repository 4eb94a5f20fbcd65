"""data: the order in which samples are seen, a pure function of (seed, epoch) that can be entered anywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.seeds import derive_seed


def permutations(length: int, first: int, count: int, *seed: int | str) -> NDArray[np.int64]:
    """Permutations ``first`` to ``first + count - 1`` of an endless sequence that is a pure function of ``seed``.

    They sort raw 64-bit words of PCG64, which can be entered anywhere. numpy promises those words for ever, whereas the
    stream of ``Generator.permutation`` may change with any of its releases.

    Returns:
        int64, shape (count, length); each row a permutation of ``range(length)``.
    """
    words = np.random.PCG64(derive_seed(*seed)).advance(first * length).random_raw(count * length)
    return np.argsort(words.reshape(count, length), axis=1, kind="stable").astype(np.int64, copy=False)


class Order:
    """Which rows make up which batch, for each epoch and each process.

    An epoch's rows are dealt to the ``world`` processes one at a time, so that no row reaches two of them, and cut
    into batches. Every process has the same number of batches. Where a process runs out of rows, its last batch is
    filled up with rows of the same epoch at weight 0; with more than one process such a batch can be filling alone.

    With ``skip_single`` a last batch that would hold one row and filling gets weight 0 all over, since there are no
    statistics of one sample to normalise by. The permutation of another epoch brings that row back. It is looked at in
    each process by itself, and never done to the only batch of an epoch nor where every batch is of one row.

    With ``balance`` an epoch draws every class ``ceil(n / classes)`` times. Each class has an endless sequence of its
    own, permutation after permutation of its rows, and an epoch takes the next stretch of it: rows of a small class
    come back equally often (to within one), and rows of a large class that one epoch leaves out come in a later one.

    Args:
        rows: positions in the source, shape (n,), each at most once.
        batch_size: samples in a batch, per process.
        seed: of the order.
        shuffle: a new permutation each epoch; otherwise ``rows`` as given (validation, prediction).
        balance: class of each of ``rows``, shape (n,), none negative; draws the classes equally often.
        rank: this process.
        world: number of processes.
        skip_single: leave out a row that would be alone in a process's last batch.
        repeats: how often an epoch sees each of ``rows``, shape (n,), 1 or more; not together with balance.

    Raises:
        InputError: there are no rows, or a row to be balanced has no class.
        ValueError: the arguments contradict one another.
    """

    def __init__(self, rows: NDArray[np.int64], batch_size: int, seed: int, shuffle: bool = True,
                 balance: NDArray[np.int64] | None = None, rank: int = 0, world: int = 1,
                 skip_single: bool = False, repeats: NDArray[np.int64] | None = None) -> None:
        rows = np.array(rows, dtype=np.int64)
        if rows.ndim != 1 or batch_size < 1 or not 0 <= rank < world:
            raise ValueError(f"no order of rows {rows.shape} in batches of {batch_size} for process {rank} of {world}")
        if not len(rows):
            raise InputError("There are no samples to load",
                             fix="Look at the labels and the split: a part of it is empty")
        if len(np.unique(rows)) != len(rows):
            raise ValueError("a row is in the order twice")
        if repeats is not None:
            if repeats.shape != rows.shape or balance is not None or (repeats < 1).any():
                raise ValueError("repeats are whole numbers from 1, one for each row, and do not go with balance")
            rows = np.repeat(rows, repeats)
        if skip_single and not shuffle:
            raise ValueError("skipping a single row needs shuffle, or it would be the same one in every epoch")
        self.rows = rows
        self.batch_size, self.seed, self.shuffle, self.rank, self.world = batch_size, seed, shuffle, rank, world
        self._skips = skip_single and batch_size > 1
        self._members = None if balance is None else self._by_class(np.asarray(balance))
        if self._members is None:
            self._draws, self._total = 0, len(rows)
        else:
            self._draws = -(-len(rows) // len(self._members))
            self._total = self._draws * len(self._members)

    def _by_class(self, balance: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
        if not self.shuffle or balance.shape != self.rows.shape:
            raise ValueError("balancing needs shuffle and one class for each row")
        if (balance < 0).any():
            raise InputError(f"{int((balance < 0).sum())} of {len(balance)} samples to be balanced have no label",
                             fix="Leave samples without a label out of training")
        return {int(label): self.rows[balance == label] for label in np.unique(balance)}

    @property
    def batches(self) -> int:
        """Batches in an epoch; the same for every process."""
        return -(-self._total // (self.batch_size * self.world))

    def epoch(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows and weights of this process in one epoch.

        Returns:
            rows, int64, shape (batches, batch_size); and weight, float32, same shape: 1, or 0 for filling.
        """
        drawn = self._draw(epoch)
        places = self.batches * self.batch_size * self.world
        rows = np.resize(drawn, places)[self.rank::self.world]
        weight = (np.arange(places) < len(drawn))[self.rank::self.world].astype(np.float32)
        shape = (self.batches, self.batch_size)
        rows, weight = rows.reshape(shape), weight.reshape(shape)
        if self._skips and self.batches > 1 and weight[-1].sum() == 1:
            weight[-1] = 0
        return rows, weight

    def _draw(self, epoch: int) -> NDArray[np.int64]:
        if not self.shuffle:
            return self.rows
        if self._members is None:
            drawn, name = self.rows, "order"
        else:
            drawn, name = np.concatenate([self._stretch(label, epoch) for label in self._members]), "balanced order"
        chosen: NDArray[np.int64] = drawn[permutations(len(drawn), epoch, 1, self.seed, name)[0]]
        return chosen

    def _stretch(self, label: int, epoch: int) -> NDArray[np.int64]:
        # The epoch's stretch of one class's endless sequence of permutations.
        assert self._members is not None
        members = self._members[label]
        start = epoch * self._draws
        first, last = start // len(members), (start + self._draws - 1) // len(members)
        turns = permutations(len(members), first, last - first + 1, self.seed, "class order", label)
        offset = start - first * len(members)
        chosen: NDArray[np.int64] = members[turns.ravel()[offset:offset + self._draws]]
        return chosen
