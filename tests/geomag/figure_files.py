"""A small folder of results for tests: random answers of known skill, logs, configurations and scores of controls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

MODELS = ("GRU", "LSTM", "RNN", "MLP", "Transformer", "MiniRocket")
FIVE = MODELS[:-1]
WINDOWS = ("7day", "14day", "30day")


def make_results(root: Path, *, models: Sequence[str] = MODELS, windows: Sequence[str] = WINDOWS, folds: int = 5,
                 epochs: int | Sequence[int] = 4, samples: int = 60, skill: float = 0.4, seed: int = 0,
                 facts: dict[str, Any] | None = None) -> Path:
    """Write what a study leaves in ``results``; ``epochs``: of every fold, or of each; ``facts`` go into each JSON."""
    generator = np.random.default_rng(seed)
    lengths = [epochs] * folds if isinstance(epochs, int) else list(epochs)
    for model in models:
        folder = root / f"{model.lower()}_models"
        folder.mkdir(parents=True, exist_ok=True)
        for window in windows:
            stem = folder / f"{model}Model_{window}"
            here = skill * generator.uniform(0.2, 1.8)
            for fold in range(1, folds + 1):
                for part in ("train", "test"):
                    write_answers(stem, fold, part, samples, here, generator)
                write_log(stem, fold, 0 if model == "MiniRocket" else lengths[fold - 1], here, generator)
            write_facts(stem, model, window, folds, facts or {}, generator)
    for window in windows:
        write_controls(root, window, models, bool((facts or {}).get("simulated")), generator)
    return root


def write_answers(stem: Path, fold: int, part: str, samples: int, skill: float, generator: np.random.Generator) -> None:
    labels = (np.arange(samples) % 8 < 3).astype(np.int64)
    one = 1 / (1 + np.exp(-(generator.standard_normal(samples) + skill * (2 * labels - 1))))
    np.save(f"{stem}_fold_{fold}_{part}_probs.npy", np.stack([1 - one, one], 1).astype(np.float32))
    np.save(f"{stem}_fold_{fold}_{part}_labels.npy", labels)


def write_log(stem: Path, fold: int, epochs: int, skill: float, generator: np.random.Generator) -> None:
    lines = [f"{stem.name.split('Model')[0]} on windows of 7 days, fold {fold} of 5: 100 train, 20 test windows."]
    for epoch in range(1, epochs + 1):
        a, b, c, d = generator.normal(0, 0.02, 4)
        done = 1 - np.exp(-epoch / 15)
        lines.append(f"Epoch {epoch}/{epochs} | train_loss {0.7 - 0.6 * done + a:.4f} | "
                     f"train_acc {0.55 + 0.44 * done - abs(b):.4f} | "
                     f"val_loss {0.69 + 0.5 * done ** 2 + c:.4f} | val_acc {0.5 + 0.2 * skill * done + d:.4f} | "
                     f"val_f1 0.5000 | val_mcc 0.0100 | lr 1.000e-03")
    stem.with_name(f"{stem.name}_fold_{fold}_logs.txt").write_text("\n".join(lines) + "\n")


def write_facts(stem: Path, model: str, window: str, folds: int, facts: dict[str, Any],
                generator: np.random.Generator) -> None:
    centre = generator.uniform(0.5, 0.66)
    by_fold = {name: generator.normal(centre + shift, 0.04, folds).clip(0, 1).tolist()
               for name, shift in (("f1", 0.0), ("precision", 0.02), ("recall", 0.01), ("specificity", 0.08))}
    by_fold["mcc"] = (2 * generator.normal(centre, 0.03, folds) - 1).tolist()
    by_fold["norm_mcc"] = ((np.array(by_fold["mcc"]) + 1) / 2).tolist()
    means = {name: float(np.mean(values)) for name, values in by_fold.items()}
    means |= {f"{name}_std": float(np.std(values)) for name, values in by_fold.items()}
    weights = generator.uniform(0.8, 1.2, folds)
    common = {"model_name": f"{model}Model", "window_name": window, "fold_metrics": by_fold, "average_metrics": means,
              "split": "kfold", "simulated": False, "ungrouped": False, **facts}
    stem.with_name(f"{stem.name}_summary.json").write_text(json.dumps({**common, "best_fold": 1}))
    stem.with_name(f"{stem.name}_ensemble_config.json").write_text(json.dumps(
        {**common, "ensemble_weights": (weights / weights.sum()).tolist(), "ensemble_method": "f1_weighted"}))


def write_controls(root: Path, window: str, models: Sequence[str], simulated: bool,
                   generator: np.random.Generator) -> None:
    kinds = [(m, "rival" if m == "MiniRocket" else "model") for m in models]
    kinds += [(f"{m}: its folds, weighted by F1, held-out groups", "ensemble") for m in models[:2]]
    kinds += [("all families, equal weights", "ensemble"), ("always the commonest class", "null"),
              ("time of day, season and year alone", "null"), ("Kp, ap and Dst alone", "null"),
              ("the station's coordinates alone", "null"), ("the same windows cut 90 days earlier", "null")]
    rows = []
    for title, kind in kinds:
        value = 0.5 if "commonest" in title else float(generator.uniform(0.45, 0.62))
        half = 0.0 if "commonest" in title else float(generator.uniform(0.03, 0.08))
        rows.append({"name": title.lower(), "title": title, "kind": kind, "metric": "roc_auc", "value": value,
                     "low": value - half, "high": value + half,
                     "p": None if kind == "ensemble" or half == 0 else float(generator.uniform(0.0005, 0.9))})
    marks = ["Simulated data."] if simulated else []
    (root / f"controls_{window}.json").write_text(json.dumps(
        {"window": window, "chance": 0.5, "unit": "windows", "note": {"marks": marks, "simulated": simulated},
         "rows": rows}))
