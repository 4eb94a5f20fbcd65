"""Classifiers of embeddings: the seed's sizes, every tier, late fusion with and without a modality, new modalities."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from groundswell.core.errors import InputError
from groundswell.deploy.export import export_onnx
from groundswell.deploy.parity import TOLERANCE
from groundswell.pipelines.biodiversity.models import modalities as registry
from groundswell.pipelines.biodiversity.models.classifiers import (
    FusionClassifier,
    LanguageClassifier,
    VisionClassifier,
)
from groundswell.pipelines.biodiversity.models.modalities import (
    Modality,
    Pooled,
    get_modalities,
    known_modalities,
    register,
)
from groundswell.train.task import Export

WIDTHS = {"vision": 12, "language": 20}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def places(count=6):
    r = np.random.default_rng(0)
    return torch.tensor(np.stack([r.uniform(27, 29, count), r.uniform(-82, -80, count), np.zeros(count),
                                  r.uniform(2012, 2025, count)], axis=1))


def inputs(count=6):
    return {"vision": draw(count, 3, 12), "language": draw(count, 20, seed=1), "place": places(count)}


def size_of(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("network", "parameters", "dropout"), [
    (LanguageClassifier(224), 963_040, 0.2), (VisionClassifier(224), 225_760, 0.3),
    (FusionClassifier(224, ("language",)), 963_040, 0.2), (FusionClassifier(224, ("vision",)), 225_760, 0.3),
    (FusionClassifier(224), 963_040 + 225_760 + 2, None)])
def test_sizes_are_the_seeds(network, parameters, dropout):
    assert size_of(network) == parameters
    found = {module.p for module in network.modules() if isinstance(module, nn.Dropout)}
    assert found == ({dropout} if dropout else {0.2, 0.3})


def test_state_dicts_have_the_seeds_names():
    names = [f"classifier.{k}.{what}" for k in (0, 3, 6) for what in ("weight", "bias")]
    assert list(LanguageClassifier(5).state_dict()) == list(VisionClassifier(5).state_dict()) == names
    assert [tuple(v.shape) for v in VisionClassifier(5, hidden_dim=7).state_dict().values()] == [
        (7, 1408), (7,), (7, 7), (7,), (5, 7), (5,)]


def test_every_tier_of_vision_gives_the_same_logits():
    network, whole = VisionClassifier(5).eval(), draw(2, 8, 24, 24, 1408)
    wanted = network(whole)
    assert wanted.shape == (2, 5) and wanted.dtype == torch.float32
    tiers = {"mean": whole.mean((1, 2, 3)), "temporal": whole.mean((2, 3)),
             "grid": whole.reshape(2, 8, 3, 8, 3, 8, 1408).mean((3, 5))}
    for name, tier in tiers.items():
        torch.testing.assert_close(network(tier), wanted, rtol=1e-4, atol=1e-5, msg=name)
    half = network(whole.mean((1, 2, 3)).half())
    torch.testing.assert_close(half, wanted, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("shape", [(2, 7), (1408,), (2, 1408, 8)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match="is no batch of vectors of 1408 numbers"):
        VisionClassifier(5)(torch.zeros(shape))


def test_the_seeds_loop_trains_a_language_classifier():
    torch.manual_seed(0)
    species, label = draw(5, 7168), torch.arange(40) % 5
    model = LanguageClassifier(5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.001, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100)
    for _ in range(10):
        loss = nn.functional.cross_entropy(model(species[label]), label) / 4
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
    assert (model.eval()(species).argmax(1) == torch.arange(5)).all()


@pytest.mark.parametrize("encoder_dim", [0, 16])
def test_late_fusion_is_a_weighted_sum_of_log_probabilities(encoder_dim):
    torch.manual_seed(0)
    network = FusionClassifier(4, ("vision", "language", "place"), hidden_dim=8, encoder_dim=encoder_dim,
                               place_size="tiny", widths=WIDTHS).eval()
    assert network.weights == pytest.approx(dict.fromkeys(("vision", "language", "place"), 1 / 3))
    with torch.no_grad():
        network.log_weights.copy_(torch.tensor([0.5, -1.0, 0.0]))
    given = inputs()
    wanted = sum(math.exp(w) * network.opinion(name, given[name]).log_softmax(1)
                 for name, w in (("vision", 0.5), ("language", -1.0), ("place", 0.0)))
    torch.testing.assert_close(network({**given, "label": torch.zeros(6)}), wanted)


def test_one_modality_answers_as_its_own_classifier():
    network = FusionClassifier(5, ("vision",)).eval()
    alone = VisionClassifier(5).eval()
    alone.load_state_dict(network.vision_classifier.state_dict())
    x = draw(3, 1408)
    torch.testing.assert_close(network({"vision": x}), alone(x).log_softmax(1))
    assert "log_weights" not in network.state_dict()


@pytest.mark.parametrize("encoder_dim", [0, 16])
def test_every_parameter_learns(encoder_dim):
    torch.manual_seed(0)
    network = FusionClassifier(4, ("vision", "language", "place"), hidden_dim=32, encoder_dim=encoder_dim,
                               place_size="tiny", widths=WIDTHS)
    nn.functional.cross_entropy(network(inputs(64)), torch.arange(64) % 4).backward()
    assert not [name for name, value in network.named_parameters() if value.grad is None or not value.grad.abs().sum()]


def test_what_is_missing_has_no_say_even_if_it_is_nan():
    torch.manual_seed(0)
    network = FusionClassifier(4, hidden_dim=8, widths=WIDTHS).eval()
    given, there = inputs(), torch.tensor([True, False, True, True, False, True])
    spoilt = {**given, "vision": torch.where(there[:, None, None], given["vision"], torch.nan)}
    logits = network(spoilt, {"vision": there})
    whole, language = network(given), network({**given}, {"vision": torch.zeros(6, dtype=torch.bool)})
    torch.testing.assert_close(logits, torch.where(there[:, None], whole, language))
    logits.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())
    nothing = dict.fromkeys(("vision", "language"), torch.zeros(6, dtype=torch.bool))
    assert torch.equal(network(given, nothing).softmax(1), torch.full((6, 4), 0.25))


def test_a_missing_input_and_unknown_modalities_are_named():
    with pytest.raises(InputError, match="'language' was not given"):
        FusionClassifier(3, widths=WIDTHS)({"vision": draw(2, 12)})
    with pytest.raises(InputError, match=r"no modality 'sound'.*vision, language, place"):
        FusionClassifier(3, ("vision", "sound"))
    for wrong in ((), ("vision", "vision")):
        with pytest.raises(InputError, match="at least one modality, each once"):
            FusionClassifier(3, wrong)
    with pytest.raises(InputError, match=r"no size 'huge'.*tiny, small, base"):
        FusionClassifier(3, ("place",), place_size="huge")


def test_a_further_modality_is_registered_by_name(monkeypatch):
    monkeypatch.setattr(registry, "_KNOWN", dict(registry._KNOWN))
    sound = Modality("sound", 9)
    register(sound)
    register(sound)  # again the same is no contradiction
    assert known_modalities() == ("vision", "language", "place", "sound")
    assert FusionClassifier(3, ("place", "sound"), place_size="tiny")(
        {"place": places(2), "sound": draw(2, 4, 9)}).shape == (2, 3)
    assert get_modalities(["sound", "place"], {"sound": 5, "place": 4})[0].width == 5
    with pytest.raises(InputError, match="'sound' already"):
        register(Modality("sound", 10))
    with pytest.raises(InputError, match="cannot be the name"):
        register(Modality("sound waves", 9))


class Exported(nn.Module):
    """As a task writes it: named inputs, probabilities."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, vision, language, place):
        return self.network({"vision": vision, "language": language, "place": place}).softmax(1)


def test_fusion_with_place_survives_export(tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network = FusionClassifier(4, ("vision", "language", "place"), hidden_dim=8, encoder_dim=16,
                               place_size="tiny", widths=WIDTHS).eval()
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.3 * torch.randn(value.shape))
    what = Export(Exported(network), inputs(2), ("probability",), {name: {0: "batch"} for name in inputs(2)}, {})
    many = {name: value.numpy() for name, value in inputs(120).items()}
    result = export_onnx(what, tmp_path / "fusion.onnx", lambda: iter([many]))
    assert result.exporter == "dynamo" and result.parity.samples == 120
    assert result.parity.difference <= TOLERANCE and result.parity.shape_difference <= TOLERANCE
    assert Exported(network)(**inputs(6)).std(0).max() > 1e-3  # answers differ, so that agreeing on them says something


def test_pooling_keeps_float64():
    assert Pooled(4)(torch.ones(2, 3, 4, dtype=torch.float64)).dtype == torch.float64


def test_the_package_imports_no_torch():
    code = ("import sys; from groundswell.pipelines.biodiversity import models, pretrain_recipe; "
            "sys.exit('torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
