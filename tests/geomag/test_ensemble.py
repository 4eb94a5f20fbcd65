"""Ensembles: what members say together, how far they agree, and files that are whole or refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from groundswell.core.errors import InputError
from groundswell.pipelines.geomag.models.base import classifier_class
from groundswell.pipelines.geomag.models.ensemble import STRATEGIES, F1WeightedEnsemble, ScaledMember
from groundswell.pipelines.geomag.models.ensemble_files import average_metrics, load_ensemble_model, save_ensemble
from groundswell.pipelines.geomag.models.mlp import MLPClassifier
from groundswell.pipelines.geomag.models.recurrent import GRUClassifier, LSTMClassifier
from groundswell.train.weights import read_pth, write_pth

FEATURES = 48
METRICS = {"f1": [0.85, 0.87, 0.86], "roc_auc": [0.9, float("nan"), 0.7]}


class Says(nn.Module):
    """Answers every window with the same probabilities."""

    def __init__(self, *probability):
        super().__init__()
        self.logits = torch.log(torch.tensor([probability]))

    def forward(self, x):
        return self.logits.expand(len(x), -1)


def members(kind=GRUClassifier, count=3, scaled=True):
    made = []
    for k in range(count):
        torch.manual_seed(k)
        network = kind(FEATURES if kind is MLPClassifier else 24, (8, 4))
        generator = torch.Generator().manual_seed(k)
        mean, scale = torch.randn(FEATURES, generator=generator), 0.5 + torch.rand(FEATURES, generator=generator)
        made.append(ScaledMember(network, mean, scale) if scaled else network)
    return made


def windows(count=5):
    return torch.randn(count, FEATURES, generator=torch.Generator().manual_seed(9))


def test_weights_are_shares():
    three = [Says(0.5, 0.5)] * 3
    assert F1WeightedEnsemble(three, [0.8, 0.4, 0.4]).weights.tolist() == pytest.approx([0.5, 0.25, 0.25])
    assert F1WeightedEnsemble(three, [0.0, 0.0, 0.0]).weights.tolist() == pytest.approx([1 / 3] * 3)
    for wrong in ([0.8, 0.4], [0.8, 0.4, -0.1], [0.8, 0.4, float("nan")], [0.8, 0.4, float("inf")]):
        with pytest.raises(InputError):
            F1WeightedEnsemble(three, wrong)
    with pytest.raises(InputError, match="at least one"):
        F1WeightedEnsemble([], [])
    with pytest.raises(InputError, match="weighted_mean, voting, max_confidence"):
        F1WeightedEnsemble(three, [1, 1, 1], "median")


def test_three_strategies_by_hand():
    three, weights, x = [Says(0.9, 0.1), Says(0.4, 0.6), Says(0.3, 0.7)], [0.2, 0.2, 0.4], torch.zeros(2, 1)
    expected = {"weighted_mean": [0.475, 0.525], "voting": [0.25, 0.75], "max_confidence": [0.9, 0.1]}
    # Of the chosen class, the members say (0.1, 0.6, 0.7) or (0.9, 0.4, 0.3), with the weights 1/4, 1/4, 1/2.
    for strategy, wanted in expected.items():
        ensemble = F1WeightedEnsemble(three, weights, strategy)
        probability = ensemble(x)
        assert probability.dtype == torch.float32 and probability.tolist() == [pytest.approx(wanted)] * 2
        classes, confidence, variance = ensemble.classify_with_confidence(x)
        assert classes.dtype == torch.int64 and classes.tolist() == [int(np.argmax(wanted))] * 2
        assert confidence.dtype == variance.dtype == torch.float32
        assert confidence.tolist() == pytest.approx([max(wanted)] * 2)
        assert variance.tolist() == pytest.approx([0.061875] * 2)


def test_the_surest_member_is_another_for_each_window():
    class Mirror(nn.Module):
        def forward(self, x):
            return torch.stack([torch.zeros(len(x)), x[:, 0]], dim=1)

    ensemble = F1WeightedEnsemble([Says(0.2, 0.8), Mirror()], [1, 1], "max_confidence")
    x = torch.tensor([[-5.0], [0.0], [5.0]])
    assert ensemble(x)[:, 1].tolist() == pytest.approx([1 / (1 + np.exp(5)), 0.8, 1 / (1 + np.exp(-5))])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_members_that_agree_leave_no_variance(strategy):
    member = members(count=1)[0]
    ensemble = F1WeightedEnsemble([member, member], [0.7, 0.9], strategy)
    classes, confidence, variance = ensemble.classify_with_confidence(windows())
    alone = torch.softmax(member(windows()), dim=1)
    assert torch.equal(classes, alone.argmax(dim=1)) and float(variance.max()) < 1e-12
    if strategy != "voting":
        torch.testing.assert_close(confidence, alone.amax(dim=1))
    else:
        assert bool((confidence == 1).all())


def test_members_stay_in_evaluation_mode():
    ensemble = F1WeightedEnsemble(members(), [1, 2, 3])
    assert ensemble.train() is ensemble
    assert not any(module.training for module in ensemble.modules())
    assert torch.equal(ensemble(windows()), ensemble(windows()))
    assert not ensemble.classify_with_confidence(windows())[1].requires_grad


def test_each_member_scales_by_its_own_fold():
    member = members(MLPClassifier, count=1)[0].eval()
    scaled = (windows() - member.preprocess.mean) / member.preprocess.scale
    torch.testing.assert_close(member(windows()), member.network(scaled))
    torch.testing.assert_close(member(windows().reshape(5, 2, 24)), member(windows()))
    alone = ScaledMember(member.network, torch.zeros(FEATURES), torch.ones(FEATURES), detrend="mean", scaling="window")
    torch.testing.assert_close(alone.eval()(windows()), alone(50_000 + 3 * windows()), rtol=1e-2, atol=1e-2)
    for mean, scale in ((torch.zeros(3), torch.ones(4)), (torch.zeros(3), torch.zeros(3)), (torch.zeros(()),) * 2):
        with pytest.raises(InputError, match="two rows"):
            ScaledMember(member.network, mean, scale)


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_ensemble_comes_back(tmp_path, strategy, scaled):
    ensemble = F1WeightedEnsemble(members(scaled=scaled), METRICS["f1"], strategy)
    config = saved(tmp_path, ensemble)
    back = load_ensemble_model(tmp_path / "e.pth", str(tmp_path / "e.json"), "cpu", GRUClassifier, device_ids=[0, 1])
    assert back.strategy == strategy and not back.training
    for mine, theirs in zip(back.classify_with_confidence(windows()), ensemble.classify_with_confidence(windows()),
                            strict=True):
        assert torch.equal(mine, theirs)
    assert json.loads((tmp_path / "e.json").read_text()) == config
    assert config["model_name"] == "GRUModel" and config["window_name"] == "7day"
    assert config["ensemble_method"] == "f1_weighted" and sum(config["ensemble_weights"]) == pytest.approx(1)
    assert config["model_params"]["hidden_sizes"] == [8, 4] and config["simulated"] is True
    assert config["fold_metrics"]["roc_auc"] == [0.9, None, 0.7]
    assert config["average_metrics"]["f1"] == pytest.approx(0.86)
    content = torch.load(tmp_path / "e.pth", weights_only=True)
    assert content and all(isinstance(value, torch.Tensor) for value in content.values())


def saved(folder, ensemble=None):
    ensemble = ensemble or F1WeightedEnsemble(members(), METRICS["f1"])
    return save_ensemble(folder / "e.pth", folder / "e.json", ensemble, model_name="GRUModel", window_name="7day",
                         fold_metrics=METRICS, members=["GRUModel_7day_fold_1.pth"], facts={"simulated": True})


def test_averages():
    found = average_metrics({"f1": [0.8, 0.9], "auc": [float("nan"), 0.7], "none": [None]})
    assert found == {"f1": pytest.approx(0.85), "f1_std": pytest.approx(0.05), "auc": 0.7, "auc_std": 0.0,
                     "none": None, "none_std": None}


@pytest.mark.parametrize(("change", "says"), [
    ({"model_class": "LSTMClassifier"}, "make no ensemble of LSTMClassifier"),
    ({"model_class": "Convnet"}, "no network 'Convnet'"),
    ({"model_params": {"input_size": 24, "hidden_sizes": [8, 5]}}, "make no ensemble"),
    ({"model_params": {"columns": 24}}, "make no ensemble"),
    ({"ensemble_weights": [0.5, 0.3, 0.2]}, "gives the members the weights"),
    ({"ensemble_weights": [0.5, 0.5]}, "make no ensemble"),
    ({"ensemble_weights": [1.5, -0.5, 0.0]}, "sum to 1"), ({"ensemble_weights": []}, "sum to 1"),
    ({"ensemble_weights": ["a", "b", "c"]}, "sum to 1"), ({"ensemble_weights": None}, "ensemble_weights"),
    ({"strategy": "median"}, "not known"), ({"ensemble_method": "stacking"}, "not known"),
    ({"preprocess": None}, "make no ensemble"), ({"preprocess": {"detrend": "mean"}}, "make no ensemble"),
    ({"preprocess": 3}, "make no ensemble"), ({"model_crc32": 1}, "not the ones"),
    ({"model_params": None}, "model_params")])
def test_a_configuration_that_does_not_fit_is_refused(tmp_path, change, says):
    config = saved(tmp_path)
    path = tmp_path / "e.json"
    path.write_text(json.dumps({**config, **change}))
    if change == {"preprocess": {"detrend": "mean"}}:
        path.write_text(json.dumps({**config, "preprocess": {"detrend": "mean", "scale": 2}}))
    with pytest.raises(InputError, match=says):
        load_ensemble_model(tmp_path / "e.pth", path)


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    saved(tmp_path)
    model, config = tmp_path / "e.pth", tmp_path / "e.json"
    with pytest.raises(InputError, match="members are of GRUClassifier, not of LSTMClassifier"):
        load_ensemble_model(model, config, model_class=LSTMClassifier)
    for missing in ((tmp_path / "none.pth", config), (model, tmp_path / "none.json")):
        with pytest.raises(InputError, match="no such file"):
            load_ensemble_model(*missing)
    with pytest.raises(InputError, match="no device"):
        load_ensemble_model(model, config, "warp")
    other = tmp_path / "other"
    saved(other, F1WeightedEnsemble(members()[::-1], METRICS["f1"]))
    with pytest.raises(InputError, match="not the ones that the configuration was written with"):
        load_ensemble_model(other / "e.pth", config)
    content = read_pth(model)
    content["members.0.network.head.weight"] += 1
    write_pth(model, content)
    with pytest.raises(InputError, match="not the ones"):
        load_ensemble_model(model, config)
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    with pytest.raises(InputError):
        load_ensemble_model(model, config)
    for text in ("[]", "{}", "{"):
        config.write_text(text)
        with pytest.raises(InputError):
            load_ensemble_model(model, config)


def test_members_that_differ_cannot_be_saved(tmp_path):
    two = members(count=2)
    other = ScaledMember(two[1].network, torch.zeros(FEATURES), torch.ones(FEATURES), scaling="window")
    for wrong in ([two[0], other], [two[0], two[1].network], [two[0], members(LSTMClassifier, 1)[0]]):
        with pytest.raises(InputError, match="one class, one architecture"):
            saved(tmp_path, F1WeightedEnsemble(wrong, [1, 1]))
    with pytest.raises(InputError, match="Says cannot be saved"):
        saved(tmp_path, F1WeightedEnsemble([Says(0.5, 0.5)], [1]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_ensemble_is_exported_whole(tmp_path, strategy):
    for extra in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(extra)
    from groundswell.deploy.export import export_onnx
    from groundswell.train.task import Export

    ensemble = F1WeightedEnsemble(members(classifier_class("mlp"), 2), [0.8, 0.9], strategy)
    what = Export(ensemble, {"x": windows(2)}, ("probability",), {"x": {0: "batch"}})
    result = export_onnx(what, tmp_path / "model.onnx", lambda: iter([{"x": windows(100).numpy()}]))
    assert result.parity.difference <= 1e-5
