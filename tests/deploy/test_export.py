"""Exporting: what is written answers as the network does, or nothing is written."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from small_models import CHANNELS, SPACING_M, small_task, windows

from groundswell.core.errors import MissingExtraError, RefusedError
from groundswell.deploy import export as export_module
from groundswell.deploy.artifact import Artifact
from groundswell.deploy.export import export_onnx
from groundswell.deploy.parity import TOLERANCE, other_sizes
from groundswell.pipelines.das.predictor import Predictor
from groundswell.pipelines.das.task import TaskPredictor
from groundswell.train.task import Export

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "sets"), [
    ("temporal_cnn", ()), ("lstm", ("preprocess.scaling=channel",)), ("transformer", ("preprocess.decimate=4",)),
    ("fibre_cnn", ()), ("fibre_cnn", ("preprocess.average_channels=2", "preprocess.bandpass_hz=[2.0, 20.0]"))])
def test_exported_file_agrees_with_the_network(kind, sets, tmp_path):
    task = small_task(kind, *sets)
    result = export_onnx(task.export(), tmp_path / "model.onnx", windows, run="first")
    assert result.parity.samples == 112 and result.parity.difference <= TOLERANCE
    assert result.parity.shape_difference <= TOLERANCE
    artifact, network = Artifact.open(result.path), TaskPredictor(task, "")
    assert isinstance(artifact, Predictor)
    for name in ("classes", "window_samples", "stride_samples", "rate_hz", "channels", "spacing_m"):
        assert getattr(artifact, name) == getattr(network, name), name
    cables = [(CHANNELS, SPACING_M)] if kind != "fibre_cnn" else [(CHANNELS, SPACING_M), (40, 5.0), (5, 23.0), (7, 0.0)]
    for channels, spacing_m in cables:
        for count in (1, 5):
            x = next(windows(channels=channels, seed=3))["x"][:count]
            found = artifact.predict(x, spacing_m)
            assert np.abs(found - network.predict(x, spacing_m)).max() <= TOLERANCE
            assert np.abs(found.sum(axis=1) - 1).max() < 1e-12
    facts = artifact.metadata
    assert facts["run"] == "first" and facts["pipeline"] == "das" and facts["model"] == kind
    assert facts["exporter"] == result.exporter and facts["parity"]["difference"] == result.parity.difference
    assert facts["versions"]["torch"] == torch.__version__.split("+")[0] or facts["versions"]["torch"]
    assert json.dumps(facts)


class Doubled(torch.nn.Module):
    """A network small enough to export in a second."""

    def forward(self, x):
        return torch.softmax(2 * x.mean(dim=1), dim=1)


def tiny(module=None, dynamic=None):
    return Export(module or Doubled(), {"x": torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(0))},
                  ("probability",), dynamic or {"x": {0: "batch"}}, {"pipeline": "none"})


def tiny_samples(count=100):
    return lambda: iter([{"x": np.random.default_rng(0).normal(size=(count, 8, 3)).astype(np.float32)}])


def test_too_few_samples_are_refused(tmp_path):
    with pytest.raises(RefusedError, match="Only 99 real samples"):
        export_onnx(tiny(), tmp_path / "model.onnx", tiny_samples(99))
    assert not list(tmp_path.iterdir())


class Forgetful(Doubled):
    """Answers differently once it is being exported."""

    def forward(self, x):
        exporting = torch.compiler.is_exporting() or torch.jit.is_tracing()
        return torch.softmax((2.001 if exporting else 2) * x.mean(dim=1), dim=1)


def test_disagreement_is_refused_and_what_was_there_stays(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"before")
    with pytest.raises(RefusedError, match=r"dynamo.*differs.*trace.*differs") as refusal:
        export_onnx(tiny(Forgetful()), path, tiny_samples())
    assert refusal.value.exit_status == 3
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


class Fixed(torch.nn.Module):
    """Has the number of channels of its example baked in."""

    def forward(self, x):
        return x.reshape(x.shape[0], 8, 3).mean(dim=1)


def test_an_axis_that_is_not_free_is_refused(tmp_path):
    with pytest.raises(RefusedError):
        export_onnx(tiny(Fixed(), {"x": {0: "batch", 2: "channel"}}), tmp_path / "model.onnx", tiny_samples())
    assert not list(tmp_path.iterdir())


def test_the_other_exporter_is_tried_and_both_are_recorded(tmp_path, monkeypatch):
    def broken(what, file):
        raise ValueError("cannot be traced")

    monkeypatch.setattr(export_module, "_by_export", broken)
    result = export_onnx(tiny(), tmp_path / "model.onnx", tiny_samples())
    assert result.exporter == "trace" and "cannot be traced" in result.refused["dynamo"]
    facts = Artifact.open(result.path).metadata
    assert facts["exporter"] == "trace" and facts["refused"] == result.refused


def test_sizes_that_are_tried():
    shapes = {tuple(inputs["x"].shape) for inputs in other_sizes(tiny(dynamic={"x": {0: "batch", 2: "channel"}}))}
    assert shapes == {(1, 8, 3), (2, 8, 3), (7, 8, 3), (2, 8, 2), (2, 8, 9)}


def test_missing_extra_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"groundswell\[export\]"):
        export_onnx(tiny(), tmp_path / "model.onnx", tiny_samples())
