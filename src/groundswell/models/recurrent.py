"""models: an LSTM that trains as torch's own and is exported as one ONNX LSTM operator for each layer.

Tracing a recurrent layer unrolls it (minutes of exporting, megabytes of graph for a thousand steps). While a network is
being exported by ``torch.export`` this layer calls a single custom operator instead, and :func:`onnx_translations` says
how that operator is written in ONNX. The older tracing exporter knows ``nn.LSTM`` by itself and sees the plain layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from groundswell.core.optional import require


@torch.library.custom_op("groundswell::onnx_lstm", mutates_args=())
def onnx_lstm(x_tbi: Tensor, w: Tensor, r: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """One LSTM layer with the weights as the ONNX operator has them (gates in the order i, o, f, c).

    Args:
        x_tbi: (time, batch, input).
        w: (directions, 4 hidden, input).
        r: (directions, 4 hidden, hidden).
        b: (directions, 8 hidden), input biases then recurrent ones.

    Returns:
        All outputs (time, batch, directions * hidden) and the last ones (directions, batch, hidden).
    """
    directions, hidden = r.shape[0], r.shape[2]
    weights: list[Tensor] = []
    for k in range(directions):
        b_input, b_recurrent = torch.chunk(b[k], 2)
        weights += [_torch_order(p) for p in (w[k], r[k], b_input, b_recurrent)]
    start = x_tbi.new_zeros(directions, x_tbi.shape[1], hidden)
    y, last, _ = torch.lstm(x_tbi, (start, start), weights, True, 1, 0.0, False, directions == 2, False)
    return y, last


@onnx_lstm.register_fake
def _shapes(x_tbi: Tensor, w: Tensor, r: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    directions, hidden = r.shape[0], r.shape[2]
    time, batch = x_tbi.shape[0], x_tbi.shape[1]
    return x_tbi.new_empty(time, batch, directions * hidden), x_tbi.new_empty(directions, batch, hidden)


def _onnx_order(weight: Tensor) -> Tensor:
    i, f, g, o = torch.chunk(weight, 4)
    return torch.cat([i, o, f, g])


def _torch_order(weight: Tensor) -> Tensor:
    i, o, f, g = torch.chunk(weight, 4)
    return torch.cat([i, f, g, o])


def onnx_translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """How the custom operators of this module are written in ONNX, for ``torch.onnx.export``.

    Raises:
        MissingExtraError: onnxscript is not installed.
    """
    op = require("onnxscript", extra="export", purpose="Exporting a recurrent network").opset18

    def lstm(x: Any, w: Any, r: Any, b: Any) -> tuple[Any, Any]:
        direction = "bidirectional" if r.shape[0] == 2 else "forward"
        y_tdbh, last, _ = op.LSTM(x, w, r, b, hidden_size=int(r.shape[2]), direction=direction)
        y_tbdh = op.Transpose(y_tdbh, perm=[0, 2, 1, 3])
        return op.Reshape(y_tbdh, op.Constant(value_ints=[0, 0, -1])), last

    return {torch.ops.groundswell.onnx_lstm.default: lstm}


class Lstm(nn.Module):
    """Stacked LSTM, batch first.

    Args:
        inputs: features of each time step.
        hidden: width of each direction.
        layers: how many are stacked.
        bidirectional: read the sequence both ways; the outputs of both are concatenated.
        dropout: share of activations dropped between layers.
    """

    def __init__(self, inputs: int, hidden: int, layers: int, *, bidirectional: bool, dropout: float) -> None:
        super().__init__()
        self.directions = 2 if bidirectional else 1
        self.stack = nn.LSTM(inputs, hidden, layers, batch_first=True, bidirectional=bidirectional,
                             dropout=dropout if layers > 1 else 0.0)

    def forward(self, x_bti: Tensor) -> tuple[Tensor, Tensor]:
        """From (batch, time, input) to outputs (batch, time, directions * hidden) and the top layer's last state of
        every direction (batch, directions * hidden)."""
        if torch.compiler.is_exporting():
            return self._exported(x_bti)
        y_bth, (last_lbh, _) = self.stack(x_bti)
        return y_bth, torch.cat([last_lbh[k] for k in range(-self.directions, 0)], dim=1)

    def _exported(self, x_bti: Tensor) -> tuple[Tensor, Tensor]:
        y_tbh = x_bti.transpose(0, 1)
        last_dbh = y_tbh
        for layer in range(self.stack.num_layers):
            y_tbh, last_dbh = onnx_lstm(y_tbh, self._weights("weight_ih", layer), self._weights("weight_hh", layer),
                                        torch.cat([self._weights("bias_ih", layer),
                                                   self._weights("bias_hh", layer)], dim=1))
        return y_tbh.transpose(0, 1), torch.cat([last_dbh[k] for k in range(self.directions)], dim=1)

    def _weights(self, name: str, layer: int) -> Tensor:
        suffixes = ("", "_reverse")[: self.directions]
        return torch.stack([_onnx_order(getattr(self.stack, f"{name}_l{layer}{s}")) for s in suffixes])
