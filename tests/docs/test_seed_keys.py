"""The table of the seed's keys names keys that exist, with the defaults they have."""

from __future__ import annotations

import json
import re
from pathlib import Path

from groundswell.core.recipe import describe_recipe
from groundswell.core.registry import get_pipeline

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pipelines" / "seed-keys.md"
SEED = {
    "data": "data_dir cache_dir sample_rate window_size stride num_channels batch_size prefetch_batches num_workers",
    "training": "epochs learning_rate weight_decay early_stopping_patience validation_split test_split "
                "use_class_weights use_focal_loss focal_gamma",
    "model": "type hidden_dim num_layers bidirectional dropout",
    "augmentation": "use_augmentation noise_level time_shift_range amplitude_scale_range",
    "output": "model_dir log_dir checkpoint_every",
}


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_every_key_of_the_seed_is_in_the_table() -> None:
    expected = {f"{part}.{key}" for part, keys in SEED.items() for key in keys.split()}
    assert {row[0].strip("`") for row in rows()} == expected


def test_our_keys_exist_with_the_defaults_of_the_table() -> None:
    defaults = {key: default for key, _, default, _ in describe_recipe(get_pipeline("das").recipe_class())}
    checked = 0
    for seed, ours, _, here, _ in rows():
        if ours.startswith("`--") or ours == "(none)":
            continue
        key = ours.strip("`")
        assert key in defaults, f"{seed}: the recipe has no key {key}"
        assert json.loads(here.strip("`")) == json.loads(defaults[key]), f"{key} defaults to {defaults[key]}"
        checked += 1
    assert checked > 20
