"""Pooled tables: exact means, made in one reading, there when they are whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from groundswell.core.errors import BusyError, FailureError, InputError
from groundswell.core.locks import held
from groundswell.data.embeddings.reading import TableReader
from groundswell.data.embeddings.spec import TableSpec
from groundswell.data.embeddings.store import EmbeddingStore
from groundswell.data.embeddings.writing import TableWriter
from groundswell.pipelines.biodiversity import pooling
from groundswell.pipelines.biodiversity.pooling import TABLES, pool_store, pooled

SHAPE = (2, 6, 9, 4)


def full_store(path: Path, *, rows: int = 11, shape: tuple[int, ...] = SHAPE, dtype: str = "float32",
               missing: tuple[int, ...] = (), seed: int = 0) -> NDArray[np.float32]:
    """A store with full vectors under the ids 10, 20, ..., written in falling order; the vectors by rising id."""
    values = np.random.default_rng(seed).standard_normal((rows, *shape), np.float32)
    store = EmbeddingStore.create(path, note={"simulated": True})
    gone = np.isin(np.arange(rows), missing)
    with store.writer(TableSpec("vision", shape, dtype), facts={"simulated": True}, rows_per_part=4) as writer:
        writer.add(10 * np.arange(rows, 0, -1), values[::-1], gone[::-1])
    return values


def means(values: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """The three tables by torch, in float64 and by another road: adaptive pooling."""
    full = torch.from_numpy(values.astype(np.float64))
    count, time, _, _, feature = full.shape
    moved = full.permute(0, 1, 4, 2, 3).reshape(count * time, feature, *full.shape[2:4])
    grid = torch.nn.functional.adaptive_avg_pool2d(moved, 3).reshape(count, time, feature, 3, 3).permute(0, 1, 3, 4, 2)
    return {"vision_mean": full.mean(dim=(1, 2, 3)).numpy(), "vision_temporal": full.mean(dim=(2, 3)).numpy(),
            "vision_grid": grid.numpy()}


@given(time=st.integers(1, 3), height=st.integers(1, 3), width=st.integers(1, 3), feature=st.integers(1, 5),
       count=st.integers(1, 3), seed=st.integers(0, 99))
def test_means_are_those_of_another_way_to_the_last_digits(time: int, height: int, width: int, feature: int, count: int,
                                                           seed: int) -> None:
    block = np.random.default_rng(seed).standard_normal((count, time, 3 * height, 3 * width, feature), np.float32)
    found = pooled(block, TABLES)
    for name, expected in means(block).items():
        assert found[name].shape == expected.shape
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_every_table_holds_the_means_and_states_its_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                             dtype: str) -> None:
    values = full_store(tmp_path / "store")
    monkeypatch.setattr(pooling, "BLOCK_BYTES", 3 * values[0].nbytes)
    monkeypatch.setattr(pooling, "PART_BYTES", 700)
    lines = pool_store(tmp_path / "store", dtype=dtype)
    store = EmbeddingStore.open(tmp_path / "store", verify=True)
    ids = 10 * np.arange(1, 12)
    for name, expected in means(values).items():
        rounding = store.manifest(name).rounding
        away = np.abs(store.read(name, ids) - expected).max()
        assert abs(away - rounding.max_abs) < 1e-12 and rounding.rows == 11
        assert rounding.max_abs < {"float32": 1e-7, "float16": 1e-3, "bfloat16": 1e-2}[dtype]
        assert store.manifest(name).facts["pooled_from"] == "vision" and store.manifest(name).facts["simulated"] is True
        assert any(name in line and f"{rounding.max_abs:.3g}" in line for line in lines)


def test_the_published_shape_becomes_the_three_published_tiers(tmp_path: Path) -> None:
    values = full_store(tmp_path / "store", rows=2, shape=(8, 24, 24, 1408))
    pool_store(tmp_path / "store")
    store = EmbeddingStore.open(tmp_path / "store")
    shapes = {name: store.tables[name].shape for name in TABLES}
    assert shapes == {"vision_mean": (1408,), "vision_temporal": (8, 1408), "vision_grid": (8, 3, 3, 1408)}
    for name, expected in means(values).items():
        np.testing.assert_allclose(store.gather(name), expected, rtol=0, atol=1e-7)


def test_missing_vectors_stay_missing(tmp_path: Path) -> None:
    full_store(tmp_path / "store", missing=(0, 7))
    lines = pool_store(tmp_path / "store")
    store = EmbeddingStore.open(tmp_path / "store")
    for name in TABLES:
        assert np.flatnonzero(~store.present(name, store.ids(name))).tolist() == [0, 7]
    assert all("9 vectors" in line and "2 missing" in line for line in lines)


def test_full_vectors_are_read_once_and_in_the_order_of_the_files(tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    full_store(tmp_path / "store")
    monkeypatch.setattr(pooling, "BLOCK_BYTES", 4 * 4 * int(np.prod(SHAPE)))
    seen: list[int] = []
    read = TableReader.read_rows

    def watching(self: TableReader, rows: Any, out: Any) -> None:
        seen.extend(rows.tolist())
        read(self, rows, out)

    monkeypatch.setattr(TableReader, "read_rows", watching)
    pool_store(tmp_path / "store")
    assert seen == list(range(11))


def test_tables_that_are_there_are_left_and_the_rest_is_made(tmp_path: Path) -> None:
    full_store(tmp_path / "store")
    pool_store(tmp_path / "store", ["vision_mean"])
    before = EmbeddingStore.open(tmp_path / "store").fingerprint("vision_mean")
    lines = pool_store(tmp_path / "store")
    store = EmbeddingStore.open(tmp_path / "store")
    assert lines[0] == "vision_mean: is there already" and len(lines) == 3
    assert set(store.tables) == {"vision", *TABLES} and store.fingerprint("vision_mean") == before
    assert pool_store(tmp_path / "store") == [f"{name}: is there already" for name in TABLES]


def test_a_failure_leaves_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full_store(tmp_path / "store")
    before = {path.name for path in (tmp_path / "store").iterdir()}
    monkeypatch.setattr(pooling, "BLOCK_BYTES", 1)
    monkeypatch.setattr(pooling, "PART_BYTES", 1)
    add = TableWriter.add

    def failing(self: TableWriter, ids: Any, rows: Any, missing: Any = None) -> None:
        if len(self.manifest.parts) == 5:
            raise KeyboardInterrupt
        add(self, ids, rows, missing)

    with monkeypatch.context() as patched:
        patched.setattr(TableWriter, "add", failing)
        with pytest.raises(KeyboardInterrupt):
            pool_store(tmp_path / "store")
    assert {path.name for path in (tmp_path / "store").iterdir()} - {".pooling.lock"} == before
    assert set(EmbeddingStore.open(tmp_path / "store").tables) == {"vision"}


def test_kill_minus_nine_leaves_no_table_and_pooling_works_again(tmp_path: Path) -> None:
    full_store(tmp_path / "store")
    program = f"""
