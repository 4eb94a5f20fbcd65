"""data: a store of embeddings: tables of vectors under ids, the names of taxa, and the observations they belong to."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path, inside
from groundswell.core.locks import held
from groundswell.core.progress import progress
from groundswell.data.embeddings.listing import changing, create_listing, read_listing, read_manifests
from groundswell.data.embeddings.manifest import NAME, TableManifest
from groundswell.data.embeddings.reading import Missing, TableReader, whole_numbers
from groundswell.data.embeddings.spec import TableSpec
from groundswell.data.embeddings.writing import TableWriter

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


class EmbeddingStore:
    """Vectors of observations and taxa, in tables that only grow.

    A folder: ``store.json`` (format, tables, taxa, free facts), ``observations.parquet`` (optional), and one folder for
    each table with its ``manifest.json`` and parts: rows end to end, little-endian, without a header. A part and the
    manifests are each written aside, synchronised and renamed, so that a kill leaves what was finished.

    An open store sees the tables as they were when it was opened, and what was written through it. It can be pickled
    (it is opened again on the other side), used from several threads at once, and used after a fork.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._lock, self._process = threading.RLock(), os.getpid()
        self._load()

    def _load(self) -> None:
        listing = read_listing(self.path)
        self.note: dict[str, Any] = dict(listing["note"])
        self.taxa: tuple[str, ...] = tuple(listing["taxa"])
        self._readers = {name: TableReader(self.path / name, manifest)
                         for name, manifest in read_manifests(self.path, listing).items()}
        self._once: dict[str, Any] = {}

    @classmethod
    def create(cls, path: Path, *, note: Mapping[str, Any] | None = None) -> EmbeddingStore:
        """A new, empty store in ``path``, which must be empty or absent.

        Args:
            path: the store's folder.
            note: free facts about the store, JSON; ``{"simulated": True}`` is honoured by every report.

        Raises:
            InputError: something is there already.
        """
        create_listing(Path(path), note or {})
        return cls(path)

    @classmethod
    def open(cls, path: Path, *, verify: bool = False) -> EmbeddingStore:
        """The store in ``path``; every manifest is read and every part's length compared with it.

        Args:
            path: the store's folder.
            verify: compare the checksums of all parts too, which reads everything.

        Raises:
            InputError: there is none, or it is not whole; the message names the file.
        """
        store = cls(path)
        if verify:
            store.verify()
        return store

    @property
    def tables(self) -> dict[str, TableSpec]:
        """The kinds of rows, by table."""
        return {name: reader.spec for name, reader in self._readers.items()}

    def manifest(self, table: str) -> TableManifest:
        """Parts, rounding and facts of a table."""
        return self.reader(table).manifest

    def reader(self, table: str) -> TableReader:
        """The reader of a table, for who finds rows once and reads them often.

        Raises:
            InputError: there is no such table.
        """
        try:
            return self._readers[table]
        except KeyError:
            raise InputError(f"The store has no table '{table}'; it has {', '.join(self._readers) or 'none'}",
                             where=self.path, fix="Import or pool that table first") from None

    def add_taxa(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Numbers of the taxa named, int64 (n,); names that are new get the next ones, known names keep theirs.

        Raises:
            InputError: a name is empty or no text.
        """
        if not all(isinstance(name, str) and name.strip() for name in names):
            raise InputError("A taxon has no name", where=self.path, fix="Give every taxon its name")
        with changing(self.path) as listing:
            number = {name: i for i, name in enumerate(listing["taxa"])}
            found = [number.setdefault(name, len(number)) for name in names]  # a new name gets the next number
            listing["taxa"] = list(number)
        self.taxa = tuple(number)
        self._once.clear()
        return np.array(found, np.int64)

    @contextlib.contextmanager
    def writer(self, spec: TableSpec, *, facts: Mapping[str, Any] | None = None,
               rows_per_part: int = 0) -> Iterator[TableWriter]:
        """Append to a table, which is made with its first part. One writer at a time for each table.

        On an error inside the block, parts that were finished stay and rows collected since are dropped.

        Args:
            spec: of the table; that of the existing one where it exists.
            facts: free facts, JSON, added to the table's.
            rows_per_part: rows in a part; 0 for a part of about half a GiB.

        Raises:
            BusyError: another writer appends to the table.
            InputError: a table of this name has another spec.
        """
        folder = inside(self.path, spec.name)
        with held(self.path / f".{spec.name}.lock"):
            for abandoned in folder.glob(".*.part.*"):
                abandoned.unlink()  # left by a writer that was killed; the lock says that it is gone
            manifest = TableManifest.read(folder) if (folder / NAME).is_file() else TableManifest(spec)
            if manifest.spec != spec:
                raise InputError(f"The table '{spec.name}' holds {manifest.spec.dtype} {list(manifest.spec.shape)} by "
                                 f"{manifest.spec.key}, not {spec.dtype} {list(spec.shape)} by {spec.key}",
                                 where=folder, fix="Append rows of the same kind, or name another table")
            manifest = TableManifest(spec, manifest.parts, manifest.rounding, {**manifest.facts, **(facts or {})})
            limit = len(read_listing(self.path)["taxa"]) if spec.key == "taxon" else None
            writer = TableWriter(folder, manifest, rows_per_part=rows_per_part, id_limit=limit,
                                 finished=self._finished)
            yield writer
            writer.flush()

    def _finished(self, manifest: TableManifest) -> None:
        name = manifest.spec.name
        with changing(self.path) as listing:
            listing["tables"] = list(dict.fromkeys([*listing["tables"], name]))
        self._readers[name] = TableReader(self.path / name, manifest)

    def ids(self, table: str) -> NDArray[np.int64]:
        """Every id of a table, ascending, int64 (rows,); those of missing vectors among them."""
        ids: NDArray[np.int64] = self.reader(table).ids.copy()
        return ids

    def present(self, table: str, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each id has a vector, bool (n,): known, and not missing."""
        reader = self.reader(table)
        rows, known = reader.find(whole_numbers(ids))
        there: NDArray[np.bool_] = known
        there[known] = ~reader.missing[rows[known]]
        return there

    def read(self, table: str, ids: NDArray[np.int64], out: NDArray[np.float32] | None = None, *,
             missing: Missing = "refuse") -> NDArray[np.float32]:
        """Vectors of ids, in their order; an id may be asked for twice.

        Args:
            table: its name.
            ids: int64 (n,).
            out: float32, C-contiguous, shape (n, ...) with that of a row, filled and returned; a new array when absent.
            missing: ``nan`` gives NaN for vectors that are missing; ``refuse`` raises.

        Raises:
            InputError: an id is unknown or its vector missing; up to five are named. Nothing is read then.
            ValueError: ``out`` is not as said.
        """
        reader = self.reader(table)
        rows = reader.rows(whole_numbers(ids), missing)
        if out is None:
            out = np.empty((len(rows), *reader.spec.shape), np.float32)
        reader.read_rows(rows, out)
        return out

    def gather(self, table: str) -> NDArray[np.float32]:
        """A whole table in memory, rows in the order of :meth:`ids`; NaN where a vector is missing."""
        return self.read(table, self.reader(table).ids, missing="nan")

    def observations(self) -> pd.DataFrame:
        """The observations, as they were written.

        Raises:
            InputError: the store has none.
        """
        import pandas as pd

        path = self.path / "observations.parquet"
        if not path.is_file():
            raise InputError("The store has no observations", where=path, fix="Import them together with the vectors")
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise InputError(f"The observations cannot be read: {error}", where=path) from error

    def write_observations(self, frame: pd.DataFrame) -> None:
        """Replace the observations, atomically."""
        with atomic_path(self.path / "observations.parquet") as temporary:
            frame.to_parquet(temporary, index=False)
        self._once.clear()

    def once(self, name: str, build: Callable[[], T]) -> T:
        """What ``build`` makes of this store's observations and taxa: made at the first call and kept under ``name``
        until they are written again. Not pickled."""
        if self._process != os.getpid():  # a fork may have copied the lock while another thread held it
            self._lock, self._process = threading.RLock(), os.getpid()
        with self._lock:
            if name not in self._once:
                self._once[name] = build()
            made: T = self._once[name]
        return made

    def verify(self, tables: Sequence[str] | None = None, ids: NDArray[np.int64] | None = None) -> None:
        """Compare the checksum of every part with its manifest.

        Args:
            tables: which; all if not given.
            ids: look only at parts that hold a row of one of these, int64 (n,).

        Raises:
            InputError: a part was changed; the message names it. Or there is no such table.
        """
        parts = [(reader, part) for reader in map(self.reader, self._readers if tables is None else tables)
                 for part in reader.manifest.parts if ids is None or np.isin(part.ids, ids).any()]
        large = sum(part.bytes for _, part in parts) > 1 << 30
        with progress(len(parts), "Checksums", "parts", quiet=not large) as shown:
            for reader, part in parts:
                part.verify(reader.folder)
                shown.advance()

    def fingerprint(self, table: str) -> str:
        """Digest of a table's kind, ids and content, hexadecimal."""
        return self.manifest(table).fingerprint()

    def close(self) -> None:
        """Let go of memory maps and of what :meth:`once` kept; reading again makes them again."""
        self._once.clear()
        for reader in self._readers.values():
            reader.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]
