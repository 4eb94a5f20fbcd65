"""One ONNX file from bags as read to their sources, alignment inside, through the gate that every file must pass."""

from __future__ import annotations

import pytest
from source_bags import simulated, small_task

from groundswell.deploy.export import export_onnx


@pytest.mark.slow
def test_the_exported_file_gives_the_networks_sources(tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    task = small_task(rounds=1, realign=1).eval()  # more of the same makes a larger graph, no other
    batch = simulated(104, 5, sizes=(5, 3))["x"].numpy()
    parts = [{"x": batch[i:i + 26]} for i in range(0, 104, 26)]
    result = export_onnx(task.export(), tmp_path / "model.onnx", lambda: parts)
    assert result.exporter == "dynamo"
    assert result.parity.difference <= 1e-4 and result.parity.shape_difference <= 1e-4
