"""pipelines: from an archive and rows of its table to batches: which order they come in, and how they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.guard import in_words, place_of
from groundswell.data.loader import Loader
from groundswell.data.order import BlockOrder, Order
from groundswell.data.pool import BlockPool, BlockSource
from groundswell.data.source import Source

if TYPE_CHECKING:
    from groundswell.pipelines.archive import Archive
    from groundswell.pipelines.workflow import Workflow

TRAINING_SHARE = 0.75
"""Part of the pool's memory that training has while validation has the rest."""


def place_in(archive: Archive, row: int) -> dict[str, Any]:
    """Where the sample at ``row`` of the archive's table lies, its file by path where the records know it."""
    place = place_of(archive.table, row)
    if "record_index" in archive.table.frame.columns:
        record = archive.records[int(archive.table.column("record_index").iloc[row])]
        place |= {"path": record["path"]} if "path" in record else {}
    return place


def order_facts(workflow: Workflow, recipe: Any, archive: Archive) -> dict[str, Any]:
    """What the order of training follows from beside the recipe of training and the data; empty where samples are drawn
    one by one. A fit can only be resumed with the same."""
    loader = recipe.loader
    if not workflow.read_once(recipe, archive):
        return {}
    return {"loader.block_windows": loader.block_windows, "loader.pool_blocks": loader.pool_blocks}


def training_loader(workflow: Workflow, recipe: Any, archive: Archive, rows: NDArray[np.int64],
                    device: torch.device | str, *, rank: int, world: int) -> Loader:
    """Batches of one process's share of the training ``rows``: shuffled, balanced or repeated as the recipe says."""
    train, labels = recipe.train, archive.table.labels()[rows]
    more: dict[str, Any] = {"rank": rank, "world": world, "skip_single": workflow.skip_single,
                            "repeats": workflow.repeats(recipe, archive, rows)}
    source = workflow.source(recipe, archive, training=True)
    if not workflow.read_once(recipe, archive):
        order = Order(rows, train.batch_size, train.seed, balance=labels if train.balanced_sampling else None, **more)
        return _loader(recipe, archive, source, order, device)
    pool = _pool(recipe, source, rows, TRAINING_SHARE)
    order = BlockOrder(rows, train.batch_size, train.seed, pool.blocks.of_row[rows], recipe.loader.pool_blocks, **more)
    return _loader(recipe, archive, pool, order, device)


def plain_loader(workflow: Workflow, recipe: Any, archive: Archive, rows: NDArray[np.int64],
                 device: torch.device | str, *, rank: int = 0, world: int = 1, share: float = 1.0) -> Loader:
    """Batches of one process's share of ``rows`` in their order, as they are predicted.

    Args:
        workflow: of the pipeline.
        recipe: of the run.
        archive: of the run.
        rows: of the archive's table.
        device: where batches are wanted.
        rank: this process.
        world: number of processes.
        share: of the pool's memory.
    """
    order = Order(rows, recipe.train.batch_size, recipe.train.seed, shuffle=False, rank=rank, world=world)
    source = workflow.source(recipe, archive, training=False)
    if workflow.read_once(recipe, archive) and len(rows[rank::world]):
        source = _pool(recipe, source, rows[rank::world], share)
    return _loader(recipe, archive, source, order, device)


def _pool(recipe: Any, source: Source, rows: NDArray[np.int64], share: float) -> BlockPool:
    assert isinstance(source, BlockSource)
    return BlockPool(source, source.blocks(rows, recipe.loader.block_windows),
                     int(share * recipe.loader.pool_mb * 2**20))


def _loader(recipe: Any, archive: Archive, source: Source, order: Order, device: torch.device | str) -> Loader:
    return Loader(source, order, {"label": archive.table.labels()}, device=device, threads=recipe.loader.threads,
                  prefetch_batches=recipe.loader.prefetch_batches, workers=recipe.loader.workers,
                  skip_unreadable=recipe.loader.bad_windows == "skip",
                  place=lambda row: in_words(place_in(archive, row)))


def small_loader(workflow: Workflow, recipe: Any, archive: Archive, rows: NDArray[np.int64]) -> Loader:
    """One batch of two ``rows``, read here and now, to see whether everything goes together."""
    order = Order(rows, 2, recipe.train.seed, shuffle=False)
    return Loader(workflow.source(recipe, archive, training=False), order, {"label": archive.table.labels()}, threads=1,
                  prefetch_batches=0, skip_unreadable=recipe.loader.bad_windows == "skip",
                  place=lambda row: in_words(place_in(archive, row)))


def refuse_read_once(recipe: Any, why: str) -> bool:
    """False; where the recipe insists on reading samples once, an error that says why that cannot be.

    Raises:
        InputError: it does.
    """
    if recipe.loader.read_once == "always":
        raise InputError(f"Samples cannot be read in blocks: {why}", where="loader.read_once",
                         fix="Set loader.read_once=never, or leave it at auto")
    return False


def pool_in_words(workflow: Workflow, recipe: Any, archive: Archive, rows: NDArray[np.int64]) -> list[str]:
    """What reading in blocks means for an epoch of the training ``rows``, in sentences; none where it is not done."""
    if not workflow.read_once(recipe, archive):
        return []
    source = workflow.source(recipe, archive, training=True)
    pool = _pool(recipe, source, rows, TRAINING_SHARE)
    source.close()
    size_bytes, loader = pool.blocks.size_bytes, recipe.loader
    wanted = float(np.sort(size_bytes)[-loader.pool_blocks:].sum()) / 2**20
    sample = sum(np.dtype(f.dtype).itemsize * int(np.prod(f.shape)) for f in source.fields.values())
    lines = [f"Reading: {len(rows)} samples in {len(pool.blocks)} blocks, each read once an epoch, "
             f"{size_bytes.sum() / (sample * len(rows)):.2f} times the bytes of single samples; a pool of up to "
             f"{min(wanted, loader.pool_mb * TRAINING_SHARE):.0f} MiB keeps blocks until they are done with."]
    if wanted > loader.pool_mb * TRAINING_SHARE:
        lines.append(f"The pool is small: {loader.pool_blocks} blocks would take {wanted:.0f} MiB, and "
                     f"loader.pool_mb={loader.pool_mb} leaves {loader.pool_mb * TRAINING_SHARE:.0f} to training; some "
                     "blocks will be read again.")
    return lines
