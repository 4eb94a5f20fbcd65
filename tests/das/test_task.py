"""The task: augmentation, loss, sums and metrics, predictions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.pipelines.das import preprocess
from groundswell.pipelines.das.augment import augment, change_fibre, draw_starts
from groundswell.pipelines.das.predictor import Predictor
from groundswell.pipelines.das.preprocess import Prepared
from groundswell.pipelines.das.recipe import AugmentRecipe, DasRecipe
from groundswell.pipelines.das.task import DasTask, TaskPredictor

CLASSES = ("earthquake", "quarry_blast", "noise")
WINDOW, CHANNELS = 64, 6


def recipe_of(kind="temporal_cnn", *sets):
    values = {"data": {"window_samples": WINDOW},
              "model": {"type": kind, "hidden_dim": 16, "num_layers": 2, "heads": 4}}
    return build_recipe(DasRecipe, values, sets)


def task_of(kind="temporal_cnn", *sets, weights=None, seed=0):
    torch.manual_seed(seed)
    return DasTask(recipe_of(kind, *sets), channels=CHANNELS, rate_hz=100.0, spacing_m=10.0, classes=CLASSES,
                   class_weights=weights)


def batch_of(samples=8, margin=0, seed=0, **changes):
    draw = torch.Generator().manual_seed(seed)
    length = WINDOW + 2 * margin
    return {"x": torch.randn(samples, length, CHANNELS, generator=draw),
            "channels": torch.full((samples,), CHANNELS), "first": torch.zeros(samples, dtype=torch.int64),
            "last": torch.full((samples,), length), "spacing_m": torch.full((samples,), 10.0),
            "label": torch.randint(0, 3, (samples,), generator=draw), "weight": torch.ones(samples), **changes}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# loss and sums

@pytest.mark.parametrize("kind", ["temporal_cnn", "lstm", "transformer", "fibre_cnn"])
def test_loss_is_the_weighted_cross_entropy(kind):
    weights = torch.tensor([0.5, 2.0, 1.0])
    task = task_of(kind, weights=weights).eval()
    batch = batch_of()
    loss, _ = task(batch)
    probability = task.predict(batch)["probability"]
    expected = torch.nn.functional.nll_loss(probability.log(), batch["label"], weight=weights)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(probability.sum(dim=1), torch.ones(8), atol=1e-6)


def test_focal_loss():
    batch = batch_of()
    plain = task_of().eval()
    focal = task_of("temporal_cnn", "train.use_focal_loss=true", "train.focal_gamma=3.0").eval()
    p = plain.predict(batch)["probability"].gather(1, batch["label"][:, None])[:, 0]
    assert focal(batch)[0].item() == pytest.approx((-((1 - p) ** 3) * p.log()).mean().item(), rel=1e-4)


@pytest.mark.parametrize("way", ["unknown label", "no weight"])
def test_what_does_not_count_has_no_influence(way):
    task = task_of().eval()
    batch = batch_of()
    few = {name: value[:5] for name, value in batch.items()}
    if way == "unknown label":
        batch["label"][5:] = -1
    else:
        batch["weight"][5:] = 0
    loss, sums = task(batch)
    expected, expected_sums = task(few)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for name in sums:
        assert torch.allclose(sums[name], expected_sums[name], rtol=1e-5)


def test_batch_without_a_label_teaches_nothing():
    task = task_of()
    loss, sums = task(batch_of(label=torch.full((8,), -1)))
    loss.backward()
    assert loss.item() == 0 and all(not p.grad.any() for p in task.parameters())
    assert task.metrics(sums) == {"loss": 0.0, "accuracy": 0.0, "f1": 0.0}


def test_sums_of_two_batches_are_those_of_both():
    task = task_of(weights=torch.tensor([0.5, 2.0, 1.0])).eval()
    batch = batch_of(12)
    _, whole = task(batch)
    parts = [task({name: value[rows] for name, value in batch.items()})[1] for rows in (slice(0, 5), slice(5, 12))]
    for name in whole:
        assert whole[name].dtype == torch.float64
        assert torch.allclose(whole[name], parts[0][name] + parts[1][name], rtol=1e-5)
    assert task.metrics(whole)["loss"] == pytest.approx(task(batch)[0].item(), rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(truth=st.lists(st.integers(0, 2), min_size=1, max_size=20), seed=st.integers(0, 9))
def test_metrics_are_scikit_learns(truth, seed):
    task = task_of()
    answer = np.random.default_rng(seed).integers(0, 3, len(truth))
    confusion = torch.zeros(3, 3, dtype=torch.float64)
    for t, a in zip(truth, answer, strict=True):
        confusion[t, a] += 1
    one = torch.ones((), dtype=torch.float64)
    found = task.metrics({"confusion": confusion, "loss_sum": one, "loss_weight": 2 * one})
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, answer))
    assert found["f1"] == pytest.approx(f1_score(truth, answer, average="macro", zero_division=0.0))
    assert found["loss"] == 0.5


def test_wrong_number_of_class_weights_is_refused():
    with pytest.raises(InputError, match="class weights"):
        task_of(weights=torch.ones(2))


def test_state_holds_what_was_learnt_and_nothing_else():
    names = task_of(weights=torch.ones(3)).state_dict()
    assert names and all(name.startswith("network.") for name in names)


# chance

@pytest.mark.parametrize("kind", ["temporal_cnn", "fibre_cnn"])
def test_augmentation_comes_from_the_generator_alone(kind):
    task = task_of(kind, "model.dropout=0.0").eval()
    batch = batch_of(16, margin=50)
    first = task(batch, generator(1))[0]
    torch.manual_seed(99)
    assert torch.equal(task(batch, generator(1))[0], first)
    assert not torch.equal(task(batch, generator(2))[0], first)
    state = torch.get_rng_state()
    task(batch, generator(3))
    assert torch.equal(torch.get_rng_state(), state)


def test_without_generator_the_middle_of_the_window_counts():
    task = task_of().eval()
    wide = batch_of(4, margin=50)
    middle = {**wide, "x": wide["x"][:, 50:50 + WINDOW]}
    assert torch.equal(task.predict(wide)["probability"], task.predict(middle)["probability"])
    off = task_of("temporal_cnn", "augment.use_augmentation=false").eval()
    assert torch.equal(off(wide, generator())[0], off(wide)[0])


@settings(max_examples=60, deadline=None)
@given(margin=st.integers(0, 60), reach=st.integers(0, 60), cuts=st.tuples(st.integers(0, 100), st.integers(0, 150)),
       seed=st.integers(0, 99))
def test_shifted_windows_hold_only_what_was_recorded(margin, reach, cuts, seed):
    """A window that was whole stays whole, wherever the record begins and ends around it."""
    first, last = min(cuts[0], margin), max(2 * margin + WINDOW - cuts[1], margin + WINDOW)
    starts = draw_starts(AugmentRecipe(time_shift_range=reach, probability=1.0), torch.full((64,), first),
                         torch.full((64,), last), margin, WINDOW, generator(seed))
    assert (starts >= first).all() and (starts + WINDOW <= last).all()
    assert ((starts - margin).abs() <= reach).all()


def test_shifts_take_every_value_alike():
    n = 20000
    starts = draw_starts(AugmentRecipe(time_shift_range=3, probability=1.0), torch.full((n,), 8), torch.full((n,), 200),
                         10, WINDOW, generator())
    count = torch.bincount(starts - 8, minlength=6)
    assert len(count) == 6  # from 2 back (the record begins there) to 3 forth
    assert (count / n - 1 / 6).abs().max() < 0.02


def test_a_window_at_the_padded_end_is_not_shifted_further_into_the_padding():
    starts = draw_starts(AugmentRecipe(probability=1.0), torch.full((500,), 0), torch.full((500,), 80), 50, WINDOW,
                         generator())
    assert starts.max() == 50 and starts.min() == 0


def prepared(samples=400, channels=5, length=80):
    x = torch.randn(samples, channels, length, generator=generator(5))
    alive, valid = torch.ones(samples, channels, dtype=torch.bool), torch.ones(samples, length, dtype=torch.bool)
    alive[:, 3], valid[:, 70:] = False, False
    return Prepared(x * alive[:, :, None] * valid[:, None], alive, valid)


@pytest.mark.parametrize("piece_bytes", [2**23, 2000])
def test_noise_and_amplitude(monkeypatch, piece_bytes):
    monkeypatch.setattr(preprocess, "PIECE_BYTES", piece_bytes)
    with torch.no_grad():
        check_noise_and_amplitude()


def check_noise_and_amplitude():
    window = prepared()
    loud = augment(AugmentRecipe(noise_level=0.0, amplitude_scale_range=(0.9, 1.1)), window, generator()).x_bct
    factor = (loud.flatten(1).norm(dim=1) / window.x_bct.flatten(1).norm(dim=1))
    changed = (factor - 1).abs() > 1e-6
    assert 0.4 < changed.float().mean() < 0.6
    assert factor.min() > 0.9 - 1e-5 and factor.max() < 1.1 + 1e-5 and factor.std() > 0.03
    noisy = augment(AugmentRecipe(noise_level=0.05, amplitude_scale_range=(1.0, 1.0)), window, generator()).x_bct
    added = noisy - window.x_bct
    changed = added.flatten(1).any(dim=1)
    assert 0.4 < changed.float().mean() < 0.6
    assert added[changed][:, :3, :70].std() == pytest.approx(0.05, rel=0.05)
    assert not added[:, 3].any() and not added[:, :, 70:].any()
    both = augment(AugmentRecipe(probability=1.0), window, generator()).x_bct
    again = augment(AugmentRecipe(probability=1.0), window, generator()).x_bct
    assert torch.equal(both, again) and (both != window.x_bct)[:, 0, :70].all()
    for recipe in (AugmentRecipe(probability=1.0), AugmentRecipe()):
        taken = window._replace(x_bct=window.x_bct.clone())
        over = augment(recipe, taken, generator(), in_place=True).x_bct
        assert over is taken.x_bct and torch.equal(over, augment(recipe, window, generator()).x_bct)


def test_changed_fibres_are_parts_of_the_fibre():
    window = prepared(channels=40)
    changed = change_fibre(AugmentRecipe(), window, generator())
    share = changed.alive_bc.float().mean(dim=1)
    assert changed.alive_bc.any(dim=1).all() and share.min() < 0.4
    assert not changed.x_bct[~changed.alive_bc].any()
    for i in range(40):
        alive = changed.alive_bc[i]
        straight = torch.equal(changed.x_bct[i, alive], window.x_bct[i, alive])
        turned = torch.equal(changed.x_bct[i, alive], window.x_bct[i].flip(0)[alive])
        assert straight or turned
    same = change_fibre(AugmentRecipe(probability=0.0), window, generator())
    assert torch.equal(same.x_bct, window.x_bct) and torch.equal(same.alive_bc, window.alive_bc)


# running it

def test_same_seed_same_gradients():
    def gradients():
        task = task_of("fibre_cnn", seed=4)
        torch.manual_seed(7)
        task(batch_of(8, margin=50), generator(1))[0].backward()
        return [p.grad for p in task.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(gradients(), gradients(), strict=True))


@pytest.mark.parametrize("kind", ["temporal_cnn", "lstm", "transformer", "fibre_cnn"])
def test_bfloat16_keeps_the_preprocessing_exact(kind):
    task = task_of(kind, "preprocess.decimate=2", "preprocess.scaling=window").eval()
    batch = batch_of()
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = task(batch, generator())
        probability = task.predict(batch)["probability"]
    assert loss.dtype == torch.float32 and probability.dtype == torch.float32
    assert torch.allclose(probability, task.predict(batch)["probability"], atol=0.05)
    seen = []
    task.preprocess.register_forward_hook(lambda _module, _given, window: seen.append(window.x_bct))
    with torch.autocast("cpu", torch.bfloat16):
        task.predict(batch)
    task.predict(batch)
    assert seen[0].dtype == torch.float32 and torch.equal(*seen)


def test_predictor_of_a_task():
    task = task_of("fibre_cnn")
    predictor = TaskPredictor(task, "one fold")
    assert isinstance(predictor, Predictor)
    assert (predictor.classes, predictor.window_samples, predictor.channels) == (CLASSES, WINDOW, None)
    assert (predictor.rate_hz, predictor.spacing_m, predictor.stride_samples) == (100.0, 10.0, 512)
    x = np.random.default_rng(0).normal(size=(3, WINDOW, 11)).astype(np.float32)
    found = predictor.predict(x, 20.0)
    assert found.shape == (3, 3) and found.dtype == np.float64
    assert np.abs(found.sum(axis=1) - 1).max() < 1e-12
    assert not np.allclose(found, predictor.predict(x, 10.0))
    assert np.allclose(predictor.predict(x, 0.0), predictor.predict(x, 10.0))
    assert TaskPredictor(task_of(), "").channels == CHANNELS