import os, signal
from groundswell.data.embeddings.writing import TableWriter
from groundswell.pipelines.biodiversity import pooling
pooling.BLOCK_BYTES = pooling.PART_BYTES = 1
flush = TableWriter.flush
def dying(self):
    flush(self)
    if len(self.manifest.parts) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
TableWriter.flush = dying
pooling.pool_store({str(tmp_path / "store")!r})
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == -signal.SIGKILL
    assert (tmp_path / "store" / ".pooling").exists()
    assert set(EmbeddingStore.open(tmp_path / "store").tables) == {"vision"}
    pool_store(tmp_path / "store")
    assert set(EmbeddingStore.open(tmp_path / "store", verify=True).tables) == {"vision", *TABLES}
    assert not (tmp_path / "store" / ".pooling").exists()


def test_pooling_a_store_twice_at_once_is_refused(tmp_path: Path) -> None:
    full_store(tmp_path / "store")
    with held(tmp_path / "store" / ".pooling.lock"), pytest.raises(BusyError):
        pool_store(tmp_path / "store")


# -- bad input --------------------------------------------------------------------------------------------------------


def refused(store: Path, match: str, error: type[Exception] = InputError, **options: Any) -> None:
    before = sorted(os.listdir(store)) if store.exists() else None
    with pytest.raises(error, match=match):
        pool_store(store, **options)
    assert (sorted(os.listdir(store)) if store.exists() else None) == before


def test_what_cannot_be_pooled_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "nothing", "not a store")
    EmbeddingStore.create(tmp_path / "empty")
    refused(tmp_path / "empty", "no full vision vectors")
    full_store(tmp_path / "flat", shape=(6, 5))
    refused(tmp_path / "flat", "cannot be pooled")
    full_store(tmp_path / "odd", shape=(2, 4, 6, 5))
    refused(tmp_path / "odd", "cannot be pooled")
    full_store(tmp_path / "store")
    refused(tmp_path / "store", "no pooled table 'vision_max'", tables=["vision_max"])
    refused(tmp_path / "store", "dtype", dtype="int8")


def test_a_table_of_other_vectors_is_never_taken_for_a_pooled_one(tmp_path: Path) -> None:
    full_store(tmp_path / "store")
    pool_store(tmp_path / "store", ["vision_mean"])
    refused(tmp_path / "store", "'vision_mean' is there already", dtype="float16")
    store = EmbeddingStore.open(tmp_path / "store")
    with store.writer(store.tables["vision"]) as writer:
        writer.add(np.array([999]), np.ones((1, *SHAPE), np.float32))
    refused(tmp_path / "store", "'vision_mean' is there already")


def test_a_part_that_was_cut_off_is_named(tmp_path: Path) -> None:
    full_store(tmp_path / "store")
    part = tmp_path / "store" / "vision" / "part-00001.bin"
    part.write_bytes(part.read_bytes()[:-1])
    refused(tmp_path / "store", "part-00001.bin")


def test_a_disk_that_is_too_small_is_said_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full_store(tmp_path / "store")
    monkeypatch.setattr(pooling, "free_gib", lambda _: 1e-9)
    refused(tmp_path / "store", "GiB", FailureError)
