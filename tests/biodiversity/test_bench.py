"""The benchmark of a store: every way compared bit for bit, and what becomes of the promised 50 ms said in words."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_files import SHAPE, WIDTH, hub_folder

from groundswell.cli.main import main
from groundswell.core.errors import FailureError, InputError
from groundswell.data.embeddings.store import EmbeddingStore
from groundswell.pipelines.biodiversity import bench, bench_limits, bench_ways
from groundswell.pipelines.biodiversity.bench import TABLES, BenchReport, Timing, bench_store
from groundswell.pipelines.biodiversity.bench_limits import Limits
from groundswell.pipelines.biodiversity.bench_text import verdict
from groundswell.pipelines.biodiversity.bench_ways import BATCH, COPY, ENDPOINT, READ, USUAL, Tier, served
from groundswell.pipelines.biodiversity.importing import import_dataset
from groundswell.pipelines.biodiversity.pooling import pool_store
from groundswell.pipelines.biodiversity.wire import fetch_batch

GB = 1e9
MACHINE = Limits(10 * GB, 8 * GB, 1 * GB, 2)


@pytest.fixture(autouse=True)
def _a_small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_limits, "_LARGE", 1 << 20)
    monkeypatch.setattr(bench_limits, "_ENOUGH", 1 << 10)


def made(folder: Path, dtype: str = "float32") -> Path:
    """12 observations of 3 species, 10 with vision, pooled too."""
    import_dataset(hub_folder(folder / "set"), folder / "store", vision_shape=SHAPE, language_width=WIDTH, dtype=dtype)
    pool_store(folder / "store", dtype=dtype)
    return folder / "store"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def report(store: Path) -> BenchReport:
    patch = pytest.MonkeyPatch()
    patch.setattr(bench_limits, "_LARGE", 1 << 20)
    found = bench_store(store, batch_size=4, runs=3, cold_runs=2)
    patch.undo()
    return found


# -- what is measured -------------------------------------------------------------------------------------------------


def test_every_table_is_timed_by_every_way_on_as_many_batches(report: BenchReport) -> None:
    assert [tier.table for tier in report.tiers] == list(TABLES)
    for tier in report.tiers:
        assert set(tier.warm) == {READ, BATCH, COPY, USUAL, ENDPOINT}
        assert all(timing.runs == 3 and 0 < timing.p50_ms <= timing.p95_ms for timing in tier.warm.values())
        assert set(tier.cold) in ({READ, COPY, USUAL}, set())
        assert set(tier.ratios) == {COPY, USUAL, ENDPOINT} and all(ratio > 0 for ratio in tier.ratios.values())
        assert tier.copy_rate > 0 and tier.holds == "holds"


def test_bytes_are_counted_as_delivered_and_as_stored(tmp_path: Path, report: BenchReport) -> None:
    full = report.tiers[0]
    assert full.bytes == full.stored_bytes == full.distinct_bytes == 4 * 4 * np.prod(SHAPE)
    language = report.tiers[-1]
    assert language.distinct_bytes < language.bytes, "four observations of three species"
    halves = bench_store(made(tmp_path, "float16"), batch_size=4, runs=2, cold_runs=0, endpoint=False).tiers[0]
    assert halves.bytes == full.bytes and halves.stored_bytes == full.bytes // 2 and halves.cold == {}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("table", TABLES)
def test_all_ways_give_the_vectors_of_the_ids_in_their_order(tmp_path: Path, dtype: str, table: str) -> None:
    opened = EmbeddingStore.open(made(tmp_path, dtype))
    tier = Tier(opened, table, 5, 3, seed=1)
    tier.map()
    for k, ids in enumerate(tier.batches):
        for name, way in tier.ways(None).items():
            found = way(k)
            assert torch.equal(found, torch.from_numpy(opened.read(table, ids))), name
            assert tier.same(k, found)


def test_batches_are_those_of_the_seed_and_rows_come_once_where_there_are_enough(store: Path) -> None:
    opened = EmbeddingStore.open(store)
    one, same, other = (Tier(opened, "vision_mean", 8, 4, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one.batches, same.batches, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one.batches, other.batches, strict=True))
    assert all(len(np.unique(ids)) == 8 for ids in one.batches)
    assert all(len(ids) == 64 for ids in Tier(opened, "vision_mean", 64, 2, 1).batches)


@pytest.mark.parametrize("harm", ["a bit", "order", "shape", "type", "stale"])
def test_other_vectors_are_seen_however_little_they_differ(store: Path, harm: str) -> None:
    tier = Tier(EmbeddingStore.open(store), "vision_mean", 4, 1, 0)
    tier.map()
    good = tier.ways(None)[READ](0).clone()
    assert tier.same(0, good)
    bits = good.clone()
    bits.view(torch.int32)[3, -1] ^= 1
    wrong = {"a bit": bits, "order": good[[1, 0, 2, 3]], "shape": good[:3], "type": good.double(),
             "stale": torch.zeros_like(good)}[harm]
    assert not tier.same(0, wrong)


def test_a_way_that_gives_other_vectors_ends_the_benchmark(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = EmbeddingStore.read

    def swapped(self: EmbeddingStore, table: str, ids: Any, out: Any = None, **more: Any) -> Any:
        return whole(self, table, ids[::-1], out, **more)

    monkeypatch.setattr(EmbeddingStore, "read", swapped)
    with pytest.raises(FailureError, match=r"'store\.read' gave other vectors"):
        bench_store(store, batch_size=4, runs=1, cold_runs=0, endpoint=False)


def test_an_index_that_finds_other_rows_is_seen(store: Path) -> None:
    opened = EmbeddingStore.open(store)
    reader = opened.reader("vision_mean")
    reader._order = reader._order[::-1].copy()
    tier = Tier(opened, "vision_mean", 4, 1, 0)
    tier.map()
    assert not tier.same(0, tier.ways(None)[READ](0)), "the truth is not found by the index that is measured"


@pytest.mark.parametrize("key", ["observation_ids", "gbif_ids"])
def test_other_observations_end_the_benchmark(store: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    whole = bench_ways.get_training_batch

    def other(*given: Any, **more: Any) -> Any:
        batch = whole(*given, **more)
        batch["metadata"][key] = batch["metadata"][key][::-1]
        return batch

    monkeypatch.setattr(bench_ways, "get_training_batch", other)
    with pytest.raises(FailureError, match="other observations"):
        bench_store(store, batch_size=4, runs=1, cold_runs=0, endpoint=False, tables=["vision_mean"])


def test_the_endpoint_is_another_process_and_ends_with_the_benchmark(store: Path) -> None:
    opened = EmbeddingStore.open(store)
    with served(store) as url:
        ids = ["4000000000_1", "4000000007_1"]
        assert url.startswith("http://127.0.0.1:")
        assert torch.equal(fetch_batch(url, ids)["vision_embeddings"], bench_ways.get_training_batch(
            opened, ids)["vision_embeddings"])
    with pytest.raises(FailureError):
        fetch_batch(url, ids)


def test_a_process_that_does_not_start_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(FailureError, match="did not start"), served(tmp_path / "none"):
        pass


def test_threads_of_torch_are_as_before(store: Path) -> None:
    before = torch.get_num_threads()
    with bench_ways.one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


# -- cold and small ---------------------------------------------------------------------------------------------------


def test_what_the_system_keeps_in_memory_is_not_called_cold(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "read_from_disk", lambda: 12_345)
    found = bench_store(store, batch_size=4, runs=2, cold_runs=2, endpoint=False, tables=["vision_mean"])
    assert found.tiers[0].cold == {} and found.tiers[0].holds_cold is None and found.tiers[0].from_disk == 0
    assert "0% came from the disk" in found.text() and "Cold:" not in found.text()


def test_large_batches_are_read_cold_three_times_at_most(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_COLD_BYTES", 1)
    monkeypatch.setattr(bench, "read_from_disk", lambda: None)  # not counted here: taken at its word
    tier = bench_store(store, batch_size=4, runs=5, endpoint=False, tables=["vision_mean"]).tiers[0]
    assert tier.cold[READ].runs == 3 and tier.from_disk is None


def test_batches_that_memory_cannot_hold_are_smaller_and_it_is_said(store: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    row = 4 * int(np.prod(SHAPE))

    class Memory:
        available = 5 * 3 * row / bench._MEMORY_SHARE + 1

    monkeypatch.setattr(bench.psutil, "virtual_memory", Memory)
    found = bench_store(store, batch_size=8, runs=2, cold_runs=0, endpoint=False, tables=["vision"])
    assert found.tiers[0].batch_size == 3 and "batches of 3, not 8" in found.text()


def test_more_than_the_endpoint_gives_at_once_is_measured_without_it(store: Path) -> None:
    found = bench_store(store, batch_size=1001, runs=1, cold_runs=0, tables=["vision_mean"])
    assert ENDPOINT not in found.tiers[0].warm and BATCH in found.tiers[0].warm
    assert "at most 1,000 observations" in found.text()


def test_a_store_without_observations_is_measured_without_them(tmp_path: Path) -> None:
    store = made(tmp_path)
    (store / "observations.parquet").unlink()
    found = bench_store(store, batch_size=4, runs=1, cold_runs=0)
    assert all(set(tier.warm) == {READ, COPY, USUAL} for tier in found.tiers)
    assert "no observations" in found.text()


# -- what becomes of the 50 ms ----------------------------------------------------------------------------------------


def test_a_batch_that_copying_alone_takes_longer_for_cannot_hold() -> None:
    found = verdict(1.66 * GB, 1.66 * GB, 64, MACHINE, 300.0)
    assert found.warm == "cannot" and found.cold is None
    assert found.words == (
        "Warm: less than 50 ms cannot be on this machine. A batch is 1,660 MB, and copying so much in memory takes 166 "
        "ms at the measured 10 GB/s; 50 ms are enough for 19 of 64 vectors. p95 300 ms.",)


@pytest.mark.parametrize(("p95", "state"), [(0.3, "holds"), (50.0, "holds"), (50.1, "missed"), (900.0, "missed")])
def test_a_batch_that_could_hold_does_or_does_not(p95: float, state: str) -> None:
    found = verdict(26e6, 26e6, 64, MACHINE, p95)
    assert found.warm == state and len(found.words) == 1
    assert found.words[0].startswith(f"Warm: less than 50 ms {'holds' if state == 'holds' else 'is missed'}, p95 ")


@pytest.mark.parametrize(("stored", "p95", "state"), [(26e6, 40.0, "holds"), (26e6, 80.0, "missed"),
                                                      (100e6, 120.0, "cannot")])
def test_cold_batches_are_judged_by_the_disk(stored: float, p95: float, state: str) -> None:
    found = verdict(26e6, stored, 64, MACHINE, 3.0, p95)
    assert (found.warm, found.cold) == ("holds", state)
    assert found.words[1].startswith("Cold: ") and ("the disk takes 100 ms" in found.words[1]) == (state == "cannot")


def test_without_the_rate_of_the_disk_nothing_is_called_impossible() -> None:
    assert verdict(26e6, 1e12, 64, replace(MACHINE, disk=None), 3.0, 80.0).cold == "missed"


def test_one_vector_may_be_too_much() -> None:
    assert "not one of 64" in verdict(64 * GB, 64 * GB, 64, MACHINE, 9000.0).words[0]


def test_percentiles_are_in_milliseconds() -> None:
    assert Timing.of([0.001] * 19 + [0.101]) == Timing(pytest.approx(1.0), pytest.approx(6.0), 20)


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_text_has_a_row_for_each_way_and_a_verdict_for_each_table(report: BenchReport) -> None:
    text = report.text()
    for table in TABLES:
        assert all(re.search(rf"^{table} +{re.escape(way)} +[0-9.e+]+ ", text, re.M) for way in report.tiers[0].warm)
    assert text.count("Warm: less than 50 ms holds, p95 ") == len(TABLES)
    assert text.count(f"of the time of the {COPY}") == len(TABLES) and text.count("times as fast as the usual") == 5
    assert "memory to memory" in text and "compared with the files, and are equal" in text
    assert "simulated" not in text and max(map(len, text.splitlines())) < 400


def test_simulated_vectors_are_called_so(report: BenchReport) -> None:
    assert "Store store (simulated vectors)" in replace(report, simulated=True).text()


def test_the_command_prints_json_and_a_table(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--batch-size", "2", "--runs", "1", "--seed", "3"]
    assert main(["biodiversity", "bench", str(store), "--json", *small]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["batch_size"] == 2 and [tier["table"] for tier in found["tiers"]] == list(TABLES)
    assert found["tiers"][0]["warm"][ENDPOINT]["runs"] == 1 and found["limits"]["copy"] > 0
    assert main(["biodiversity", "bench", str(store), "--batch-size", "1001", "--runs", "1"]) == 0
    assert "less than 50 ms" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["--batch-size", "0"], ["--runs", "0"], ["--batch-size", "-3"]])
def test_numbers_that_measure_nothing_are_refused(store: Path, wrong: list[str],
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["biodiversity", "bench", str(store), *wrong]) == 2
    assert "measure nothing" in capsys.readouterr().err


def test_a_folder_without_a_store_and_a_store_without_vectors_are_refused(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["biodiversity", "bench", str(tmp_path)]) == 2
    EmbeddingStore.create(tmp_path / "empty")
    assert main(["biodiversity", "bench", str(tmp_path / "empty")]) == 2
    assert "no vectors in any of the tables" in capsys.readouterr().err
    with pytest.raises(InputError, match="measure nothing"):
        bench_store(tmp_path / "empty", cold_runs=-1)
