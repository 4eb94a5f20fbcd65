"""The five families: sizes, shapes, files, facts, an LSTM in bfloat16 that computes what torch's does, and export."""

from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from groundswell.core.errors import InputError
from groundswell.pipelines.geomag.models import build_model
from groundswell.pipelines.geomag.models.base import classifier_class
from groundswell.pipelines.geomag.models.lstm_bf16 import applies, lstm_bf16
from groundswell.pipelines.geomag.models.mlp import MLPClassifier
from groundswell.pipelines.geomag.models.recurrent import GRUClassifier, LSTMClassifier, RNNClassifier
from groundswell.pipelines.geomag.models.transformer import TransformerClassifier, positional_encoding
from groundswell.pipelines.geomag.models.wide_linear import LEAST_WEIGHTS, WideLinear
from groundswell.pipelines.geomag.recipe import GeomagModelRecipe
from groundswell.train.checkpoint import DamagedError
from groundswell.train.task import Export
from groundswell.train.weights import read_pth, write_pth

DAY, DAYS = 24, 7
FAMILIES = ("gru", "lstm", "rnn", "mlp", "transformer")
RECURRENT = (GRUClassifier, LSTMClassifier, RNNClassifier)


def small(family, **more):
    torch.manual_seed(0)
    sizes = {"d_model": 16, "nhead": 2, "dim_feedforward": 32} if family == "transformer" else {"hidden_sizes": (16, 8)}
    return classifier_class(family)(DAY * DAYS if family == "mlp" else DAY, **{**sizes, **more})


def windows(count=6, days=DAYS):
    return torch.randn(count, days * DAY, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("family", "minutes", "parameters"), [
    ("gru", 10_080, 3_594_754), ("lstm", 10_080, 4_792_322), ("rnn", 10_080, 1_199_618),
    ("transformer", 10_080, 7_043_586), ("mlp", 10_080, 5_294_850), ("mlp", 20_160, 10_455_810),
    ("mlp", 43_200, 22_252_290)])
def test_sizes_are_the_seeds(family, minutes, parameters):
    network = build_model(GeomagModelRecipe(type=family), minutes)
    info = network.get_model_info()
    assert info["total_parameters"] == info["trainable_parameters"] == parameters
    assert info["name"] == type(network).__name__ == classifier_class(family).__name__
    # float32, the running statistics and their counters
    assert info["size_mb"] == pytest.approx(parameters * 4e-6, rel=2e-3)
    assert sum(layer["parameters"] for layer in info["layers"]) <= parameters
    assert network.config["dropout_prob"] == (0.1 if family == "transformer" else 0.3)


def test_a_recipe_reaches_the_network():
    rnn = build_model(GeomagModelRecipe(type="rnn", nonlinearity="relu", bidirectional=True, hidden_sizes=(8,),
                                        dropout=0.2, use_batch_norm=False), 1440 * 7, 3)
    assert rnn.layers[0].nonlinearity == "relu" and rnn.layers[0].bidirectional and rnn.dropout.p == 0.2
    assert rnn.head.in_features == 16 and rnn.head.out_features == 3 and not rnn.monitor_batch_norm_stats()
    mlp = build_model(GeomagModelRecipe(type="mlp", activation="selu", hidden_sizes=(8,)), 1440)
    assert any(isinstance(layer, nn.SELU) for layer in mlp.layers)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_flat_windows_and_days_give_the_same_logits(family, bidirectional):
    if bidirectional and family in ("mlp", "transformer"):
        pytest.skip("has no direction")
    network = small(family, **({"bidirectional": True} if bidirectional else {})).eval()
    x = windows()
    logits = network(x)
    assert logits.shape == (6, 2) and logits.dtype == torch.float32
    assert torch.equal(logits, network(x.reshape(6, DAYS, DAY)))
    torch.testing.assert_close(network(x[2:3]), logits[2:3], rtol=1e-5, atol=1e-5)
    assert (logits - network(x.flip(1))).abs().max() > 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_learns(family):
    network = small(family)
    network(windows()).square().sum().backward()
    dead = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.abs().sum()]
    # Where batch normalisation or a softmax takes away what a bias adds, its gradient is zero but for rounding.
    assert not [name for name in dead if "bias" not in name]


