"""What matching distances of folds to those of predictions costs, and how well it does beside the plain ways."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial.distance import squareform
from scipy.stats import wasserstein_distance

from benchmarks.biodiversity_splits import peak_gb, simulate
from benchmarks.geomag import Rows, row
from groundswell.splits.cells import cells_of
from groundswell.splits.dealing import deal_units
from groundswell.splits.knndm_clusters import along_axis, merge_into_folds
from groundswell.splits.knndm_matching import MOST_SHARE, knndm_folds
from groundswell.splits.knndm_space import Space, space_of
from groundswell.splits.nearest import EARTH_M, unit_vectors
from groundswell.splits.prediction_points import prediction_grid

PLACES, FEW, FOLDS, GRID = 100_000, 5_000, 5, 10_000
SEEDS = (0, 1, 2)
"""Of the simulated places that both ways are compared on."""
NUMBERS = 100
"""Numbers of clusters that the plain way tries, as its authors do."""
BLOCKS_KM = (5.0, 10.0, 25.0, 50.0)
Codes = NDArray[np.int64]


def knndm(work: Path) -> Rows:
    """Folds of 100,000 simulated clustered places matched to predictions all over their extent; and the full matrix."""
    found = _in_a_process("sparse", PLACES, 0)
    blocks = {float(edge): w for edge, w in found["w_blocks"].items()}
    rows = [row(f"{PLACES:,} places, {FOLDS} folds, {found['candidates']} numbers of clusters",
                f"{found['seconds']:.1f} s ({found['cpu']:.1f} s of a processor), {found['gb']:.2f} GB at most",
                "under 120 s and 2 GB",
                found["seconds"] < 120 and found["gb"] < 2),
            row("W of kNNDM, of folds by chance", f"{found['w']:,.0f} m, {found['w_random']:,.0f} m", "below half",
                found["w"] < 0.5 * found["w_random"]),
            row("W of blocks dealt over as many folds", ", ".join(f"{w:,.0f} m with squares of {edge:g} km"
                                                                 for edge, w in blocks.items()),
                "kNNDM's is below that of each", found["w"] < min(blocks.values())),
            row("median distance to the nearest", found["medians"]),
            row(f"the matrix of all distances of {PLACES:,}", f"{PLACES**2 * 8 / 1e9:.0f} GB, not made")]
    for seed in SEEDS:
        ours, plain = (_in_a_process(way, FEW, seed) for way in ("sparse", "matrix"))
        rows.append(row(f"{FEW:,} places, seed {seed}: kNNDM, and by the full matrix", ", ".join(
            f"W {way['w']:,.0f} m in {way['seconds']:.1f} s and {way['gb']:.2f} GB ({way['clusters']} clusters)"
            for way in (ours, plain)) + f"; by chance {ours['w_random']:,.0f} m",
            "at most 1.1 times the matrix's W", ours["w"] <= 1.1 * plain["w"]))
    return rows


def _in_a_process(way: str, count: int, seed: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.biodiversity_knndm", way, str(count), str(seed)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True,
                            env={**os.environ, "GROUNDSWELL_QUIET": "1"}).stdout
    return json.loads(answer)


def measure(way: str, count: int, seed: int) -> dict[str, Any]:
    """One way in this process: ``sparse`` is what we do, ``matrix`` what others do."""
    places = simulate(count, "regional", seed)
    samples = np.column_stack([places.lat, places.lon])
    there = prediction_grid(places.lat, places.lon, GRID)
    started = time.perf_counter()
    if way == "matrix":
        w, clusters = by_matrix(samples, there)
        return {"w": w, "clusters": clusters, "seconds": time.perf_counter() - started, "gb": peak_gb()}
    used = time.process_time()
    found = knndm_folds(samples, there, FOLDS, seed=seed)
    seconds, cpu, gb = time.perf_counter() - started, time.process_time() - used, peak_gb()
    among = space_of(samples, "geographic")
    medians = {"from predictions": found.wanted, "from tested samples": found.tested, "by chance": found.tested_random}
    return {"w": found.w, "w_random": found.w_random, "clusters": found.clusters, "seconds": seconds, "cpu": cpu,
            "gb": gb, "candidates": len(found.candidates),
            "w_blocks": {edge: _of_blocks(among, samples, found.wanted, edge) for edge in BLOCKS_KM},
            "medians": ", ".join(f"{np.median(metres):,.0f} m {name}" for name, metres in medians.items())}


def _of_blocks(among: Space, samples: NDArray[np.float64], wanted: NDArray[np.float64], edge: float) -> float:
    cell = cells_of(samples[:, 0], samples[:, 1], "squares", km=edge, level=0)
    unit = np.unique(cell, return_inverse=True)[1]
    fold = deal_units(np.bincount(unit).astype(np.int64), (1 / FOLDS,) * FOLDS, 0, "blocks")[unit]
    return float(wasserstein_distance(among.beyond_folds(fold, np.arange(len(samples))), wanted))


def by_matrix(samples: NDArray[np.float64], there: NDArray[np.float64]) -> tuple[float, int]:
    """The least W that the method finds with the matrix of all distances and its clusters; and how many these are."""
    vectors = unit_vectors(*samples.T)
    apart = _metres(vectors, vectors)
    np.fill_diagonal(apart, 0.0)
    wanted = np.concatenate([_metres(part, vectors).min(axis=1) for part in np.array_split(unit_vectors(*there.T), 20)])
    numbers = np.unique(np.rint(np.geomspace(FOLDS, len(samples) - 2, NUMBERS)).astype(int))
    labels = cut_tree(linkage(squareform(apart, checks=False), "ward"), numbers)
    position, best = along_axis(vectors), (np.inf, 0)
    for number, label in zip(numbers, labels.T, strict=True):
        sizes = np.bincount(label)
        fold: Codes = merge_into_folds(sizes, np.bincount(label, position) / sizes, FOLDS)[label]
        if np.bincount(fold).max() > MOST_SHARE * len(fold):
            continue
        tested = np.concatenate([apart[np.ix_(fold == k, fold != k)].min(axis=1) for k in range(FOLDS)])
        best = min(best, (float(wasserstein_distance(tested, wanted)), int(number)))
    return best


def _metres(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    # Without a tree and without the rounding of a scalar product, a component at a time.
    square = np.zeros((len(one), len(other)))
    for a, b in zip(one.T, other.T, strict=True):
        square += (a[:, None] - b)**2
    return np.asarray(2 * EARTH_M * np.arcsin(np.minimum(np.sqrt(square) / 2, 1.0)))


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
