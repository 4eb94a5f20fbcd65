"""The table of the seed's keys names keys that exist, with the defaults they have."""

from __future__ import annotations

import json
import re
from pathlib import Path

from groundswell.core.recipe import describe_recipe
from groundswell.core.registry import get_pipeline

PAGES = Path(__file__).resolve().parents[2] / "docs" / "pipelines"
PAGE, GEOMAG, MARINE = PAGES / "seed-keys.md", PAGES / "geomag-seed-keys.md", PAGES / "marine-seed-keys.md"
SEED = {
    "data": "data_dir cache_dir sample_rate window_size stride num_channels batch_size prefetch_batches num_workers",
    "training": "epochs learning_rate weight_decay early_stopping_patience validation_split test_split "
                "use_class_weights use_focal_loss focal_gamma",
    "model": "type hidden_dim num_layers bidirectional dropout",
    "augmentation": "use_augmentation noise_level time_shift_range amplitude_scale_range",
    "output": "model_dir log_dir checkpoint_every",
}


NOTEBOOKS = ("base_path output_dir window_period batch_size learning_rate weight_decay max_grad_norm epochs num_folds "
             "random_state hidden_sizes num_layers dropout_prob use_batch_norm bidirectional nonlinearity activation "
             "d_model nhead num_encoder_layers dim_feedforward input_size output_size patience factor T_max method "
             "oversample gamma strategy device_ids max_workers optimize")


def rows(page: Path = PAGE) -> list[list[str]]:
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
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


def test_every_name_of_the_notebooks_is_in_the_table_with_our_default() -> None:
    found = rows(GEOMAG)
    assert {name.strip("` ") for row in found for name in row[0].split(",")} == set(NOTEBOOKS.split())
    defaults = {key: default for key, _, default, _ in describe_recipe(get_pipeline("geomag").recipe_class())}
    for seed, ours, _, here, _ in found:
        if not ours.startswith("`--") and ours != "(none)":
            key = ours.strip("`")
            assert key in defaults, f"{seed}: the recipe has no key {key}"
            assert json.loads(defaults[key]) == json.loads(here.strip("`")), f"{key} defaults to {defaults[key]}"


def test_our_keys_for_those_of_the_marine_scripts_exist_with_the_defaults_of_the_table() -> None:
    defaults = {key: default for key, _, default, _ in describe_recipe(get_pipeline("marine").recipe_class())}
    checked = 0
    for seed, ours, _, here, remark in rows(MARINE):
        if ours.startswith("`--") or ours == "(none)":
            assert here == "(none)" and remark, f"{seed}: no key, no default and no reason"
            continue
        key = ours.strip("`")
        assert key in defaults, f"{seed}: the recipe has no key {key}"
        assert json.loads(defaults[key]) == json.loads(here.strip("`")), f"{key} defaults to {defaults[key]}"
        checked += 1
    assert checked > 60
