"""What a study of geomagnetic windows costs: several fits at once, memory, and a kill in the middle of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.geomag import REAL, Rows, absent, row, simulated
from groundswell.core.recipe import build_recipe
from groundswell.data.predictions import Predictions
from groundswell.pipelines.geomag.layout import WindowWriter
from groundswell.pipelines.geomag.recipe import GeomagRecipe
from groundswell.pipelines.geomag.study.fits import divide, fit_network, prepare_window
from groundswell.pipelines.geomag.study.folder import StudyFolder

TURNS = 2
QUIET = ["train.tensorboard=false", "train.checkpoint_epochs=0", "loader.threads=1"]


def _command(data: Path, out: Path, sets: list[str], more: list[str]) -> list[str]:
    """The command that begins a study and goes on with it."""
    said = [part for text in (f"data.folder={data.resolve()}", *QUIET, *sets) for part in ("--set", text)]
    return [sys.executable, "-m", "groundswell", "--quiet", "geomag", "study", "seed", *said, "--out", str(out), *more]


def _ended(out: Path) -> dict[str, int]:
    """When each fit of a study was done, ns, by the path of its ``done.json``."""
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.glob("runs/*/fold-*/done.json")}


# -- several fits at once ---------------------------------------------------------------------------------------------


ARMS = {"one worker of one thread": (1, 1), "one worker of two threads": (1, 2), "two workers of one thread": (2, 1)}
"""Workers and threads of each."""
FITS = 10
TEN = ["study.models=[mlp,gru]", "study.windows=[7]", "study.permutations=0", "evaluate.controls=[]",
       "evaluate.bootstrap=100", "train.epochs=16", "train.early_stopping_patience=0"]


def workers(work: Path) -> Rows:
    """The ten fits of a study: two at once against one at a time, start of the processes included (simulated windows).

    What comes after the fits, verdicts and pages, is not waited for.
    """
    data = work / "geomag-workers"
    simulated(data, {"windows": [7], "events": 400, "stations": {"count": 1}, "background": {"years": 9.0}})
    seconds: dict[str, list[float]] = {name: [] for name in ARMS}
    for _ in range(TURNS):
        for name, (count, threads) in ARMS.items():
            out = work / f"geomag-workers-{count}-{threads}"
            shutil.rmtree(out, ignore_errors=True)
            ended = kill_in_the_middle(_command(data, out, [*TEN, f"study.threads={threads}"],
                                                ["--engine", "loky", "--workers", str(count)]), out, FITS)
            begun = (out / "provenance.json").stat().st_mtime_ns  # written before the first fit
            seconds[name].append((max(ended.values()) - begun) / 1e9)
            print(f"      {name}: {seconds[name][-1]:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    one, threaded, two = (_answers(work / f"geomag-workers-{c}-{t}") for c, t in ARMS.values())
    best = {name: statistics.median(found) for name, found in seconds.items()}
    ratio = best["one worker of one thread"] / best["two workers of one thread"]
    rows = [row(name, " ".join(f"{value:.1f}" for value in found) + " s") for name, found in seconds.items()]
    return [*rows, row("ratio of the first to the last", f"{ratio:.2f}", "at least 1.6", ratio >= 1.6),
            row("the same answers from one worker and from two", bool(np.array_equal(one, two)), "True",
                bool(np.array_equal(one, two))),
            row("largest difference of a probability with two threads", f"{np.abs(one - threaded).max():.1e}")]


def _answers(out: Path) -> np.ndarray[Any, Any]:
    files = sorted(out.glob("runs/*/fold-*/test.parquet"))
    return np.concatenate([Predictions.read(path).probability for path in files])


# -- memory -----------------------------------------------------------------------------------------------------------


def memory(work: Path) -> Rows:
    """Peak memory of a process that opens 5,000 windows of 30 days (simulated, 864 MB) and fits one fold."""
    data = work / "geomag-memory"
    if not (data / "window-30").exists():
        _write_large(data)
    rows = []
    for model in ("mlp", "gru"):
        out = work / f"geomag-memory-{model}"
        shutil.rmtree(out, ignore_errors=True)
        code = f"from benchmarks.geomag_engine import fit_one; fit_one({str(data)!r}, {str(out)!r}, {model!r})"
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        opened, peak = (float(text) / 2**20 for text in done.stdout.split()[-2:])
        rows.append(row(f"{model}, seed's sizes, one epoch", f"{peak:.2f} GiB, {opened:.2f} of it to open the windows",
                        "at most 2 GiB", peak <= 2))
        shutil.rmtree(out, ignore_errors=True)
    shutil.rmtree(data)
    return rows


def _write_large(root: Path) -> None:
    rng, minutes = np.random.default_rng(0), 30 * 1440
    noise = 20 * rng.standard_normal(4 * minutes, dtype=np.float32)
    with WindowWriter(root, 30, (2500, 2500)) as writer:
        for label in (0, 1):
            for place in range(2500):
                start = int(rng.integers(0, 3 * minutes))
                writer.put(label, place, 17_000 + np.float32(place) + noise[start:start + minutes])
        writer.finish(None, {"simulated": True})


def fit_one(data: str, out: str, model: str) -> None:
    """Open windows of 30 days, divide them and fit the first fold; print the peaks of resident memory, KiB."""
    recipe = build_recipe(GeomagRecipe, {"data": {"folder": data}, "study": {"models": [model], "windows": [30]}},
                          [*QUIET, "train.epochs=1", "train.checkpoint_epochs=1"])
    folder = StudyFolder(Path(out))
    divided = divide(folder, recipe, 30)
    opened = _peak()
    folder.begin(recipe)
    prepare_window(folder, recipe, 30, divided)
    fit_network(out, model, 30, 0)
    print(opened, _peak())


def _peak() -> int:
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines()
                if line.startswith("VmHWM"))


# -- the whole study, and one that is killed --------------------------------------------------------------------------


WHOLE = ["train.epochs=3", "study.workers=2", "study.threads=1", "preprocess.detrend=mean", "preprocess.scaling=window",
         "split.holdout=0", "evaluate.bootstrap=1000"]


def study(work: Path) -> Rows:
    """Six models on windows of 7, 14 and 30 days (planted on real minutes), then the same, killed and gone on with."""
    if not REAL.is_file():
        return absent("the whole study")
    data, whole, broken = work / "geomag-study", work / "geomag-study-whole", work / "geomag-study-killed"
    simulated(data, {"placebo_shift_days": None, "background": {"files": [str(REAL)]}})
    for out in (whole, broken):
        shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    subprocess.run(_command(data, whole, WHOLE, []), check=True, capture_output=True)
    seconds = time.perf_counter() - started
    command = _command(data, broken, WHOLE, [])
    killed = kill_in_the_middle(command, broken, len(_ended(whole)) // 3)
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    resumed = time.perf_counter() - started
    after = _ended(broken)
    kept = sum(after[name] == when for name, when in killed.items())
    same = json.loads((whole / "study.json").read_text()) == json.loads((broken / "study.json").read_text())
    return [row("whole study", f"{seconds:.0f} s for {len(_ended(whole))} fits of 3 epochs, two at once, and all else"),
            row("fits done when all was killed", f"{len(killed)} of {len(after)}"),
            row("of these not done again", kept, f"{len(killed)}", kept == len(killed) > 0),
            row("the rest, by the same command", f"{resumed:.0f} s"),
            row("study.json equal to that of the study which was not killed", same, "True", same)]


def kill_in_the_middle(command: list[str], out: Path, fits: int) -> dict[str, int]:
    """Run a study until ``fits`` of its fits are done, kill it and all its processes by SIGKILL; what was done when."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        while len(_ended(out)) < fits and process.poll() is None:
            time.sleep(0.05)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    found = _ended(out)
    if len(found) < fits:
        raise RuntimeError(f"the study ended by itself ({process.returncode}) after {len(found)} fits")
    return found
