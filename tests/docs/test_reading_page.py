"""The page about reading shows what the benchmarks measured, and the benchmarks measure what they say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from benchmarks import fill_reading, reading_files, reading_targets, reading_ways
from benchmarks.__main__ import KNOWN
from benchmarks.reading_files import Cell

ROOT = Path(__file__).resolve().parents[2]
CELL = Cell("time,channel", "float32", "contiguous", 1)
RATES = {"copy": 1000.0, "naive 0": 100.0, "naive 1": 50.0, "naive 2": 120.0, "h5py": 900.0, "ours": 950.0,
         "ours, prefetch": 600.0}


def test_make_bench_runs_every_benchmark_that_the_page_shows() -> None:
    page = (ROOT / "docs" / "reading.md").read_text("utf-8")
    shown = re.findall(r"<!-- results: (\w+) -->", page)
    line = next(line for line in (ROOT / "Makefile").read_text().splitlines() if "-m benchmarks reading" in line)
    assert shown == line.split("-m benchmarks ")[1].split() and set(shown) <= set(KNOWN)


def test_targets_of_a_cell_are_reached_or_missed_as_the_ratios_say() -> None:
    found = {target.measure: target for target in reading_targets.targets(CELL, RATES)}
    assert {measure: target.reached for measure, target in found.items()} == {
        "ours ÷ copy": True, "prefetch ÷ copy": True, "× naive": True, "× h5py": True}
    assert found["× naive"].value == 5.0, "beside the best number of processes"
    slow = {target.measure: target.reached for target in reading_targets.targets(CELL, {**RATES, "ours": 800.0})}
    assert slow == {"ours ÷ copy": False, "prefetch ÷ copy": True, "× naive": True, "× h5py": False}


def test_every_cell_of_the_issue_is_there() -> None:
    every = reading_files.every_cell()
    assert len(every) == len(set(every)) == 2 * 2 * 6 * 2
    assert all(reading_targets.targets(cell, RATES) for cell in every)


def test_the_page_is_filled_from_the_results(tmp_path: Path) -> None:
    table = [{"cell": cell.name, "rates": {**RATES, "ours": 500.0}} for cell in reading_files.every_cell()[:2]]
    (tmp_path / "reading.json").write_text(json.dumps({"rows": [{"what": "x", "value": 1, "table": table}]}))
    (tmp_path / "reading_cold.json").write_text(json.dumps({"rows": [
        {"what": "windows in a row", "value": 0.9, "target": "at least 0.85", "reached": True}]}))
    page = fill_reading.fill((ROOT / "docs" / "reading.md").read_text("utf-8"), tmp_path)
    assert "| windows in a row | 0.9 | at least 0.85 | reached |" in page
    assert f"| {CELL.name} | 1000 | 120 (2) | 900 | – | 500 | 600 | 2.00 |" in page
    assert f"- {CELL.name}, ours ÷ copy 2.00 (at most 1.2)" in page
    assert fill_reading.fill(page, tmp_path) == page and fill_reading.fill(page, tmp_path / "none") == page


@pytest.mark.parametrize("order", reading_files.ORDERS)
@pytest.mark.parametrize("storage", ["contiguous", "gzip", "lz4"])
def test_ours_and_the_others_read_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str,
                                                 storage: str) -> None:
    for module in (reading_files, reading_ways):
        monkeypatch.setattr(module, "SAMPLES", 12_000)
    cell = Cell(order, "int16", storage, 10)
    path = reading_files.written(tmp_path, cell)
    memory = reading_files.in_memory(cell)
    with h5py.File(path) as file:
        assert np.array_equal(file[reading_ways.DATASET][()], memory)
    ours = reading_ways.Ours(path, cell, 0)
    batch = next(iter(ours.loaded.loader.iterate(0)))
    starts = ours.loaded.source.inner._start if storage != "contiguous" else ours.loaded.source._start
    for row, x in zip(batch["row"].tolist(), batch["x"], strict=True):
        begin = int(starts[row])
        plain = memory.T if cell.by_channel else memory
        assert np.array_equal(x.numpy(), plain[begin:begin + reading_ways.WINDOW, ::10])
    for way in (ours, reading_ways.cached(path, cell), reading_ways.memory_copy(cell, memory),
                reading_ways.naive(path, cell, 0)):
        assert way(1) > 0
    ours.close()