@pytest.mark.parametrize("family", ["gru", "lstm", "rnn", "transformer"])
def test_any_number_of_days(family):
    network = small(family).eval()
    for days in (1, 2, 30):
        assert network(windows(3, days)).shape == (3, 2)


@pytest.mark.parametrize("family", ["gru", "lstm", "rnn", "transformer"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_what_lies_behind_a_windows_length_has_no_influence(family, bidirectional):
    if bidirectional and family == "transformer":
        pytest.skip("has no direction")
    network = small(family, dropout_prob=0.0, **({"bidirectional": True} if bidirectional else {})).eval()
    x, lengths = windows(4).reshape(4, DAYS, DAY), torch.tensor([7, 2, 5, 1])
    together = network(x, lengths)
    for k, days in enumerate(lengths.tolist()):
        torch.testing.assert_close(together[k], network(x[k:k + 1, :days])[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network(x, torch.full((4,), DAYS)), network(x), rtol=1e-4, atol=1e-5)
    network.train()
    spoilt = x.clone()
    for k, days in enumerate(lengths.tolist()):
        spoilt[k, days:] = 1e6
    assert torch.equal(network(x, lengths), network(spoilt, lengths))
    for wrong in (torch.tensor([7, 2, 5, 0]), torch.tensor([7, 2, 5, 8]), torch.tensor([7])):
        with pytest.raises(InputError, match="between 1 and 7"):
            network(x, wrong)


@pytest.mark.parametrize("family", RECURRENT)
def test_first_weights(family):
    network = family(48, (32, 16), bidirectional=True)
    for layer, (inputs, hidden) in zip(network.layers, ((48, 32), (64, 16)), strict=True):
        for name, value in layer.named_parameters():
            for k, gate in enumerate(value.detach().chunk(network.gates)):
                if name.startswith("weight_ih"):
                    bound = (6 / (inputs + hidden)) ** 0.5
                    assert 0.9 * bound < gate.abs().max() <= bound
                elif name.startswith("weight_hh"):
                    torch.testing.assert_close(gate @ gate.T, torch.eye(hidden), atol=1e-5, rtol=0)
                else:
                    forget = isinstance(layer, nn.LSTM) and k == 1 and name.startswith("bias_ih")
                    assert bool((gate == (1.0 if forget else 0.0)).all())
    assert not network.head.bias.any()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_comes_back(family, tmp_path):
    network = small(family)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    network(windows()).square().sum().backward()
    optimizer.step()
    path = network.save_checkpoint(tmp_path / "new" / "model_best.pth", optimizer, 50, {"f1": 0.87, "accuracy": 0.92})
    back = type(network).load_checkpoint(str(path))
    assert not back.training and back.config == network.config
    assert torch.equal(back(windows()), network.eval()(windows()))
    content = torch.load(path, weights_only=True)
    assert content["epoch"] == 50 and content["metrics"] == {"f1": 0.87, "accuracy": 0.92}
    again = torch.optim.AdamW(back.parameters(), 1e-3)
    again.load_state_dict(content["optimizer_state_dict"])
    assert again.state_dict()["state"][0]["step"] == 1
    bare = type(network).load_checkpoint(network.save_checkpoint(tmp_path / "bare.pth"))
    assert torch.equal(bare(windows()), back(windows()))


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    path = small("gru").save_checkpoint(tmp_path / "gru.pth")
    with pytest.raises(InputError, match="holds a GRUClassifier, not a LSTMClassifier"):
        LSTMClassifier.load_checkpoint(path)
    with pytest.raises(InputError, match="no such file"):
        GRUClassifier.load_checkpoint(tmp_path / "none.pth")
    content = read_pth(path)
    for wrong in ({"config": {**content["config"], "hidden_sizes": [8, 8]}}, {"config": {"rows": 3}},
                  {"model_state_dict": {}}, {"config": None}, {"model_state_dict": {"head.bias": 3}}):
        write_pth(tmp_path / "wrong.pth", {**content, **wrong})
        with pytest.raises(InputError, match="not the weights and the architecture of one GRUClassifier"):
            GRUClassifier.load_checkpoint(tmp_path / "wrong.pth")
    write_pth(tmp_path / "bare.pth", dict(content["model_state_dict"]))
    with pytest.raises(InputError, match="no classifier"):
        GRUClassifier.load_checkpoint(tmp_path / "bare.pth")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedError):
        GRUClassifier.load_checkpoint(path)


def test_batch_norm_statistics():
    network = small("gru")
    stats = network.monitor_batch_norm_stats()
    assert list(stats) == ["norms.0", "norms.1"] and stats["norms.0"]["batches_tracked"] == 0
    assert stats["norms.1"]["running_var"] == {"mean": 1.0, "std": 0.0, "min": 1.0, "max": 1.0}
    seen = []
    network.layers[0].register_forward_hook(lambda layer, given, output: seen.append(output[0].detach()))
    network(windows())
    stats = network.monitor_batch_norm_stats()
    # Over windows and days together; the running mean has moved a tenth of the way.
    mean = 0.1 * seen[0].mean(dim=(0, 1))
    assert stats["norms.0"]["batches_tracked"] == 1
    assert stats["norms.0"]["running_mean"]["mean"] == pytest.approx(float(mean.mean()), rel=1e-4)
    assert stats["norms.0"]["running_mean"]["max"] == pytest.approx(float(mean.max()), rel=1e-4)
    assert list(small("mlp").monitor_batch_norm_stats()) == ["layers.1", "layers.5"]
    assert small("transformer").monitor_batch_norm_stats() == {}
    assert small("lstm", use_batch_norm=False).monitor_batch_norm_stats() == {}


def test_wrong_sizes_and_shapes_are_named():
    for make in (lambda: GRUClassifier(0), lambda: GRUClassifier(8, ()), lambda: GRUClassifier(8, (4, 0)),
                 lambda: MLPClassifier(8, dropout_prob=1.0), lambda: MLPClassifier(8, activation="cubic"),
                 lambda: RNNClassifier(8, nonlinearity="cubic"), lambda: TransformerClassifier(8, d_model=10, nhead=4),
                 lambda: classifier_class("convnet")):
        with pytest.raises(InputError):
            make()
    for family in FAMILIES:
        for shape in ((4, 25), (4, 7, 25), (4,), (2, 2, 7, 24), (4, 0)):
            with pytest.raises(InputError, match="is no batch of windows"):
                small(family)(torch.zeros(shape))


def test_positions_are_those_of_the_paper():
    places = positional_encoding(31, 6)
    assert places.shape == (31, 6) and places.dtype == torch.float32
    for t, k in ((0, 0), (3, 0), (30, 2), (17, 4)):
        angle = t / 10_000 ** (k / 6)
        assert float(places[t, k]) == pytest.approx(np.sin(angle), abs=1e-5)
        assert float(places[t, k + 1]) == pytest.approx(np.cos(angle), abs=1e-5)
    assert positional_encoding(4, 5).shape == (4, 5)
    # Attention alone does not see the order of the days; with these it does.
    network = small("transformer").eval()
    x = windows().reshape(6, DAYS, DAY)
    assert (network(x) - network(x.flip(1))).abs().max() > 1e-4


# -- bfloat16 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_our_lstm_is_torchs(bidirectional, steps):
    torch.manual_seed(3)
    layer = nn.LSTM(5, 4, bidirectional=bidirectional)
    x = torch.randn(steps, 3, 5, requires_grad=True)
    exact = copy.deepcopy(layer).double()
    x_exact = x.detach().double().requires_grad_()
    y_exact, _ = exact(x_exact)
    y = lstm_bf16(layer, x, torch.float32)
    torch.testing.assert_close(y, y_exact.float(), rtol=1e-5, atol=1e-5)
    weight = torch.randn_like(y)
    found = torch.autograd.grad((y * weight).sum(), [x, *layer.parameters()])
    wanted = torch.autograd.grad((y_exact * weight.double()).sum(), [x_exact, *exact.parameters()])
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs.float(), rtol=1e-5, atol=1e-5)


def test_our_lstm_is_used_under_bfloat16_on_a_cpu_alone():
    x = torch.zeros(2, 3, 5)
    assert not applies(nn.LSTM(5, 4), x)
    with torch.autocast("cpu", torch.bfloat16):
        assert applies(nn.LSTM(5, 4), x) and not applies(nn.GRU(5, 4), x) and not applies(nn.RNN(5, 4), x)
        layer = nn.LSTM(5, 4)
        assert lstm_bf16(layer, x).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.float16):
        assert not applies(nn.LSTM(5, 4), x)


