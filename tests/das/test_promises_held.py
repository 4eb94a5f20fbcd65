"""Numbers and habits of the seed that no other test holds: its networks, its augmentation, its files, its 300 GB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from window_archive import write_file

from groundswell.core.recipe import build_recipe, shipped_recipe
from groundswell.core.run import RunFolder
from groundswell.data.arrays import ArraySource
from groundswell.data.loader import Loader
from groundswell.data.order import Order
from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.evaluate.controls import majority
from groundswell.pipelines.das import plots
from groundswell.pipelines.das.augment import augment, draw_starts
from groundswell.pipelines.das.controls import start_hour
from groundswell.pipelines.das.models import build_model
from groundswell.pipelines.das.models.lstm import LstmClassifier
from groundswell.pipelines.das.models.temporal_cnn import TemporalCnn
from groundswell.pipelines.das.models.transformer import TransformerClassifier
from groundswell.pipelines.das.network import run_predictor
from groundswell.pipelines.das.predict import Prediction, predict_inputs
from groundswell.pipelines.das.preprocess import Prepared, Preprocess, crop
from groundswell.pipelines.das.recipe import AugmentRecipe, DasModelRecipe, DasRecipe, PreprocessRecipe
from groundswell.pipelines.das.ship import write_state_dicts
from groundswell.pipelines.das.simulate.archive import small_archive
from groundswell.pipelines.das.source import DasWindowSource
from groundswell.pipelines.das.task import DasTask
from groundswell.pipelines.das.windows import build_index
from groundswell.pipelines.workflow import FoldSetup, start_run, train_run
from groundswell.splits.make import make_split
from groundswell.splits.recipe import SplitRecipe
from groundswell.train.checkpoint import read_checkpoint

CLASSES = ("earthquake", "quarry_blast")
SEED_TYPES = ("temporal_cnn", "lstm", "transformer")


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# -- networks ----------------------------------------------------------------------------------------------------------


def test_the_networks_have_as_many_parameters_as_the_seeds() -> None:
    """18,958 channels are those of the Bigorre cable."""
    wide = build_model(DasModelRecipe(), 18_958, 1024, 2)
    assert parameters(wide) == 8_628_738
    assert parameters(build_model(DasModelRecipe(), 256, 1024, 2)) == pytest.approx(6.23e6, rel=1e-3)
    assert parameters(build_model(DasModelRecipe(type="lstm", hidden_dim=64, num_layers=1), 18_958, 2000, 2)) \
        == 2_460_418
    assert parameters(build_model(DasModelRecipe(type="transformer"), 18_958, 2000, 2)) == 3_492_738


@pytest.mark.parametrize("kind", [*SEED_TYPES, "fibre_cnn"])
def test_windows_of_batch_channel_time_give_two_logits(kind: str) -> None:
    recipe = build_recipe(DasRecipe, {"model": {"type": kind, "hidden_dim": 16, "num_layers": 2},
                                      "data": {"window_samples": 128}})
    task = DasTask(recipe, channels=6, rate_hz=100.0, spacing_m=5.0, classes=CLASSES).eval()
    prepared = task.preprocess(torch.randn(3, 128, 6))
    assert prepared.x_bct.shape == (3, 6, 128)
    logits = task.classify(prepared, torch.full((3,), 5.0))
    assert logits.shape == (3, 2)
    probability = task.predict({"x": torch.randn(3, 128, 6), "spacing_m": torch.full((3,), 5.0)})["probability"]
    torch.testing.assert_close(probability.sum(dim=1), torch.ones(3))
    assert set(probability.argmax(dim=1).tolist()) <= {0, 1}


def test_the_temporal_cnn_is_built_as_the_seed_says() -> None:
    model = TemporalCnn(6, 64, 2, width=8, blocks=4, dropout=0.3)
    convolutions = [m for m in model.blocks if isinstance(m, nn.Conv1d)]
    assert [c.out_channels for c in convolutions] == [8, 8, 16, 16, 32, 32, 32, 32]
    assert [c.kernel_size[0] for c in convolutions] == [7, 5] * 4
    assert sum(isinstance(m, nn.MaxPool1d) for m in model.blocks) == 4
    assert sum(isinstance(m, nn.BatchNorm1d) for m in model.blocks) == 8
    assert model.project.kernel_size == (1,)
    seen = []
    model.head.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    x = torch.randn(2, 6, 64)
    model.eval()(x)
    torch.testing.assert_close(seen[0], model.blocks(model.project(x)).mean(dim=2))  # the global pool


def test_the_lstm_averages_four_neighbours_and_reads_both_ways() -> None:
    model = LstmClassifier(10, 2, width=5, layers=1, bidirectional=True, dropout=0.3).eval()
    assert model.groups == 2
    x = torch.randn(3, 10, 40)
    within = x[:, [3, 1, 0, 2, 9, 8, 7, 6, 5, 4]]
    across = x[:, [4, 1, 2, 3, 0, 5, 6, 7, 8, 9]]
    torch.testing.assert_close(model(within), model(x))
    assert not torch.allclose(model(across), model(x))
    # What happens last reaches the state read forwards, what happens first the one read backwards.
    assert model.head[1].in_features == 10
    for at in (0, -1):
        changed = x.clone()
        changed[:, :, at] += 5
        assert (model(changed) - model(x)).abs().max() > 1e-3


def test_the_transformer_answers_from_its_class_token() -> None:
    model = TransformerClassifier(6, 20, 2, width=16, layers=2, heads=8, dropout=0.0).eval()
    for layer in model.encoder.layers:
        assert (layer.self_attn.num_heads, layer.linear1.out_features, layer.norm_first) == (8, 64, False)
    x = torch.randn(2, 6, 20)
    assert not torch.allclose(model(x.flip(2)), model(x))  # positions are told apart
    fresh = TransformerClassifier(6, 2000, 2, width=64, layers=1, heads=8, dropout=0.0)
    assert fresh.positions.shape == (1, 2000, 64)
    assert float(fresh.positions.detach().std()) == pytest.approx(0.02, rel=0.02)
    model.encoder = nn.Identity()
    torch.testing.assert_close(model(x), model.head(model.class_token[:, 0]).expand(2, 2))


def test_fibre_cnn_takes_any_number_of_channels_and_padding_beyond_the_cable_tells_it_nothing() -> None:
    torch.manual_seed(1)
    model = build_model(DasModelRecipe(type="fibre_cnn", hidden_dim=32, num_layers=2), 999, 256, 2).eval()

    def answer(x: torch.Tensor, dead: int) -> torch.Tensor:
        alive = torch.ones(x.shape[:2], dtype=torch.bool)
        padded = Prepared(nn.functional.pad(x, (0, 0, 0, dead)), nn.functional.pad(alive, (0, dead)),
                          torch.ones(len(x), 256, dtype=torch.bool))
        return model(padded, torch.ones(len(x)))

    with torch.inference_mode():
        for channels in (1, 12, 200):
            x = torch.randn(2, channels, 256)
            torch.testing.assert_close(answer(x, 60), answer(x, 16), rtol=1e-4, atol=1e-5)
            # The last filters reach over the cable's end by one step more where there is padding.
            assert answer(x, 0).shape == (2, 2)
            assert (answer(x, 16) - answer(x, 0)).abs().max() < 0.2


# -- what happens to a window ------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), power=st.integers(-20, 6), offset=st.floats(-3, 3))
def test_each_channel_gets_mean_0_and_deviation_1(seed: int, power: int, offset: float) -> None:
    random = torch.Generator().manual_seed(seed)
    size = 10.0 ** power * torch.rand(2, 1, 5, generator=random).add(0.1)
    x = (torch.randn(2, 300, 5, generator=random) + offset) * size
    x[:, :, 3] = x[0, 0, 3]  # a channel that does not move
    x[1, 250:] = 0  # and a window that ends early
    prepared = Preprocess(PreprocessRecipe(), 100.0, 300)(x)
    assert prepared.x_bct.dtype == torch.float32 and prepared.x_bct.shape == (2, 5, 300)
    for window, length in ((0, 300), (1, 250)):
        real = prepared.x_bct[window, :, :length].double()
        living = [0, 1, 2, 4]
        torch.testing.assert_close(real[living].mean(1), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-4)
        torch.testing.assert_close(real[living].std(1, correction=0), torch.ones(4, dtype=torch.float64), rtol=1e-3,
                                   atol=0)
        assert not prepared.x_bct[window, :, length:].any()
    assert prepared.alive_bc.tolist() == [[True, True, True, False, True]] * 2
    assert not prepared.x_bct[:, 3].any()


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32, torch.float64])
def test_whatever_is_stored_the_network_sees_float32(dtype: torch.dtype) -> None:
    x = (100 * torch.randn(2, 64, 3)).to(dtype)
    assert Preprocess(PreprocessRecipe(), 100.0, 64)(x).x_bct.dtype == torch.float32


def test_scaling_by_window_keeps_amplitudes_along_the_fibre() -> None:
    x = torch.randn(2, 400, 4) * torch.tensor([1.0, 2.0, 4.0, 0.0])
    prepared = Preprocess(PreprocessRecipe(scaling="window"), 100.0, 400)(x)
    size = prepared.x_bct.std(dim=2)
    torch.testing.assert_close(size[:, 1:3] / size[:, :1], x.std(1)[:, 1:3] / x.std(1)[:, :1])
    assert prepared.alive_bc.tolist() == [[True, True, True, False]] * 2


def tone(hz: float, rate_hz: float = 250.0, samples: int = 2048) -> torch.Tensor:
    return torch.sin(2 * torch.pi * hz / rate_hz * torch.arange(samples))[None, :, None].repeat(1, 1, 2)


@pytest.mark.parametrize(("recipe", "kept_hz", "lost_hz"), [
    ({"bandpass_hz": (5, 50)}, 20, 90), ({"bandpass_hz": (5, 50)}, 20, 1), ({"bandpass_hz": (2, 30)}, 10, 60),
    ({"decimate": 5}, 8, 40), ({"decimate": 2}, 30, 100)])
def test_bands_pass_what_they_say_and_decimation_folds_nothing_back(recipe: dict[str, object], kept_hz: float,
                                                                    lost_hz: float) -> None:
    preprocess = Preprocess(PreprocessRecipe(scaling="none", **recipe), 250.0, 2048)
    middle = slice(preprocess.samples_out // 4, -preprocess.samples_out // 4)
    kept, lost = (float(preprocess(tone(hz)).x_bct[0, 0, middle].std()) / 0.7071 for hz in (kept_hz, lost_hz))
    assert kept == pytest.approx(1, abs=0.02)
    assert lost < 0.01


def test_neighbours_are_averaged_not_skipped_and_dead_ones_do_not_count() -> None:
    preprocess = Preprocess(PreprocessRecipe(scaling="none", average_channels=10), 100.0, 500)
    x = torch.randn(1, 500, 25)
    x[:, :, 4] = 7.0
    x -= x.mean(dim=1, keepdim=True) * (torch.arange(25) != 4)
    prepared = preprocess(x)
    assert prepared.x_bct.shape == (1, 2, 500)
    torch.testing.assert_close(prepared.x_bct[0, 0], x[0, :, [0, 1, 2, 3, 5, 6, 7, 8, 9]].mean(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(prepared.x_bct[0, 1], x[0, :, 10:20].mean(1), rtol=1e-4, atol=1e-5)


# -- augmentation ------------------------------------------------------------------------------------------------------


def plain_windows(windows: int = 4000) -> Prepared:
    random = torch.Generator().manual_seed(5)
    x = torch.randn(windows, 2, 64, generator=random)
    x = x / x.square().mean(dim=(1, 2), keepdim=True).sqrt()
    return Prepared(x, torch.ones(windows, 2, dtype=torch.bool), torch.ones(windows, 64, dtype=torch.bool))


def test_half_of_the_windows_get_noise_of_five_per_cent() -> None:
    before = plain_windows()
    after = augment(AugmentRecipe(amplitude_scale_range=(1, 1)), before, torch.Generator().manual_seed(1))
    added = (after.x_bct - before.x_bct).square().mean(dim=(1, 2)).sqrt()
    assert float((added > 0).float().mean()) == pytest.approx(0.5, abs=0.03)
    assert float(added[added > 0].mean()) == pytest.approx(0.05, rel=0.01)


def test_half_of_the_windows_are_scaled_by_one_factor_between_09_and_11() -> None:
    before = plain_windows()
    after = augment(AugmentRecipe(noise_level=0), before, torch.Generator().manual_seed(1))
    ratio = (after.x_bct / before.x_bct).flatten(1)
    factor = ratio.median(dim=1).values
    torch.testing.assert_close(ratio, factor[:, None].expand_as(ratio), rtol=1e-4, atol=1e-4)
    changed = factor[(factor - 1).abs() > 1e-5]
    assert len(changed) / len(factor) == pytest.approx(0.5, abs=0.03)
    assert 0.9 <= float(changed.min()) < 0.905 and 1.095 < float(changed.max()) <= 1.1 + 1e-6
    assert float(changed.mean()) == pytest.approx(1.0, abs=0.005)


def test_each_change_is_drawn_for_itself() -> None:
    before = plain_windows()
    recipe = AugmentRecipe(noise_level=1e-3, amplitude_scale_range=(1.5, 1.6))
    after = augment(recipe, before, torch.Generator().manual_seed(1)).x_bct.flatten(1)
    x = before.x_bct.flatten(1)
    factor = (after * x).sum(1) / (x * x).sum(1)
    scaled, noisy = factor > 1.2, (after - factor[:, None] * x).square().mean(1).sqrt() > 1e-4
    for pair in (scaled & noisy, scaled & ~noisy, ~scaled & noisy, ~scaled & ~noisy):
        assert float(pair.float().mean()) == pytest.approx(0.25, abs=0.03)


def test_shifts_reach_50_samples_either_way_and_take_them_from_the_record() -> None:
    windows, samples, margin = 20_000, 16, 50
    first, last = torch.zeros(windows, dtype=torch.int64), torch.full((windows,), samples + 2 * margin)
    recipe = AugmentRecipe()
    start = draw_starts(recipe, first, last, margin, samples, torch.Generator().manual_seed(1))
    shift = start - margin
    assert (int(shift.min()), int(shift.max())) == (-50, 50)
    assert len(set(shift.tolist())) == 101
    assert float((shift == 0).float().mean()) == pytest.approx(0.5 + 0.5 / 101, abs=0.02)
    ramp = torch.arange(samples + 2 * margin, dtype=torch.float32)[None, :, None].expand(windows, -1, 1)
    moved = crop(ramp, samples, start)[:, :, 0]
    assert (moved.diff(dim=1) == 1).all()  # nothing is rolled round
    assert (moved[:, 0] == start).all()
    at_the_beginning = draw_starts(recipe, first + margin, last, margin, samples, torch.Generator().manual_seed(1))
    assert int(at_the_beginning.min()) == margin  # there is nothing before the record's first sample


def test_only_training_windows_are_changed() -> None:
    recipe = build_recipe(DasRecipe, {"data": {"window_samples": 64}, "model": {"hidden_dim": 8, "num_layers": 2,
                                                                                 "dropout": 0}})
    task = DasTask(recipe, channels=3, rate_hz=100.0, spacing_m=0.0, classes=CLASSES).eval()
    x = torch.randn(16, 64 + 100, 3)
    batch = {"x": x, "spacing_m": torch.zeros(16), "label": torch.arange(16) % 2, "weight": torch.ones(16),
             "first": torch.zeros(16, dtype=torch.int64), "last": torch.full((16,), 164)}
    with torch.inference_mode():
        plain = torch.softmax(task.network(task.preprocess(x[:, 50:114]).x_bct), dim=1)
        torch.testing.assert_close(task.predict(batch)["probability"], plain)
        losses = [task(batch, g)[0].item() for g in (None, None, torch.Generator().manual_seed(1))]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("focal", [False, True])
def test_a_common_factor_of_the_class_weights_changes_no_loss(focal: bool) -> None:
    """So weights N / (K n_c) teach the same whether or not they are scaled to add up to K."""
    recipe = build_recipe(DasRecipe, {"data": {"window_samples": 64}, "model": {"hidden_dim": 8, "num_layers": 2},
                                      "train": {"use_focal_loss": focal}})
    task = DasTask(recipe, channels=3, rate_hz=100.0, spacing_m=0.0, classes=CLASSES).eval()
    batch = {"x": torch.randn(8, 64, 3), "spacing_m": torch.zeros(8), "label": torch.tensor([0] * 6 + [1] * 2),
             "weight": torch.ones(8)}
    losses = []
    for weights in (torch.tensor([8 / 12, 8 / 4]), torch.tensor([0.5, 1.5]), torch.ones(2)):
        task.class_weights = weights
        losses.append(task(batch)[0].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] != pytest.approx(losses[2], rel=1e-3)


# -- files, batches, memory --------------------------------------------------------------------------------------------


def test_files_stay_open_from_epoch_to_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(3):
        write_file(tmp_path / f"{k}.h5", seed=k)
    recipe = build_recipe(DasRecipe, {"data": {"window_samples": 128, "stride_samples": 64}})
    records, table = build_index(tmp_path, recipe.data)
    source = DasWindowSource(records, table, window_samples=128)
    opened: list[str] = []
    real = h5py.File.__init__

    def counted(self: h5py.File, name: object, *args: object, **options: object) -> None:
        if isinstance(name, Path):  # not the other way to name an open file
            opened.append(name.name)
        real(self, name, *args, **options)

    monkeypatch.setattr(h5py.File, "__init__", counted)
    loader = Loader(source, Order(np.arange(len(table)), recipe.train.batch_size, 1), {},
                    threads=recipe.loader.threads, prefetch_batches=recipe.loader.prefetch_batches)
    seen = [sum(int((batch["weight"] > 0).sum()) for batch in loader.iterate(epoch)) for epoch in range(3)]
    loader.close()
    assert seen == [len(table)] * 3
    assert sorted(opened) == ["0.h5", "1.h5", "2.h5"]


def test_buffers_for_a_gpu_are_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[tuple[int, ...]] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(tuple(tensor.shape))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    source = ArraySource({"x": np.zeros((40, 8, 3), np.float32)})
    for device, expected in (("cpu", 0), ("cuda", 3)):
        pinned.clear()
        Loader(source, Order(np.arange(40), 16, 1), {}, device=device)._buffers()
        assert pinned.count((16, 8, 3)) == expected


def test_training_and_validation_see_windows_of_one_width(tmp_path: Path) -> None:
    labels = {}
    for k in range(8):
        write_file(tmp_path / "data" / f"{k}.h5", seed=k, channels=12 if k == 3 else 6)
        labels[f"{k}.h5"] = k % 2
    (tmp_path / "data" / "labels.json").write_text(json.dumps(labels))
    for seed in range(3):  # the one wide cable falls into different parts
        recipe = build_recipe(DasRecipe, {"data": {"folder": str(tmp_path / "data"), "window_samples": 128,
                                                   "stride_samples": 128},
                                          "model": {"hidden_dim": 8, "num_layers": 2}, "split": {"seed": seed}})
        run = start_run("das", recipe, tmp_path / f"run{seed}")
        setup = FoldSetup("das", run.path, 0)(0, 1, torch.device("cpu"))
        assert setup.task.channels == 12
        for loader in (setup.train, setup.validation):
            batch = next(loader.iterate(0))
            assert batch["x"].shape[2] == 12
            loader.close()


ARCHIVE_BYTES = 300e9
FILES = 19
SAMPLES = 150_000
"""Of ten minutes at 250 Hz."""
CHANNELS = round(ARCHIVE_BYTES / FILES / SAMPLES / 4)


@pytest.mark.slow
def test_nineteen_files_of_300_gb_are_trained_on_in_a_fraction_of_32(tmp_path: Path) -> None:
    """The files are as long as they say; only their events were ever written, so that they fit on a disk."""
    labels = {}
    for k in range(FILES):
        name = f"DAS-BIGORRE_2022-09-{k + 1:02d}_08-00-00_UTC.h5"
        with h5py.File(tmp_path / name, "w") as file:
            data = file.create_dataset("sr/data", shape=(SAMPLES, CHANNELS), dtype="float32")
            data[:16] = 1  # a file that seems to hold nothing but zeros is looked through at length
            data[5000:5400, :64] = np.random.default_rng(k).normal(size=(400, 64))
            file["sr/time"] = np.arange(SAMPLES) / 250
            file["sr/distance"] = np.arange(CHANNELS) * 4.8
        labels[name] = int(k >= 13)
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    assert sum(path.stat().st_size for path in tmp_path.glob("*.h5")) > ARCHIVE_BYTES * 0.999
    code = f"""
