"""Whether MoCo v3 teaches a detector's backbone anything without labels: a probe on simulated animals, both engines."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from benchmarks.geomag import Rows, row
from groundswell.core.recipe import build_recipe
from groundswell.pipelines.marine.moco.pretraining import pretrain
from groundswell.pipelines.marine.moco.probe import probe
from groundswell.pipelines.marine.recipe import MarineRecipe
from groundswell.pipelines.marine.simulate.simulating import simulate_set

ENGINES = {"rtdetr": "rtdetrv2_nano", "yolo": "yolov8n"}
SEED = 2
PRETRAIN = {"epochs": 60, "batch_size": 64, "hidden_dim": 512, "projection_dim": 128, "crop": 0.15}
"""300 steps of small views: minutes on a core."""
CHOSEN = {"rtdetr": {"size": 64, "learning_rate": 2e-3}, "yolo": {"size": 96, "learning_rate": 5e-4}}
"""On images of another seed (1)."""


def pretraining(work: Path) -> Rows:
    """300 steps on 288 simulated images without boxes; a linear classifier of six animals on clips nobody has seen."""
    folder = work / "marine-pretraining"
    shutil.rmtree(folder, ignore_errors=True)
    images = simulate_set(folder / "images", seed=SEED, clips=160, frames=3, size=(128, 128), animals=(1, 3),
                          scale=(0.9, 1.6), turbidity=(0.0, 0.4))
    rows = [row("simulated images", f"{len(images)} of 160 clips")]
    for engine, name in ENGINES.items():
        recipe = build_recipe(MarineRecipe, {
            "data": {"images": str(images.path), "size": 128}, "model": {"engine": engine, "name": name},
            "loader": {"threads": 1}, "train": {"threads": 1, "tensorboard": False},
            "pretrain": {**PRETRAIN, **CHOSEN[engine]}, "split": {"validation": 0.15, "test": 0.25}})
        started = time.process_time()
        pretrain(recipe, folder / name, quiet=True)
        spent = time.process_time() - started
        found = probe(folder / name)
        difference = found.difference
        assert difference.value is not None and difference.low is not None and difference.high is not None
        rows += [row(f"{name}, mean recall of {len(found.classes)} classes, {found.tested} animals of {found.clips} "
                     "unseen clips", f"pretrained {found.pretrained.value:.3f}, by chance {found.chance.value:.3f}"),
                 row(f"{name}, difference", f"{difference.value:+.3f} ({difference.low:+.3f} to "
                     f"{difference.high:+.3f})", "interval above 0", difference.low > 0),
                 row(f"{name}, processor time of the pretraining", f"{spent:.0f} s")]
    return rows
