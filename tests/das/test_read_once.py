"""Training that reads windows in blocks: who decides it, and what it may not depend on."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch
from window_archive import write_file

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.core.run import RunFolder
from groundswell.data.order import BlockOrder, Order
from groundswell.data.pool import pool_of
from groundswell.pipelines.das.data import WORKFLOW
from groundswell.pipelines.das.recipe import DasRecipe
from groundswell.pipelines.loading import training_loader
from groundswell.pipelines.workflow import FoldSetup, plan_run, start_run, workflow_of
from groundswell.train.fit import fit

FILES = 6


@pytest.fixture
def archive(tmp_path):
    """Simulated noise, half of it a little louder: enough to go through the motions."""
    folder = tmp_path / "data"
    for k in range(FILES):
        values = np.random.default_rng(k).normal(0, 100 + 20 * (k % 2), (1200, 6)).astype(np.float32)
        write_file(folder / f"{k}.h5", values=values)
    (folder / "labels.json").write_text(str({f"{k}.h5": k % 2 for k in range(FILES)}).replace("'", '"'))
    return folder


def recipe(folder, **parts):
    values = {
        "data": {"folder": str(folder), "window_samples": 128, "stride_samples": 64},
        "model": {"type": "fibre_cnn", "hidden_dim": 8, "num_layers": 1},
        "loader": {"threads": 1, "read_once": "always", "pool_blocks": 6, **parts.pop("loader", {})},
        "split": {"regime": "holdout"} if parts.pop("holdout", False) else {"regime": "kfold", "folds": 2},
        "train": {"epochs": 2, "batch_size": 8, "threads": 1, "tensorboard": False, "checkpoint_every_steps": 1,
                  **parts.pop("train", {})},
        "evaluate": {"bootstrap": 200}}
    return build_recipe(DasRecipe, values)


def compress(path):
    with h5py.File(path, "r+") as file:
        kept = file["sr/data"][:]
        del file["sr/data"]
        file.create_dataset("sr/data", data=kept, chunks=(100, 6), compression="gzip")


def test_the_archive_decides_unless_the_recipe_does(archive):
    def decided(**loader):
        made = recipe(archive, loader={"read_once": "auto", **loader})
        return WORKFLOW.read_once(made, WORKFLOW.open(made))

    assert not decided(), "a small archive that is not compressed"
    assert decided(read_once="always")
    compress(archive / "3.h5")
    assert decided() and not decided(read_once="never")
    balanced = recipe(archive, loader={"read_once": "auto"}, train={"balanced_sampling": True,
                                                                    "use_class_weights": False})
    assert not WORKFLOW.read_once(balanced, WORKFLOW.open(balanced))


def test_what_cannot_be_read_once_is_refused_before_anything_is_written(archive, tmp_path):
    insists = recipe(archive, train={"balanced_sampling": True, "use_class_weights": False})
    with pytest.raises(InputError, match="draws them by their class") as caught:
        start_run("das", insists, tmp_path / "run")
    assert caught.value.where == "loader.read_once" and not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="nothing in common"):
        workflow_of("geomag").read_once(insists, None)


def test_without_it_the_order_is_what_it_was(archive, tmp_path):
    run = start_run("das", recipe(archive, loader={"read_once": "auto"}), tmp_path / "run")
    setup = FoldSetup("das", run.path, 0)(0, 1, torch.device("cpu"))
    assert setup.order == {}
    seen = [batch["row"].tolist() for batch in setup.train.iterate(1)]
    rows = np.unique(np.concatenate(seen))
    assert seen == Order(rows, 8, 42, skip_single=WORKFLOW.skip_single).epoch(1)[0].tolist()
    setup.train.close()
    setup.validation.close()


def test_the_pool_is_told_of_and_a_small_one_warned_of(archive, tmp_path):
    lines = plan_run("das", recipe(archive), tmp_path / "run")
    told = [line for line in lines if line.startswith("Reading:")]
    assert len(told) == 1 and "each read once an epoch, 0." in told[0]
    assert not [line for line in lines if "pool is small" in line]
    for k in range(FILES):
        write_file(archive / f"{k}.h5", samples=1200, channels=200, seed=k)
    lines = plan_run("das", recipe(archive, loader={"pool_mb": 1, "pool_blocks": 128}), tmp_path / "run")
    assert [line for line in lines if "pool is small" in line and "loader.pool_mb=1 " in line]
    assert not [line for line in plan_run("das", recipe(archive, loader={"read_once": "never"}), tmp_path / "run")
                if line.startswith(("Reading", "The pool"))]


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_no_window_and_miss_none(archive, tmp_path, world):
    run = start_run("das", recipe(archive), tmp_path / "run")
    seen, validated, batches = [], [], set()
    for rank in range(world):
        setup = FoldSetup("das", run.path, 0)(rank, world, torch.device("cpu"))
        batches.add(setup.train.batches)
        for loader, rows in ((setup.train, seen), (setup.validation, validated)):
            for batch in loader.iterate(0):
                rows += batch["row"][batch["weight"] > 0].tolist()
            loader.close()
    alone = FoldSetup("das", run.path, 0)(0, 1, torch.device("cpu"))
    for loader, rows in ((alone.train, seen), (alone.validation, validated)):
        every = [row for batch in loader.iterate(0) for row in batch["row"][batch["weight"] > 0].tolist()]
        loader.close()
        assert sorted(rows) == sorted(every)
    assert len(batches) == 1


def test_weights_and_logs_depend_on_no_thread_worker_or_budget(archive, tmp_path):
    kept = {}
    for name, loader in (("plain", {}), ("others", {"threads": 3, "pool_mb": 1, "prefetch_batches": 0}),
                         ("workers", {"workers": 1})):
        made = recipe(archive, loader=loader, train={"epochs": 1})
        run = start_run("das", made, tmp_path / name)
        fit(FoldSetup("das", run.path, 0), made.train, run.fold_path(0), quiet=True)
        kept[name] = [(run.fold_path(0) / file).read_bytes()
                      for file in ("weights/best.safetensors", "logs/steps.csv", "logs/epochs.csv")]
    assert kept["plain"] == kept["others"] == kept["workers"]


def test_a_fit_is_resumed_with_other_threads_but_not_with_other_blocks(archive, tmp_path):
    run = start_run("das", recipe(archive), tmp_path / "run")
    place = run.fold_path(0)
    fit(FoldSetup("das", run.path, 0), recipe(archive, train={"epochs": 2}).train, place, quiet=True)
    kept = sorted((place / "checkpoints").glob("*.ckpt"))
    assert kept
    path = run.path / "recipe.yaml"
    text = path.read_text()

    def resumed(old, new):
        assert old in text
        path.write_text(text.replace(old, new))
        fit(FoldSetup("das", run.path, 0), RunFolder(run.path).recipe(DasRecipe).train, place, resume=True, quiet=True)

    resumed("threads: 1\n  prefetch_batches: 2", "threads: 2\n  prefetch_batches: 1")
    resumed("pool_mb: 2048", "pool_mb: 1")
    for old, new in (("block_windows: 4", "block_windows: 5"), ("pool_blocks: 6", "pool_blocks: 7"),
                     ("read_once: always", "read_once: never")):
        with pytest.raises(InputError, match=r"This fit cannot be resumed: the order \(loader.read_once\) followed"):
            resumed(old, new)


def test_batches_come_out_of_the_pool(archive):
    made = recipe(archive)
    opened = WORKFLOW.open(made)
    loader = training_loader(WORKFLOW, made, opened, np.arange(len(opened.table)), "cpu", rank=0, world=1)
    assert isinstance(loader._order, BlockOrder)
    pool = pool_of(loader._source)
    for epoch in range(2):
        for _ in loader.iterate(epoch):
            pass
    assert pool.reads == len(pool.blocks), "what has room is read once and for all"
    loader.close()
