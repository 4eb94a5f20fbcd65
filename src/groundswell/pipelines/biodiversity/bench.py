"""biodiversity: how long a batch takes from each table, beside plain copies, the usual loader and what is possible."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from groundswell.core.errors import FailureError, InputError
from groundswell.core.progress import progress
from groundswell.core.seeds import derive_seed
from groundswell.data.embeddings.store import EmbeddingStore
from groundswell.pipelines.biodiversity.bench_limits import Limits, copy_rate, forget, measure, read_from_disk, seconds
from groundswell.pipelines.biodiversity.bench_text import table_text, verdict
from groundswell.pipelines.biodiversity.bench_ways import BATCH, COPY, ENDPOINT, READ, USUAL, Tier, one_thread, served
from groundswell.pipelines.biodiversity.endpoint import MOST_IDS

TABLES = ("vision", "vision_grid", "vision_temporal", "vision_mean", "language")
COLD_RUNS = 5
_COLD_BYTES = 1 << 30  # batches from here on are read cold three times at most: the ways that are not ours take minutes
_BUFFERS = 5  # of a batch's size, at most at once: the kept one, and three of the usual loader
_MEMORY_SHARE = 0.7
_LARGEST_COPY = 256 << 20


@dataclass(frozen=True)
class Timing:
    """Milliseconds of a batch: median and 95th percentile, of so many batches."""

    p50_ms: float
    p95_ms: float
    runs: int

    @classmethod
    def of(cls, taken_s: Sequence[float]) -> Timing:
        """Of single times in seconds."""
        p50, p95 = 1e3 * np.percentile(taken_s, [50, 95])
        return cls(float(p50), float(p95), len(taken_s))


@dataclass(frozen=True)
class TierReport:
    """What was measured of one table.

    Attributes:
        table, dtype, shape, rows: what it is; all its rows.
        batch_size: vectors in a batch, fewer than asked for where memory is short.
        bytes, stored_bytes: of a batch, delivered as float32 and in the files.
        distinct_bytes: the same in the files, a row that several observations share counted once; a mean.
        copy_rate: bytes per second of one plain copy of so many bytes in memory.
        warm, cold: timings by way; cold is empty where the system did not let go of the files.
        from_disk: share of the stored bytes that came from the disk in cold runs; None where that is not counted.
        ratios: median over the batches of our time by another way's, of the same batch; ``warm`` only.
        holds, holds_cold: what becomes of the 50 ms: ``holds``, ``cannot`` (copying in memory, or the disk alone, takes
            longer) or ``missed``; None where it was not measured.
        words: the same in sentences.
    """

    table: str
    dtype: str
    shape: tuple[int, ...]
    rows: int
    batch_size: int
    bytes: int
    stored_bytes: int
    distinct_bytes: float
    copy_rate: float
    warm: Mapping[str, Timing]
    cold: Mapping[str, Timing]
    from_disk: float | None
    ratios: Mapping[str, float]
    holds: str
    holds_cold: str | None
    words: Sequence[str]


@dataclass(frozen=True)
class BenchReport:
    """What :func:`bench_store` found."""

    store: str
    simulated: bool
    batch_size: int
    limits: Limits
    tiers: Sequence[TierReport]
    notes: Sequence[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values; rates in bytes per second, times in milliseconds."""
        return asdict(self)

    def text(self) -> str:
        """The same as a table and sentences."""
        return table_text(self)


def bench_store(store: Path, *, batch_size: int = 64, runs: int = 20, cold_runs: int = COLD_RUNS, seed: int = 0,
                tables: Sequence[str] = TABLES, endpoint: bool = True) -> BenchReport:
    """Time batches of the tables that a store has, by several ways that take turns on the same batches.

    Every batch of every way is compared with the files, bit for bit, and its ids with those asked for. Cold batches
    come first, after the system was asked to forget the files; then each batch is brought into memory and every way
    has it warm.

    Args:
        store: the store's folder.
        batch_size: vectors in a batch.
        runs: batches, warm.
        cold_runs: batches, cold; 0 for none, at most three where a batch has a GiB.
        seed: of the drawing of batches.
        tables: those to measure, as far as they are there.
        endpoint: start a process that serves the store, and time it too.

    Raises:
        InputError: no such store, none of the tables, or a number below 1.
        FailureError: a way gave other vectors or observations than another.
    """
    if min(batch_size, runs) < 1 or cold_runs < 0:
        raise InputError(f"A batch size of {batch_size} and {runs} runs measure nothing", where="biodiversity bench",
                         fix="Give 1 or more")
    opened = EmbeddingStore.open(Path(store))
    tiers, notes = [], list[str]()
    for table in [name for name in tables if name in opened.tables]:
        tier = Tier(opened, table, _fitting(opened, table, batch_size, notes), runs, derive_seed(seed, "bench", table))
        if tier.batches:
            tiers.append(tier)
    if not tiers:
        raise InputError(f"The store has no vectors in any of the tables {', '.join(tables)}", where=opened.path,
                         fix="Import or pool some first")
    cold_of = [min(cold_runs, runs, 3 if tier.bytes >= _COLD_BYTES else cold_runs) for tier in tiers]
    endpoint = endpoint and _servable(tiers, notes)
    with one_thread(), progress(len(tiers) * runs + sum(cold_of), "Measuring", "batches") as shown:
        limits = measure(sorted((file for tier in tiers for file in tier.files), key=lambda file: file.stat().st_size))
        cold = [_cold(tier, count, notes, shown.advance) for tier, count in zip(tiers, cold_of, strict=True)]
        with served(opened.path) if endpoint else contextlib.nullcontext() as url:
            warm = [_warm(tier, url, shown.advance) for tier in tiers]
    reports = [_report(tier, limits, warm[i], cold[i], batch_size) for i, tier in enumerate(tiers)]
    opened.close()
    return BenchReport(opened.path.resolve().name, opened.note.get("simulated") is True, batch_size, limits, reports,
                       notes)


