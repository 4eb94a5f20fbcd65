"""The LSTM layer: torch's own in training, one operator a layer when exported."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from groundswell.models.recurrent import Lstm, onnx_translations


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_equals_torch(layers, bidirectional):
    torch.manual_seed(0)
    lstm = Lstm(5, 7, layers, bidirectional=bidirectional, dropout=0.0)
    x = torch.randn(3, 11, 5)
    y, last = lstm(x)
    expected, (state, _) = lstm.stack(x)
    directions = 2 if bidirectional else 1
    assert torch.equal(y, expected) and y.shape == (3, 11, 7 * directions)
    assert torch.equal(last, state[-directions:].transpose(0, 1).reshape(3, -1))
    # The last state of the forward direction is its last output, that of the backward one its first.
    assert torch.allclose(last[:, :7], y[:, -1, :7])
    if bidirectional:
        assert torch.allclose(last[:, 7:], y[:, 0, 7:])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_exported_path_is_the_same_function(bidirectional):
    torch.manual_seed(1)
    lstm = Lstm(4, 6, 2, bidirectional=bidirectional, dropout=0.0).eval()
    x = torch.randn(2, 9, 4)
    with torch.no_grad():
        for mine, theirs in zip(lstm._exported(x), lstm(x), strict=True):
            assert torch.allclose(mine, theirs, atol=1e-6)


def test_onnx_has_one_operator_a_layer():
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(2)
    lstm = Lstm(4, 6, 2, bidirectional=True, dropout=0.0).eval()
    file = io.BytesIO()
    torch.onnx.export(lstm, (torch.randn(2, 300, 4),), dynamo=True, verbose=False, opset_version=18,
                      dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
                      custom_translation_table=onnx_translations()).save(file)
    model = onnx.load_from_string(file.getvalue())
    assert [node.op_type for node in model.graph.node].count("LSTM") == 2
    assert len(model.graph.node) < 100
    session = runtime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    for batch in (1, 2, 7):
        x = torch.randn(batch, 300, 4)
        found = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        with torch.no_grad():
            for mine, theirs in zip(lstm(x), found, strict=True):
                assert np.abs(mine.numpy() - theirs).max() < 1e-5
