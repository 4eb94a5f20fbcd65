"""What a batch of embeddings costs from each kind of table, beside plain copies, the usual loader and an endpoint."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.geomag import Rows, row
from groundswell.core.recipe import build_recipe
from groundswell.pipelines.biodiversity.bench import BenchReport, TierReport, bench_store
from groundswell.pipelines.biodiversity.bench_ways import BATCH, COPY, ENDPOINT, READ, USUAL
from groundswell.pipelines.biodiversity.simulate.recipe import SimulateRecipe
from groundswell.pipelines.biodiversity.simulate.simulating import simulate

BATCH_SIZE = 64
POOLED = ["vision_mean", "vision_temporal", "vision_grid"]
STORES: Mapping[str, tuple[int, dict[str, Any]]] = {
    "pooled": (40, {"count": 3000, "tiers": POOLED}),
    "float16": (40, {"count": 1500, "tiers": ["vision_grid"], "dtype": "float16"}),
    "bfloat16": (40, {"count": 1500, "tiers": ["vision_grid"], "dtype": "bfloat16"}),
    "full": (10, {"count": 100, "species": 10, "tiers": ["vision"], "language": False}),
}
"""Batches and knobs of each simulated store: 4.5 GB of files in all."""
COPIES = {"vision": 1.3}
"""At most so many times as long as copying rows one by one; others at most as long."""
USUALS = 5.0
"""So many times as fast as an item at a time, copied and stacked. Where a batch has tens of MB that are in a cache,
either is as fast as memory lets it be, and three copies take three to four times as long as one."""


def store(work: Path) -> Rows:
    """Batches of 64 from simulated stores: beside a row-wise copy, copy and stack, and the endpoint; warm and cold."""
    rows: Rows = []
    for name, (runs, knobs) in STORES.items():
        folder = work / f"biodiversity-store-{name}"
        if not (folder / "store.json").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            simulate(build_recipe(SimulateRecipe, {"seed": 1, **knobs}), folder)
        report = bench_store(folder, batch_size=BATCH_SIZE, runs=runs)
        print("\n".join(f"      {line}" for line in report.text().splitlines()), flush=True)
        rows += _machine(name, report)
        for tier in report.tiers:
            rows += _tier(name, tier)
    return rows


def _machine(name: str, report: BenchReport) -> Rows:
    limits = report.limits
    disk = f"{limits.disk / 1e9:.2f} GB/s" if limits.disk else "not measured"
    return [row(f"{name}: the machine", f"copying in memory {limits.copy / 1e9:.1f} GB/s, disk {disk}", "")]


def _tier(store_name: str, tier: TierReport) -> Rows:
    name = f"{store_name}: {tier.table}, {tier.dtype}"
    most = COPIES.get(tier.table, 1.0)
    times = ", ".join(f"{way} {tier.warm[way].p50_ms:.3g} / {tier.warm[way].p95_ms:.3g}"
                      for way in (READ, BATCH, COPY, USUAL, ENDPOINT))
    cold = ", ".join(f"{way} {timing.p50_ms:.3g} / {timing.p95_ms:.3g}" for way, timing in tier.cold.items())
    copied, usual = tier.ratios[COPY], 1 / tier.ratios[USUAL]
    return [row(f"{name}: warm, p50 / p95 in ms", times),
            row(f"{name}: cold, p50 / p95 in ms", cold or "not measured"),
            row(f"{name}: time by that of a row-wise copy", f"{copied:.2f}", f"at most {most}", copied <= most),
            row(f"{name}: as fast as copy and stack, times", f"{usual:.1f}", f"at least {USUALS:g}", usual >= USUALS),
            row(f"{name}: time by that of the endpoint", f"{tier.ratios[ENDPOINT]:.2f}"),
            row(f"{name}: 50 ms a batch", " ".join(tier.words), "holds warm, or cannot", tier.holds != "missed")]