def _servable(tiers: Sequence[Tier], notes: list[str]) -> bool:
    if all(tier.names is None for tier in tiers):
        notes.append(f"The store has no observations: {BATCH} and the {ENDPOINT} were not measured.")
        return False
    if any(tier.batch_size > MOST_IDS for tier in tiers):
        notes.append(f"The {ENDPOINT} gives at most {MOST_IDS:,} observations at once: larger batches of it were not "
                     "measured.")
    return any(tier.batch_size <= MOST_IDS for tier in tiers)


def _fitting(store: EmbeddingStore, table: str, batch_size: int, notes: list[str]) -> int:
    row = 4 * store.tables[table].values
    most = max(1, int(_MEMORY_SHARE * psutil.virtual_memory().available / _BUFFERS / row))
    if most < batch_size:
        notes.append(f"{table}: batches of {most}, not {batch_size}: the {USUAL} needs {_BUFFERS} times their memory.")
    return min(most, batch_size)


def _checked(tier: Tier, name: str, way: Callable[[int], torch.Tensor], k: int) -> float:
    """Seconds that a way takes for batch ``k``; its vectors are compared afterwards."""
    found: list[torch.Tensor] = []
    taken = seconds(lambda: found.append(way(k)))
    if not tier.same(k, found[0]):
        raise FailureError(f"'{name}' gave other vectors than the files hold", where=tier.table,
                           fix="A part may have been changed while it was measured: import or pool the table again")
    return taken


def _turns(names: Sequence[str], chance: np.random.Generator) -> list[str]:
    """Ways in an order by chance: who comes after another finds its caches."""
    return [names[i] for i in chance.permutation(len(names)).tolist()]


def _cold(tier: Tier, runs: int, notes: list[str],
          advance: Callable[[int], None]) -> tuple[dict[str, list[float]], float | None]:
    taken: dict[str, list[float]] = {}
    shares, chance = [], np.random.default_rng(tier.seed)
    for k in range(runs):
        for name in _turns((READ, COPY, USUAL), chance):
            tier.tensor.fill_(0)
            tier.unmap()
            forget(tier.files)
            tier.map()
            before = read_from_disk()
            taken.setdefault(name, []).append(_checked(tier, name, tier.ways(None)[name], k))
            after = read_from_disk()
            if before is not None and after is not None:
                shares.append((after - before) / (len(set(tier.batches[k].tolist())) * tier.spec.row_bytes))
        advance(1)
    tier.release()
    share = float(np.median(shares)) if shares else None
    if runs and share is not None and share < 0.5:
        notes.append(f"{tier.table}: the system kept the files in memory ({share:.0%} came from the disk): not "
                     "measured cold.")
        return {}, share
    return taken, share


def _warm(tier: Tier, url: str | None, advance: Callable[[int], None]) -> dict[str, list[float]]:
    tier.map()
    ways = tier.ways(url)
    for way in ways.values():
        way(0)  # what is done once only: indices, connections
    taken: dict[str, list[float]] = {name: [] for name in ways}
    chance = np.random.default_rng(tier.seed)
    # The endpoint in a round of its own: the process that serves leaves no processor, and no cache, as it was.
    for names in ([name for name in ways if name != ENDPOINT], [ENDPOINT] if ENDPOINT in ways else []):
        for k in range(len(tier.batches) if names else 0):
            tier.touch(k)
            for name in _turns(names, chance):
                tier.tensor.fill_(0)
                taken[name].append(_checked(tier, name, ways[name], k))
            advance(1 if names != [ENDPOINT] else 0)
    tier.release()
    return taken


def _report(tier: Tier, limits: Limits, warm: Mapping[str, list[float]],
            cold: tuple[Mapping[str, list[float]], float | None], asked: int) -> TierReport:
    rate = copy_rate(min(tier.bytes, _LARGEST_COPY))
    timed = {name: Timing.of(taken) for name, taken in warm.items()}
    forgotten = {name: Timing.of(taken) for name, taken in cold[0].items()}
    ratios = {name: float(np.median(np.divide(warm[READ], warm[name]))) for name in (COPY, USUAL)}
    if ENDPOINT in warm:
        ratios[ENDPOINT] = float(np.median(np.divide(warm[BATCH], warm[ENDPOINT])))
    size, asked_bytes = tier.bytes / tier.batch_size * asked, tier.distinct_bytes / tier.batch_size * asked
    p95 = [None if timing is None else timing.p95_ms / tier.batch_size * asked
           for timing in (timed.get(BATCH, timed[READ]), forgotten.get(READ), timed.get(ENDPOINT))]
    assert p95[0] is not None
    found = verdict(size, asked_bytes, asked, limits, p95[0], p95[1], p95[2])
    return TierReport(tier.table, tier.spec.dtype, tier.spec.shape, len(tier.store.ids(tier.table)), tier.batch_size,
                      tier.bytes, tier.stored_bytes, tier.distinct_bytes, rate, timed, forgotten, cold[1], ratios,
                      found.warm, found.cold, found.words)
