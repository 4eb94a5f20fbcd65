"""Preprocessing and task: fitted on training windows alone, and a window alone in its batch teaches nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, matthews_corrcoef, precision_score
from sklearn.preprocessing import StandardScaler

from groundswell.core.recipe import build_recipe
from groundswell.pipelines.geomag.preprocess import Preprocess
from groundswell.pipelines.geomag.recipe import NETWORKS, GeomagRecipe
from groundswell.pipelines.geomag.task import GeomagTask


def small_recipe(model: str = "gru", **train: object) -> GeomagRecipe:
    return build_recipe(GeomagRecipe, {
        "model": {"type": model, "hidden_sizes": [8, 4], "d_model": 16, "nhead": 2, "dim_feedforward": 16,
                  "dropout": 0.0},
        "preprocess": {"detrend": "mean"}, "train": train})


def batch_of(n: int, real: int | None = None, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.ones(n)
    weight[n if real is None else real:] = 0
    return {"x": 20000 + 30 * torch.randn(n, 10080, generator=generator), "label": torch.arange(n) % 2,
            "weight": weight, "row": torch.arange(n)}


@settings(max_examples=20, deadline=None)
@given(st.integers(8, 40), st.sampled_from([0.0, 500.0, 50000.0]))
def test_feature_scaling_is_that_of_scikit_learn(n, level) -> None:
    x = (level + np.random.default_rng(n).normal(0, 20, (n, 50))).astype(np.float32)
    preprocess = Preprocess(50, "none", "feature")
    preprocess.fit(lambda rows: x[rows], np.arange(n))
    ours = preprocess(torch.from_numpy(x)).numpy()
    scaler = StandardScaler()
    expected = scaler.fit_transform(x.astype(np.float64))
    # The mean is kept as float32, which knows a field of this level no better than so.
    rounding = np.spacing(np.float32(level + 1))
    assert (np.abs(ours - expected) < 1e-5 + rounding / scaler.scale_).all()


def test_scaling_is_the_same_however_many_rows_are_read_at_once(monkeypatch) -> None:
    x = np.random.default_rng(1).normal(17000, 15, (37, 60)).astype(np.float32)
    whole, parts = Preprocess(60, "linear", "feature"), Preprocess(60, "linear", "feature")
    whole.fit(lambda rows: x[rows], np.arange(37))
    monkeypatch.setattr("groundswell.pipelines.geomag.preprocess._BLOCK_BYTES", 60 * 8 * 5)
    parts.fit(lambda rows: x[rows], np.arange(37))
    torch.testing.assert_close(whole.mean, parts.mean)
    torch.testing.assert_close(whole.scale, parts.scale)


def test_a_constant_minute_is_not_blown_up() -> None:
    x = np.full((9, 20), 49367.5, np.float32)
    x[:, 0] += np.arange(9)
    preprocess = Preprocess(20, "none", "feature")
    preprocess.fit(lambda rows: x[rows], np.arange(9))
    assert preprocess(torch.from_numpy(x)).abs().max() < 3


def test_detrending_takes_the_mean_or_the_line() -> None:
    t = torch.arange(100.0)
    line = 17000 + 3 * t[None] + torch.sin(t / 3)[None]
    assert abs(float(Preprocess(100, "mean", "none")(line).mean())) < 1e-3
    left = Preprocess(100, "linear", "none")(line).numpy()[0]
    slope = np.polyfit(t.numpy(), left, 1)[0]
    assert abs(slope) < 1e-4


@pytest.mark.parametrize("model", NETWORKS)
def test_every_family_gives_probabilities_and_learns_a_step(model) -> None:
    torch.manual_seed(0)
    task = GeomagTask(small_recipe(model), classes=("control", "before_event"))
    batch = batch_of(6)
    task.preprocess.fit(lambda rows: batch["x"].numpy()[rows], np.arange(6))
    loss, sums = task(batch)
    loss.backward()
    assert np.isfinite(float(loss.detach())) and float(sums["confusion"].sum()) == 6
    probability = task.eval().predict(batch)["probability"]
    torch.testing.assert_close(probability.sum(1), torch.ones(6))


@pytest.mark.parametrize("model", ["gru", "mlp"])
def test_filling_does_not_reach_batch_normalisation(model) -> None:
    torch.manual_seed(0)
    task = GeomagTask(small_recipe(model, use_class_weights=False), classes=("a", "b"))
    state = {name: value.clone() for name, value in task.state_dict().items()}
    whole = batch_of(4)
    task(whole)
    after = {name: value.clone() for name, value in task.state_dict().items()}
    task.load_state_dict(state)
    filled = {name: torch.cat([value, value[:2]]) for name, value in whole.items()}
    filled["weight"][4:] = 0
    task(filled)
    for name, value in task.state_dict().items():
        torch.testing.assert_close(value, after[name], msg=name)


def test_a_window_alone_in_its_batch_teaches_nothing() -> None:
    torch.manual_seed(0)
    task = GeomagTask(small_recipe(), classes=("a", "b"))
    before = {name: value.clone() for name, value in task.state_dict().items()}
    loss, sums = task(batch_of(3, real=1))
    loss.backward()
    assert float(loss.detach()) == 0 and float(sums["confusion"].sum()) == 0
    assert all(float(p.grad.abs().max()) == 0 for p in task.parameters() if p.grad is not None)
    assert all(torch.equal(before[name], value) for name, value in task.state_dict().items())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=2, max_size=40))
def test_metrics_are_those_of_scikit_learn(pairs) -> None:
    truth, answer = (np.array(column) for column in zip(*pairs, strict=True))
    task = GeomagTask(small_recipe("mlp"), classes=("a", "b"))
    confusion = np.zeros((2, 2))
    np.add.at(confusion, (truth, answer), 1)
    found = task.metrics({"loss_sum": torch.tensor(1.0), "loss_weight": torch.tensor(2.0),
                          "confusion": torch.from_numpy(confusion)})
    if len(set(truth) | set(answer)) < 2:
        assert found["f1"] == 1 and found["mcc"] == 0  # scikit-learn warns and gives a matrix of one cell
        return
    options = {"average": "weighted", "zero_division": 0}
    assert found["f1"] == pytest.approx(f1_score(truth, answer, **options))
    assert found["precision"] == pytest.approx(precision_score(truth, answer, **options))
    assert found["mcc"] == pytest.approx(matthews_corrcoef(truth, answer))
    assert found["loss"] == 0.5


def test_one_correction_for_imbalance() -> None:
    with pytest.raises(Exception, match="same imbalance"):
        build_recipe(GeomagRecipe, {"train": {"balanced_sampling": True}})
    build_recipe(GeomagRecipe, {"train": {"balanced_sampling": True, "use_class_weights": False}})
