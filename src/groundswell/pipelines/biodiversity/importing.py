"""biodiversity: published embeddings made into a store: their observations, vision and language vectors."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import BusyError, FailureError, InputError
from groundswell.core.files import free_gib
from groundswell.core.locks import held
from groundswell.core.progress import progress
from groundswell.data.embeddings.spec import TableSpec
from groundswell.data.embeddings.store import EmbeddingStore
from groundswell.pipelines.biodiversity.published_layouts import BLOCK_BYTES, VisionVectors
from groundswell.pipelines.biodiversity.published_sources import Published, species_vectors

VISION, LANGUAGE = "vision", "language"
VISION_SHAPE = (8, 24, 24, 1408)
"""Of one published vision vector: time, height, width, feature; flattened in this order."""
LANGUAGE_WIDTH = 7168
_GIB = 2**30


@dataclass(frozen=True, eq=False)
class _Listed:
    """Vectors of one image number: what goes into one table.

    Attributes:
        table: its name.
        positions: int64, ascending: entries of the layout's index.
        absent: int64: gbif_ids of vectors that are promised and placed nowhere.
    """

    table: str
    positions: NDArray[np.int64]
    absent: NDArray[np.int64]


def import_dataset(source: Path, out: Path, *, dtype: str = "float32", observations: Path | None = None,
                   rows_per_part: int = 0, vision_shape: tuple[int, ...] = VISION_SHAPE,
                   language_width: int = LANGUAGE_WIDTH) -> list[str]:
    """Make a store of a published data set. The same call goes on where an interrupted one stopped.

    Two layouts are known: a folder as on the Hugging Face hub (``observations.parquet``, ``vision_index.parquet`` and
    ``vision_embeddings``; without the latter two only observations and language vectors are imported), and
    ``embeddings.mmap`` with ``embeddings_index.db``. A folder that has both is read as the first.

    Vision vectors go into the table ``vision`` under their gbif_id; those of an observation's further images, if the
    index numbers images, into ``image_2_vision`` and so on. Language vectors go into ``language``, one for each
    species, always float32. A vector that observations or index promise and that is not there, is null, or is zeros
    throughout gets the mark of a missing vector. Vectors of no observation in the table are left out and counted.

    The store is made beside ``out``, in ``.{name}.importing``, and appears under its name when it is whole. Bad input
    removes what was made; an interruption or a full disk keeps it for the next call.

    Args:
        source: folder of the data set.
        out: the new store; empty or absent.
        dtype: of the vision vectors: float32, float16 or bfloat16.
        observations: a table to use instead of the data set's; vectors of its observations alone are imported.
        rows_per_part: see :meth:`EmbeddingStore.writer`.
        vision_shape: of a vision vector.
        language_width: of a language vector.

    Returns:
        Lines for a person.

    Raises:
        InputError: no such layout; a file is absent, broken, or contradicts another; duplicates; two language vectors
            for one species; ``out`` is not empty.
        BusyError: another import into ``out`` is at work.
        FailureError: the disk is too small.
    """
    source, out = Path(source), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("The folder for the store is not empty", where=out, fix="Choose another folder")
    spec = TableSpec(VISION, vision_shape, dtype)
    found = Published.recognise(source, spec.values, observations)
    listed, left_out = _list(found)
    note = {"imported_from": found.layout, "source": source.resolve().name, "dtype": dtype,
            "digest": _digest(found.files, [list(vision_shape), language_width, rows_per_part])}
    _room(_beside(out), sum(len(table.positions) + len(table.absent) for table in listed) * spec.row_bytes)
    with _aside(out) as work:
        store = _begun(work, note)
        lines = [f"observations: {len(found.frame):,} of {found.frame['taxon_name'].nunique():,} species, from a "
                 f"{found.layout}"]
        lines += _write_language(store, found, language_width)
        if found.vectors is not None:
            for table in listed:
                lines.append(_write_vision(store, found.vectors, table, spec, rows_per_part))
        unlisted = found.vectors.unlisted if found.vectors is not None else 0
        for count, what in ((left_out, "listed vector(s) of no observation in the table"),
                            (unlisted, "vector(s) in the files that the index does not list")):
            lines += [f"left out: {count:,} {what}"] if count else []
        if not store.tables:
            raise InputError("There are neither vision nor language vectors in this data set", where=source,
                             fix="Download it whole, or name its folder")
        store.write_observations(_with_vision(found, store))
        store.close()
    return lines


# -- what goes where --------------------------------------------------------------------------------------------------


def _list(found: Published) -> tuple[list[_Listed], int]:
    """Tables to write, and the number of listed vector(s) of no observation. Checks the files that are needed."""
    if found.vectors is None:
        return [], 0
    entries, frame = found.vectors.entries, found.frame
    pairs = pd.MultiIndex.from_arrays([frame["gbif_id"].to_numpy(np.int64), frame["image_index"].to_numpy(np.int64)])
    listed = pd.MultiIndex.from_arrays([entries.gbif_ids, entries.images])
    known = np.asarray(listed.isin(pairs))
    promised = frame[frame["has_vision"] & ~np.asarray(pairs.isin(listed))] if found.says_vision else frame[:0]
    found.vectors.check(np.flatnonzero(known & entries.placed))
    tables = []
    for image in sorted({1, *np.unique(entries.images[known]).tolist(), *promised["image_index"].unique().tolist()}):
        of = known & (entries.images == image)
        absent = np.concatenate([entries.gbif_ids[of & ~entries.placed],
                                 promised["gbif_id"][promised["image_index"] == image].to_numpy(np.int64)])
        if of.any() or len(absent):
            name = VISION if image == 1 else f"image_{image}_{VISION}"
            tables.append(_Listed(name, np.flatnonzero(of & entries.placed), np.sort(absent)))
    return tables, int((~known).sum())


def _with_vision(found: Published, store: EmbeddingStore) -> pd.DataFrame:
    if found.says_vision or VISION not in store.tables:
        return found.frame
    there = store.present(VISION, found.frame["gbif_id"].to_numpy(np.int64))
    return found.frame.assign(has_vision=there & (found.frame["image_index"].to_numpy() == 1))


# -- writing ----------------------------------------------------------------------------------------------------------


def _write_vision(store: EmbeddingStore, vectors: VisionVectors, table: _Listed, spec: TableSpec,
                  rows_per_part: int) -> str:
    spec = TableSpec(table.table, spec.shape, spec.dtype)
    done = store.ids(table.table) if table.table in store.tables else np.empty(0, np.int64)
    ids = vectors.entries.gbif_ids
    left = table.positions[~np.isin(ids[table.positions], done)]
    absent = table.absent[~np.isin(table.absent, done)]
    total = len(table.positions) + len(table.absent)
    few = max(1, BLOCK_BYTES // (4 * spec.values))
    with store.writer(spec, facts={"source": store.note["source"]}, rows_per_part=rows_per_part) as writer, \
            progress(total, f"Importing {table.table}", "vectors", done=total - len(left) - len(absent)) as shown:
        for positions, rows in vectors.read(left):
            writer.add(ids[positions], rows.reshape(-1, *spec.shape), _gone(rows))
            shown.advance(len(positions))
        for start in range(0, len(absent), few):
            some = absent[start:start + few]
            writer.add(some, np.zeros((len(some), *spec.shape), np.float32), np.ones(len(some), bool))
            shown.advance(len(some))
    manifest, missing = store.manifest(table.table), int(store.reader(table.table).missing.sum())
    rounding = (f", rounded by at most {manifest.rounding.max_abs:.3g} ({manifest.rounding.max_rel:.2g} of the value), "
                f"root mean square {manifest.rounding.rms:.3g}" if spec.dtype != "float32" else "")
    return (f"{table.table}: {manifest.rows - missing:,} vectors of {'x'.join(map(str, spec.shape))}, {spec.dtype}, "
            f"{manifest.rows * spec.row_bytes / _GIB:.3g} GiB{rounding}; {missing:,} missing")


def _gone(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Vectors that are not there: NaN or zero throughout. A look at the first number decides for most."""
    gone: NDArray[np.bool_] = np.isnan(rows[:, 0]) | (rows[:, 0] == 0)
    for i in np.flatnonzero(gone):
        gone[i] = bool(np.isnan(rows[i]).all()) or not rows[i].any()
    return gone