from pathlib import Path
import numpy as np, torch
from groundswell.core.recipe import load_recipe, shipped_recipe
from groundswell.pipelines.das.data import WORKFLOW
from groundswell.pipelines.das.recipe import DasRecipe
from groundswell.pipelines.workflow import FoldSetup, start_run
recipe = load_recipe(DasRecipe, shipped_recipe("groundswell.pipelines.das", "seed"),
                     ["data.folder={tmp_path}", "data.allow_unfit=true", "data.channels=[0, 64]",
                      "split.allow_leakage=the files are empty but for their events"])
run = start_run("das", recipe, Path({str(tmp_path / 'run')!r}))
setup = FoldSetup("das", run.path, 0)(0, 1, torch.device("cpu"))
batches = setup.train.iterate(0)
for _ in range(2):
    loss, _ = setup.task(next(batches), torch.Generator().manual_seed(1))
    loss.backward()
batches.close()
whole = recipe.model_copy(update={{"data": recipe.data.model_copy(update={{"channels": None}})}})
archive = WORKFLOW.open(whole)
fields = WORKFLOW.source(whole, archive, training=True).fields
window = sum(np.dtype(f.dtype).itemsize * int(np.prod(f.shape)) for f in fields.values())
print(len(archive.table), window * recipe.train.batch_size * (recipe.loader.prefetch_batches + 1),
      next(int(line.split()[1]) for line in open("/proc/self/status") if "VmHWM" in line) * 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    windows, ring_bytes, peak_bytes = map(int, done.stdout.split())
    assert windows == FILES * ((SAMPLES - 1024) // 512 + 1)
    assert ring_bytes < 6e9  # of whole windows, every channel of the cable
    assert peak_bytes < 2e9  # with the 64 channels used here


# -- a run of the seed's kind ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Whole-file labels, temporal CNN, the seed's recipe but for its size."""
    folder = tmp_path_factory.mktemp("seed")
    archive = small_archive(folder / "archive", 3)
    recipe = build_recipe(DasRecipe, {
        "data": {"folder": str(archive), "labels": "labels.json", "window_samples": 512, "stride_samples": 256},
        "model": {"hidden_dim": 16, "num_layers": 2}, "train": {"epochs": 3, "checkpoint_every": 1, "threads": 1}})
    made = start_run("das", recipe, folder / "run")
    train_run(made, quiet=True)
    return made


def test_the_shipped_recipe_called_seed_holds_the_defaults_of_the_seed() -> None:
    from groundswell.core.recipe import load_recipe

    recipe = load_recipe(DasRecipe, shipped_recipe("groundswell.pipelines.das", "seed"))
    assert recipe == DasRecipe()
    assert (recipe.data.window_samples, recipe.data.stride_samples, recipe.train.batch_size) == (1024, 512, 16)


def test_tensorboard_has_loss_accuracy_and_f1_of_both_parts(run: RunFolder) -> None:
    folder = run.fold_path(0) / "logs" / "tensorboard"
    assert list(folder.glob("events.out.tfevents.*"))
    board = EventAccumulator(str(folder))
    board.Reload()
    for name in ("loss", "accuracy", "f1"):
        for part in ("train", "validation"):
            assert len(board.Scalars(f"{name}/{part}")) == 3


def test_checkpoints_have_the_seeds_names_and_keys(run: RunFolder, tmp_path: Path) -> None:
    written = write_state_dicts(run, tmp_path, [0])
    assert sorted(path.name for path in written) == ["best_model.pth", "checkpoint_epoch_1.pth",
                                                     "checkpoint_epoch_2.pth", "checkpoint_epoch_3.pth"]
    shared = {"epoch", "model_state_dict", "val_metrics", "config"}
    for path in written:
        content = torch.load(path, weights_only=True)
        wanted = shared if path.name == "best_model.pth" else shared | {"optimizer_state_dict"}
        assert set(content) == wanted
        assert {"loss", "accuracy", "f1"} <= set(content["val_metrics"])
        assert content["config"]["model"]["type"] == "temporal_cnn"
    best = torch.load(tmp_path / "best_model.pth", weights_only=True)
    same = torch.load(tmp_path / f"checkpoint_epoch_{best['epoch']}.pth", weights_only=True)
    for name, value in best["model_state_dict"].items():
        assert torch.equal(value, same["model_state_dict"][name])


def test_the_optimiser_is_adamw_with_the_recipes_numbers(run: RunFolder) -> None:
    (last,) = (run.fold_path(0) / "checkpoints").glob("*-epoch-0003.ckpt")
    group = read_checkpoint(last)["optimiser"]["param_groups"][0]
    assert (group["lr"], group["weight_decay"], group["decoupled_weight_decay"]) == (1e-3, 1e-4, True)


def test_using_a_model_prepares_windows_as_training_did(run: RunFolder) -> None:
    tested = Predictions.read(run.path / "predictions.parquet")
    recipe = run.recipe(DasRecipe)
    names = sorted({name.rsplit(":", 1)[0] for name in tested.sample_id})
    found = predict_inputs(run_predictor(run.path, device="cpu"), [Path(recipe.data.folder) / name for name in names])
    compared = 0
    for name, result in zip(names, found, strict=True):
        assert not result.error
        assert (result.predicted_class, result.class_name) in ((0, "earthquake"), (1, "quarry_blast"))
        assert result.confidence == max(result.probabilities.values())
        windows = dict(zip(np.rint(result.window_start_s * 100).astype(int), result.window_probabilities, strict=True))
        for sample, probability in zip(tested.sample_id, tested.probability, strict=True):
            record, start = sample.rsplit(":", 1)
            if record == name:
                np.testing.assert_allclose(windows[int(start)], probability, atol=1e-5)
                compared += 1
    assert compared == len(tested)


# -- a confound --------------------------------------------------------------------------------------------------------


def test_a_clock_scores_18_of_19_where_blasts_keep_working_hours_and_the_majority_13() -> None:
    """13 earthquakes at any hour, one of them in the morning; 6 blasts between 07:59 and 10:06."""
    hours = [0.5, 2.5, 4, 5, 12.5, 14, 15.5, 17, 18.5, 20, 21.5, 23, 9.2, 7.99, 8.3, 8.8, 9.1, 9.6, 10.1]
    frame = pd.DataFrame({"sample_id": [f"{k}.h5:0" for k in range(19)], "record": [f"{k}.h5" for k in range(19)],
                          "label": [0] * 13 + [1] * 6, "group": [f"g{k}" for k in range(19)],
                          "event": [f"e{k}" for k in range(19)], "start": 0, "stop": 1024,
                          "time": pd.to_datetime("2022-09-01", utc=True) + pd.to_timedelta(hours, unit="h")})
    table = SampleTable(frame, CLASSES, pipeline="das")
    manifest = make_split(table, SplitRecipe(regime="leave_one_out"))
    right = {}
    for control in (start_hour, majority):
        predictions = control(table, manifest).predictions
        right[control.__name__] = int((predictions.predicted == predictions.truth).sum())
    assert right == {"start_hour": 18, "majority": 13}


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_the_overview_of_predictions_has_class_bars_and_a_histogram(tmp_path: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    real = plots.png_of
    monkeypatch.setattr(plots, "png_of", lambda figure, *rest: (figures.append(figure), real(figure, *rest))[1])
    results = [Prediction(f"{k}.h5", predicted_class=c, class_name=CLASSES[c], confidence=p,
                          probabilities={CLASSES[0]: 1 - p, CLASSES[1]: p}, windows=1)
               for k, (c, p) in enumerate([(0, 0.91), (0, 0.62), (1, 0.93)])]
    plots.plot_predictions([*results, Prediction("bad.h5", error="torn")], tmp_path / "p.png")
    bars, sure = figures[0].axes
    assert [patch.get_height() for patch in bars.patches] == [2, 1]
    held = {round(patch.get_x(), 2): patch.get_height() + patch.get_y() for patch in sure.patches
            if patch.get_height()}
    assert held == {0.6: 1, 0.9: 2}
    assert "1 failed" in figures[0].get_suptitle()
