"""biodiversity: the ways in which a batch can be brought into memory, to be timed beside each other on the same ids."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from groundswell.core.errors import FailureError
from groundswell.core.files import inside
from groundswell.data.embeddings.precision import decode
from groundswell.data.embeddings.store import EmbeddingStore
from groundswell.pipelines.biodiversity.batch import (
    LANGUAGE,
    get_training_batch,
    has_language_vector,
    observation_index,
)
from groundswell.pipelines.biodiversity.endpoint import serving
from groundswell.pipelines.biodiversity.wire import fetch_batch

READ, BATCH, COPY, USUAL, ENDPOINT = "store.read", "get_training_batch", "row-wise copy", "usual loader", "endpoint"
MEANING: Mapping[str, str] = {
    READ: "vectors by id into a buffer that is kept",
    BATCH: "the same with places, times and species, as tensors",
    COPY: "rows known beforehand, copied one by one from a memory map into a buffer that is kept",
    USUAL: "an item at a time: copied out of a memory map, stacked, made a tensor",
    ENDPOINT: "get_training_batch of another process on this machine, over HTTP with a binary body"}


class Tier:
    """One table, the batches drawn from it, and the ways to fetch one.

    Args:
        store: with the table.
        table: its name.
        batch_size: vectors in a batch.
        runs: batches to draw.
        seed: of the drawing.

    Attributes:
        batches: ids of the table's vectors, int64 (batch_size,) each; where the store has observations, those of drawn
            observations.
        names: observation ids of each batch; None if the store has no observations.
    """

    def __init__(self, store: EmbeddingStore, table: str, batch_size: int, runs: int, seed: int) -> None:
        self.store, self.table, self.spec = store, table, store.tables[table]
        self.batch_size = batch_size
        self._reader = store.reader(table)
        self.names: list[list[str]] | None = None
        ids, names = self._there()
        chance = np.random.default_rng(seed)
        runs = runs if len(ids) else 0
        drawn = [chance.choice(len(ids), batch_size, replace=len(ids) < batch_size) for _ in range(runs)]
        self.batches = [ids[some] for some in drawn]
        if names is not None:
            self.names = [[names[i] for i in some.tolist()] for some in drawn]
        self.files = [inside(self._reader.folder, part.file) for part in self._reader.manifest.parts]
        self._starts = np.cumsum([0, *(part.rows for part in self._reader.manifest.parts)])
        self._maps: list[NDArray[Any]] = []
        self._tensor: torch.Tensor | None = None

    def _there(self) -> tuple[NDArray[np.int64], list[str] | None]:
        """Ids that can be drawn, and their observations."""
        if not (self.store.path / "observations.parquet").is_file():
            ids = self._reader.ids
            return ids[self.store.present(self.table, ids)], None
        index = observation_index(self.store)
        if self.table == LANGUAGE:
            keep, ids = has_language_vector(self.store, index), index.taxa
        else:
            keep, ids = self.store.present(self.table, index.gbif_ids) & (index.images == 1), index.gbif_ids
        return ids[keep], [index.ids[i] for i in np.flatnonzero(keep).tolist()]

    @property
    def tensor(self) -> torch.Tensor:
        """The buffer that is kept: float32 (batch_size, *shape), its memory in use."""
        if self._tensor is None:
            self._tensor = torch.ones((self.batch_size, *self.spec.shape))
        return self._tensor

    @property
    def stored_bytes(self) -> int:
        """Of a batch, in the files."""
        return self.batch_size * self.spec.row_bytes

    @property
    def bytes(self) -> int:
        """Of a batch, delivered: always float32."""
        return 4 * self.batch_size * self.spec.values

    def ways(self, url: str | None) -> dict[str, Callable[[int], torch.Tensor]]:
        """What fetches the batch of a number, by name; those that the store allows."""
        found: dict[str, Callable[[int], torch.Tensor]] = {READ: self._read, COPY: self._copy, USUAL: self._usual}
        if self.names is not None:
            found[BATCH] = self._batch
            if url is not None:
                found[ENDPOINT] = lambda k: self._endpoint(url, k)
        return found

    def _read(self, k: int) -> torch.Tensor:
        self.store.read(self.table, self.batches[k], self.tensor.numpy())
        return self.tensor

    def _flags(self) -> tuple[bool, bool, str]:
        language = self.table == LANGUAGE
        return not language, language, f"{'language' if language else 'vision'}_embeddings"

    def _batch(self, k: int) -> torch.Tensor:
        assert self.names is not None
        vision, language, key = self._flags()
        batch = get_training_batch(self.store, self.names[k], vision, language, vision_table=self.table,
                                   reuse={key: self.tensor})
        return self._own(batch, key, k)

    def _endpoint(self, url: str, k: int) -> torch.Tensor:
        assert self.names is not None
        vision, language, key = self._flags()
        batch = fetch_batch(url, self.names[k], vision, language, self.table, reuse={key: self.tensor})
        return self._own(batch, key, k)

    def _own(self, batch: dict[str, Any], key: str, k: int) -> torch.Tensor:
        assert self.names is not None
        if batch["metadata"]["observation_ids"] != self.names[k]:
            raise FailureError("A way gave other observations than were asked for", where=self.table)
        vectors: torch.Tensor = batch[key]
        return vectors

    def _copy(self, k: int) -> torch.Tensor:
        out = self.tensor.numpy()
        for place, row in enumerate(self._rows[k]):
            self._row(row, out[place])
        return self.tensor

    def _usual(self, k: int) -> torch.Tensor:
        items = []
        for row in self._rows[k]:
            item = np.empty(self.spec.shape, np.float32)
            self._row(row, item)
            items.append(item)
        return torch.tensor(np.stack(items))

    def _row(self, row: tuple[int, int], out: NDArray[np.float32]) -> None:
        stored = self._maps[row[0]][row[1]]
        if self.spec.dtype == "bfloat16":
            decode(stored.copy(), self.spec.dtype, out)
        else:
            out[...] = stored

    def map(self) -> None:
        """Map the files anew, for the ways that are not ours; nothing of them is in this process's page tables then."""
        self.unmap()
        self._maps = [np.memmap(path, self.spec.stored, "r").reshape(-1, *self.spec.shape) for path in self.files]
        part = [np.searchsorted(self._starts, rows, side="right") - 1 for rows in map(self._reader.rows, self.batches)]
        self._rows = [list(zip(p.tolist(), (self._reader.rows(ids) - self._starts[p]).tolist(), strict=True))
                      for p, ids in zip(part, self.batches, strict=True)]

    def unmap(self) -> None:
        """Let go of every map of the files in this process."""
        self._maps.clear()
        self.store.close()

    def release(self) -> None:
        """Let go of the buffer too."""
        self.unmap()
        self._tensor = None

    def touch(self, k: int) -> None:
        """Bring a batch's rows into the system's memory, and into this process's page tables."""
        for part, row in self._rows[k]:
            self._maps[part][row].reshape(-1).view(np.uint8)[::4096].sum()
        self._reader.read_rows(self._reader.rows(self.batches[k]), self.tensor.numpy())

    def same(self, k: int, found: torch.Tensor) -> bool:
        """Whether the vectors of batch ``k`` are those of the files, bit for bit."""
        row = np.empty(self.spec.shape, np.float32)
        values = found.numpy()
        for place, at in enumerate(self._rows[k]):
            self._row(at, row)
            if not np.array_equal(values[place], row):
                return False
        return len(values) == len(self._rows[k])


def serve_until_closed(path: str) -> None:
    """Serve a store, say where on standard output, and end when standard input does; for :func:`served`."""
    with serving(EmbeddingStore.open(Path(path))) as url:
        sys.stdout.write(url + "\n")
        sys.stdout.flush()
        sys.stdin.read()


@contextlib.contextmanager
def served(path: Path) -> Iterator[str]:
    """The address of a process of its own that serves the store, for as long as the block runs.

    Raises:
        FailureError: it did not start.
    """
    program = f"import sys; from {__name__} import serve_until_closed; serve_until_closed(sys.argv[1])"
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as child:
        assert child.stdin is not None and child.stdout is not None
        try:
            url = child.stdout.readline().strip()
            if not url:
                raise FailureError("The process that serves the store did not start", where=path)
            yield url
        finally:
            child.stdin.close()