def _write_language(store: EmbeddingStore, found: Published, width: int) -> list[str]:
    species = sorted(found.frame["taxon_name"].unique())
    numbers = store.add_taxa(species)
    if LANGUAGE in store.tables:
        there = store.present(LANGUAGE, numbers)  # written whole by the call that was interrupted
    else:
        vectors = species_vectors(found, set(species), width)
        if not vectors:
            return ["language: none in this data set"]
        there = np.array([name in vectors for name in species])
        rows = np.stack([vectors.get(name, np.zeros(width, np.float32)) for name in species])
        with store.writer(TableSpec(LANGUAGE, (width,), "float32", "taxon")) as writer:
            writer.add(numbers, rows, ~there)
    lost = [name for name, has in zip(species, there, strict=True) if not has]
    return [f"language: {len(species) - len(lost):,} vectors of {width}, one for each species; {len(lost):,} missing"
            + (f" ({', '.join(lost[:3])}{', ...' if len(lost) > 3 else ''})" if lost else "")]


# -- a store that is not there until it is whole ----------------------------------------------------------------------


def _beside(out: Path) -> Path:
    return out.parent / f".{out.name}.importing"


@contextlib.contextmanager
def _aside(out: Path) -> Iterator[Path]:
    """The folder beside ``out`` in which the store is made, for this process alone; becomes ``out`` on leaving."""
    work = _beside(out)
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot write here: {error.strerror}", where=out.parent,
                         fix="Choose a folder that exists and can be written to") from error
    lock = work / ".import.lock"
    try:
        with held(lock):
            yield work
            lock.unlink()
            os.replace(work, out)
    except BusyError as error:
        raise BusyError("Another import into this store is at work", where=out,
                        fix="Wait for it, or stop it") from error
    except InputError:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _begun(work: Path, note: dict[str, Any]) -> EmbeddingStore:
    """The store of an interrupted import of the same files by the same settings, or a new one."""
    if (work / "store.json").is_file():
        with contextlib.suppress(InputError):
            store = EmbeddingStore.open(work)
            if store.note == note:
                return store
    for left in work.iterdir():
        if left.name != ".import.lock":
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    (work / "store.json").unlink(missing_ok=True)
    made = EmbeddingStore.create(work / "new", note=note)
    made.close()
    os.replace(work / "new" / "store.json", work / "store.json")
    shutil.rmtree(work / "new")
    return EmbeddingStore.open(work)


def _digest(files: list[Path], settings: list[Any]) -> str:
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.blake2b(json.dumps([settings, facts]).encode(), digest_size=16).hexdigest()


def _room(work: Path, needed: int) -> None:
    has = sum(file.stat().st_size for file in work.rglob("*.bin")) / _GIB
    if needed / _GIB > free_gib(work) + has:
        raise FailureError(f"The store needs {needed / _GIB:.1f} GiB, and {free_gib(work) + has:.1f} are free",
                           where=work.parent, fix="Free some space, choose another disk, or import as float16")
