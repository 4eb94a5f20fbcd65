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
from groundswell.pipelines.biodiversity.endpoint import MOST_IDS, serving
from groundswell.pipelines.biodiversity.wire import fetch_batch

READ, BATCH, COPY, USUAL, ENDPOINT = "store.read", "get_training_batch", "row-wise copy", "usual loader", "endpoint"
MEANING: Mapping[str, str] = {
    READ: "vectors by id into a buffer that is kept",
    BATCH: "the same with places, times and species, as tensors",
    COPY: "an item at a time: looked up by id, its row copied from a memory map into a buffer that is kept",
    USUAL: "an item at a time: looked up by id, its row copied out of a np.memmap; then all stacked, and made a tensor",
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
        self.batch_size, self.seed = batch_size, seed
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
        self._rows = [self._places(asked) for asked in self.batches]
        self._at = {number: place for asked, places in zip(self.batches, self._rows, strict=True)
                    for number, place in zip(asked.tolist(), places, strict=True)}
        self._maps: list[NDArray[Any]] = []
        self._memmaps: list[NDArray[Any]] = []
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

    def _places(self, ids: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Part and row of each id, from the lists of the manifest: not by the index that is being measured."""
        found = np.full((2, len(ids)), -1, np.int64)
        for number, part in enumerate(self._reader.manifest.parts):
            row = np.minimum(np.searchsorted(part.ids, ids), part.rows - 1)
            here = part.ids[row] == ids
            found[0, here], found[1, here] = number, row[here]
        return list(zip(*found.tolist(), strict=True))

    @property
    def tensor(self) -> torch.Tensor:
        """The buffer that is kept: float32 (batch_size, ...) with the shape of a row, its memory in use."""
        if self._tensor is None:
            self._tensor = torch.ones((self.batch_size, *self.spec.shape))
        return self._tensor

    @property
    def stored_bytes(self) -> int:
        """Of a batch, in the files."""
        return self.batch_size * self.spec.row_bytes

    @property
    def distinct_bytes(self) -> float:
        """Of a batch, in the files, every row counted once: several observations may be of one species."""
        return float(np.mean([len(set(places)) for places in self._rows])) * self.spec.row_bytes

    @property
    def bytes(self) -> int:
        """Of a batch, delivered: always float32."""
        return 4 * self.batch_size * self.spec.values

    def ways(self, url: str | None) -> dict[str, Callable[[int], torch.Tensor]]:
        """What fetches the batch of a number, by name; those that the store allows."""
        found: dict[str, Callable[[int], torch.Tensor]] = {READ: self._read, COPY: self._copy, USUAL: self._usual}
        if self.names is not None:
            found[BATCH] = self._batch
            if url is not None and self.batch_size <= MOST_IDS:
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
        told = batch["metadata"]
        of_vision = self.table != LANGUAGE
        if told["observation_ids"] != self.names[k] or (of_vision and told["gbif_ids"] != self.batches[k].tolist()):
            raise FailureError("A way gave other observations than were asked for", where=self.table)
        vectors: torch.Tensor = batch[key]
        return vectors

    def _copy(self, k: int) -> torch.Tensor:
        out, at, maps = self.tensor.numpy(), self._at, self._maps
        if self.spec.dtype == "float32":
            for place, number in enumerate(self.batches[k].tolist()):
                part, row = at[number]
                out[place] = maps[part][row]
        else:
            for place, number in enumerate(self.batches[k].tolist()):
                part, row = at[number]
                self._decoded(maps[part][row], out[place])
        return self.tensor

    def _usual(self, k: int) -> torch.Tensor:
        items = []
        for number in self.batches[k].tolist():
            part, row = self._at[number]
            item = np.empty(self.spec.shape, np.float32)
            self._decoded(self._memmaps[part][row], item)
            items.append(item)
        return torch.tensor(np.stack(items))

    def _decoded(self, stored: NDArray[Any], out: NDArray[np.float32]) -> None:
        """Put a row of a map, as it is stored, into ``out``."""
        if self.spec.dtype == "float32":
            out[...] = stored
        else:  # torch: numpy turns float16 at a thirtieth of the speed
            decode(stored.copy(), self.spec.dtype, out)

    def map(self) -> None:
        """Map the files anew, for the ways that are not ours; nothing of them is in this process's page tables then."""
        self.unmap()
        self._memmaps = [np.memmap(path, self.spec.stored, "r").reshape(-1, *self.spec.shape) for path in self.files]
        # As plain arrays: each row of a np.memmap is a np.memmap, which takes longer to make than a small row to copy.
        self._maps = [np.asarray(mapped) for mapped in self._memmaps]

    def unmap(self) -> None:
        """Let go of every map of the files in this process."""
        self._maps.clear()
        self._memmaps.clear()
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
        values, places = found.numpy(), self._rows[k]
        if values.dtype != np.float32 or values.shape != (len(places), *self.spec.shape):
            return False
        # Read, not mapped: looking through one way's map would leave it quicker for the next batch than the others'.
        stored, row = np.empty(self.spec.shape, self.spec.stored), np.empty(self.spec.shape, np.float32)
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(open(path, "rb", buffering=0)) for path in self.files]
            for place, (part, at) in enumerate(places):
                files[part].seek(at * self.spec.row_bytes)
                files[part].readinto(stored.reshape(-1).view(np.uint8).data)
                decode(stored, self.spec.dtype, row)
                if not np.array_equal(values[place].view(np.uint32), row.view(np.uint32)):
                    return False
        return True


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread, as in a worker of its loader: waking others takes longer than copying a small batch,
    and only some of the ways would suffer."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def serve_until_closed(path: str) -> None:
    """Serve a store, say where on standard output, and end when standard input does; for :func:`served`."""
    torch.set_num_threads(1)
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
