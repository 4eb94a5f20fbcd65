"""biodiversity: the means of full vision vectors over time and space, as tables of their own."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import BusyError, FailureError, InputError
from groundswell.core.files import free_gib
from groundswell.core.locks import held
from groundswell.core.progress import progress
from groundswell.data.embeddings.manifest import TableManifest
from groundswell.data.embeddings.reading import TableReader
from groundswell.data.embeddings.spec import TableSpec
from groundswell.data.embeddings.store import EmbeddingStore
from groundswell.data.embeddings.writing import TableWriter

SOURCE = "vision"
TABLES = ("vision_mean", "vision_temporal", "vision_grid")
CELLS = 3
"""Cells of the grid on an edge of a frame."""
BLOCK_BYTES = 128 << 20
"""Full vectors in memory at once, as float32; another such block is read ahead."""
PART_BYTES = 128 << 20
"""Length of a part of the larger tables."""
_GIB = 2**30


def pool_store(store: Path, tables: Sequence[str] = TABLES, dtype: str = "float32") -> list[str]:
    """Make pooled tables of a store's ``vision`` vectors in one reading of them, from the first byte to the last.

    A vector (time, height, width, feature) is averaged over all but the feature (``vision_mean``: 1408), over height
    and width (``vision_temporal``: 8, 1408), or over the patches of each of 3 x 3 cells (``vision_grid``: 8, 3, 3,
    1408). Sums are of float64; what storing them in ``dtype`` changed stands in the table's manifest. A missing vector
    is missing in the pooled tables too.

    A table appears when it is whole; until then it is in ``.pooling`` in the store's folder. One that is there already
    and was made of the same vectors is left as it is.

    Args:
        store: the store's folder.
        tables: some of :data:`TABLES`.
        dtype: of the new tables: float32, float16 or bfloat16.

    Returns:
        Lines for a person.

    Raises:
        InputError: there is no ``vision`` table, its vectors have no such axes, a part does not have its checksum, a
            table is unknown, or is there and was made of other vectors or in another type.
        BusyError: the store is being pooled already.
        FailureError: the disk is too small.
    """
    opened = EmbeddingStore.open(Path(store))
    if SOURCE not in opened.tables:
        raise InputError("The store has no full vision vectors to pool", where=store,
                         fix="Import a data set that has them")
    specs = {name: TableSpec(name, shape, dtype) for name, shape in
             _shapes(opened.tables[SOURCE].shape, tables, opened.path).items()}
    made = {"pooled_from": SOURCE, "pooled_fingerprint": opened.fingerprint(SOURCE)}
    there = [name for name in specs if name in opened.tables]
    for name in there:
        facts = opened.manifest(name).facts
        if opened.tables[name] != specs[name] or any(facts.get(key) != value for key, value in made.items()):
            raise InputError(f"The table '{name}' is there already, made of other vectors or in another type",
                             where=opened.path, fix=f"Name the tables to pool, or delete the folder '{name}' first")
    left = [spec for name, spec in specs.items() if name not in there]
    _room(opened, left)
    if left:
        with _aside(opened.path) as folder:
            manifests = _pool(opened, EmbeddingStore.create(folder / "store"), left, made)
            for spec in left:
                os.replace(folder / "store" / spec.name, opened.path / spec.name)
    opened.close()
    return [*(f"{name}: is there already" for name in there), *map(_line, manifests if left else ())]


def _shapes(full: tuple[int, ...], tables: Sequence[str], where: Path) -> dict[str, tuple[int, ...]]:
    unknown = [name for name in tables if name not in TABLES]
    if unknown or not tables:
        raise InputError(f"There is no pooled table '{', '.join(unknown)}'", where=where,
                         fix=f"Choose from: {', '.join(TABLES)}")
    if len(full) != 4 or full[1] % CELLS or full[2] % CELLS:
        raise InputError(f"Vectors of shape {list(full)} cannot be pooled into {CELLS} x {CELLS} cells", where=where,
                         fix="Vectors must be (time, height, width, feature), height and width multiples of 3")
    time, _, _, feature = full
    known = dict(zip(TABLES, ((feature,), (time, feature), (time, CELLS, CELLS, feature)), strict=True))
    return {name: known[name] for name in dict.fromkeys(tables)}


def pooled(block: NDArray[np.float32], tables: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Means of full vectors.

    Args:
        block: float32 (n, time, height, width, feature).
        tables: names of :data:`TABLES`.

    Returns:
        float64 by table: (n, feature), (n, time, feature), (n, time, 3, 3, feature).
    """
    count, time, height, width, feature = block.shape
    cells = block.reshape(count * time * CELLS, height // CELLS, CELLS, width // CELLS, feature)
    # Neighbours in a line of patches first: that axis lies closest in memory.
    grid = np.add.reduce(np.add.reduce(cells, axis=3, dtype=np.float64), axis=1)
    grid = grid.reshape(count, time, CELLS, CELLS, feature) / (height * width // CELLS**2)
    temporal = grid.mean(axis=(2, 3))
    means = {"vision_grid": grid, "vision_temporal": temporal, "vision_mean": temporal.mean(axis=1)}
    return {name: means[name] for name in tables}


def _pool(store: EmbeddingStore, aside: EmbeddingStore, specs: Sequence[TableSpec],
          made: Mapping[str, str]) -> list[TableManifest]:
    reader, writers = store.reader(SOURCE), dict[str, TableWriter]()
    ids = np.concatenate([np.empty(0, np.int64), *(part.ids for part in reader.manifest.parts)])
    inherited = {key: value for key, value in reader.manifest.facts.items() if key == "simulated"}
    with contextlib.ExitStack() as stack:
        for spec in specs:
            few = 0 if spec.name == "vision_mean" else max(1, PART_BYTES // spec.row_bytes)
            writers[spec.name] = stack.enter_context(aside.writer(spec, facts={**inherited, **made}, rows_per_part=few))
        shown = stack.enter_context(progress(len(ids), "Pooling", "vectors"))
        for rows, block in stack.enter_context(contextlib.closing(_blocks(reader))):
            for name, means in pooled(block, list(writers)).items():
                writers[name].add(ids[rows], means, reader.missing[rows])
            shown.advance(len(block))
    return [aside.manifest(spec.name) for spec in specs]


def _blocks(reader: TableReader) -> Generator[tuple[slice, NDArray[np.float32]], None, None]:
    """The table in the order of its files, a block at a time, the next one being read meanwhile."""
    rows, shape = reader.manifest.rows, reader.spec.shape
    step = max(1, BLOCK_BYTES // (4 * reader.spec.values))
    buffers = [np.empty((min(step, rows), *shape), np.float32) for _ in range(2)]
    parts = reader.manifest.parts
    firsts = list(zip(np.cumsum([0, *(part.rows for part in parts[:-1])]), parts, strict=True)) if parts else []

    def read(start: int, buffer: NDArray[np.float32]) -> tuple[slice, NDArray[np.float32]]:
        here = np.arange(start, min(start + step, rows))
        for first, part in firsts:  # before its first row is pooled; what is read for that is in memory afterwards
            if start <= first < start + step:
                part.verify(reader.folder)
        reader.read_rows(here, buffer[:len(here)])
        return slice(start, start + len(here)), buffer[:len(here)]

    starts = zip(range(0, rows, step), itertools.cycle(buffers))
    with ThreadPoolExecutor(1, "groundswell-pooling") as pool:
        ahead = [pool.submit(read, *first) for first in itertools.islice(starts, 1)]
        while ahead:
            block = ahead.pop().result()
            ahead = [pool.submit(read, *following) for following in itertools.islice(starts, 1)]
            yield block


@contextlib.contextmanager
def _aside(store: Path) -> Iterator[Path]:
    """A folder in the store for tables that are not whole yet, for this process alone; removed on leaving."""
    folder = store / ".pooling"
    try:
        with held(store / ".pooling.lock"):
            shutil.rmtree(folder, ignore_errors=True)  # left by a process that was killed; the lock says it is gone
            try:
                folder.mkdir()
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except BusyError as error:
        raise BusyError("The store is being pooled already", where=store, fix="Wait for it, or stop it") from error


def _room(store: EmbeddingStore, specs: Sequence[TableSpec]) -> None:
    needed = store.manifest(SOURCE).rows * sum(spec.row_bytes for spec in specs) / _GIB
    if needed > free_gib(store.path):
        raise FailureError(f"The pooled tables need {needed:.2f} GiB, and {free_gib(store.path):.2f} are free",
                           where=store.path, fix="Free some space, or pool fewer tables or as float16")


def _line(manifest: TableManifest) -> str:
    spec, rounding = manifest.spec, manifest.rounding
    missing = sum(len(part.missing) for part in manifest.parts)
    return (f"{spec.name}: {manifest.rows - missing:,} vectors of {'x'.join(map(str, spec.shape))}, {spec.dtype}, "
            f"{manifest.rows * spec.row_bytes / _GIB:.3g} GiB; of the means in float64 storing changed at most "
            f"{rounding.max_abs:.3g}, root mean square {rounding.rms:.3g}; {missing:,} missing")