@pytest.mark.parametrize("family", RECURRENT)
def test_bfloat16_training_follows_float32(family):
    torch.manual_seed(0)
    x = torch.randn(64, 7, 48)
    label = (x[:, :, :8].mean(dim=(1, 2)) > 0).long()
    losses = {}
    for name, enabled in (("32", False), ("bf16", True)):
        torch.manual_seed(1)
        network = family(48, (32, 16), dropout_prob=0.0)
        optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
        losses[name] = []
        for _ in range(15):
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                logits = network(x)
            loss = nn.functional.cross_entropy(logits.float(), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[name].append(float(loss.detach()))
        assert all(value.dtype == torch.float32 for value in network.parameters())
    assert losses["32"][-1] < 0.3 * losses["32"][0]
    assert abs(losses["32"][0] - losses["bf16"][0]) < 0.02
    assert abs(losses["32"][-1] - losses["bf16"][-1]) < 0.05


@pytest.mark.parametrize("bias_only", [False, True])
def test_a_wide_layer_is_torchs(bias_only):
    torch.manual_seed(0)
    wide, x = WideLinear(4096, 64), torch.randn(5, 4096, requires_grad=not bias_only)
    assert wide.weight.numel() >= LEAST_WEIGHTS and wide._helps(x)
    exact = copy.deepcopy(wide).double()
    x_exact = x.detach().double().requires_grad_(x.requires_grad)
    y, y_exact = wide(x), nn.Linear.forward(exact, x_exact)
    assert type(y.grad_fn).__name__ == "_LinearBackward"
    torch.testing.assert_close(y, y_exact.float(), rtol=1e-5, atol=1e-5)
    weight, leaves = torch.randn_like(y), [] if bias_only else [x]
    found = torch.autograd.grad((y * weight).sum(), [*leaves, *wide.parameters()])
    wanted = torch.autograd.grad((y_exact * weight.double()).sum(), [*([] if bias_only else [x_exact]),
                                                                    *exact.parameters()])
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.shape == theirs.shape and mine.is_contiguous()
        torch.testing.assert_close(mine, theirs.float(), rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        assert torch.equal(wide(x), y)


def test_a_wide_layer_leaves_everything_else_to_torch(monkeypatch):
    wide, x = WideLinear(4096, 64), torch.zeros(5, 4096)
    assert not WideLinear(64, 64)._helps(torch.zeros(5, 64))
    assert not wide._helps(x[:1]) and not wide._helps(x.double()) and not wide._helps(x[None])
    assert wide(x[None]).shape == (1, 5, 64)
    with torch.autocast("cpu", torch.bfloat16):
        assert not wide._helps(x) and wide(x).dtype == torch.bfloat16
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not wide._helps(x)
    assert list(wide.state_dict()) == ["weight", "bias"]


# -- export, imports --------------------------------------------------------------------------------------------------


class Probabilities(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return torch.softmax(self.network(x), dim=1)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "more"), [
    ("gru", {}), ("lstm", {}), ("rnn", {"nonlinearity": "relu"}), ("mlp", {"activation": "gelu"}), ("transformer", {}),
    ("gru", {"bidirectional": True}), ("lstm", {"bidirectional": True, "use_batch_norm": False}),
    ("mlp", {"hidden_sizes": (1600, 8)})])
def test_exported_files_agree(family, more, tmp_path):
    for extra in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(extra)
    from groundswell.deploy.export import export_onnx

    network = small(family, **more)
    for _ in range(3):  # running statistics that are not those it began with
        network(windows(32))
    what = Export(Probabilities(network).eval(), {"x": windows(2)}, ("probability",), {"x": {0: "batch"}})
    result = export_onnx(what, tmp_path / "model.onnx", lambda: iter([{"x": windows(100).numpy()}]))
    assert result.parity.samples == 100 and result.parity.difference <= 1e-5 and not result.refused


def test_importing_the_package_imports_no_torch():
    code = "import sys, groundswell.pipelines.geomag.models; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
