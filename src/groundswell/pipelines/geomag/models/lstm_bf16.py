"""geomag: an LSTM layer in bfloat16 on a CPU: one product for all inputs, then a short loop over the steps.

Under autocast torch hands ``nn.LSTM`` to a oneDNN kernel that takes as long in bfloat16 as in float32 (``nn.GRU`` and
``nn.RNN`` go another way and gain). Here products are bfloat16, states and gates float32, and each weight's gradient is
one product over all steps. What is computed is what ``nn.LSTM`` documents, from its parameters as they are.

Shape letters: t step, b batch, i input, h hidden, g the four gates (input, forget, candidate, output) times hidden.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_sigmoid_slope, _tanh_slope = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward


def applies(layer: nn.Module, x: Tensor) -> bool:
    """Whether :func:`lstm_bf16` is meant for this call: an LSTM under bfloat16 autocast on a CPU."""
    return (isinstance(layer, nn.LSTM) and x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
            and torch.get_autocast_dtype("cpu") == torch.bfloat16)


def lstm_bf16(layer: nn.RNNBase, x_tbi: Tensor, product: torch.dtype = torch.bfloat16) -> Tensor:
    """Outputs of all steps of an LSTM of one layer, in one direction or both, that starts from zeros.

    Args:
        layer: an ``nn.LSTM`` with biases.
        x_tbi: (steps, batch, inputs).
        product: type in which matrices are multiplied.

    Returns:
        (steps, batch, directions * hidden), of type ``product``.
    """
    with torch.autocast("cpu", enabled=False):
        outputs = []
        for ending in ("_l0", "_l0_reverse")[:2 if layer.bidirectional else 1]:
            weights = [getattr(layer, name + ending) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            x = x_tbi if ending == "_l0" else x_tbi.flip(0)
            y_tbh: Tensor = _Direction.apply(x, *weights, product)
            outputs.append(y_tbh if ending == "_l0" else y_tbh.flip(0))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)


class _Direction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_tbi: Tensor, w_gi: Tensor, r_gh: Tensor, b_g: Tensor, c_g: Tensor,
                product: torch.dtype) -> Tensor:
        x, w, r, bias = (value.to(product) for value in (x_tbi, w_gi, r_gh, b_g + c_g))
        inputs_tbg = torch.addmm(bias, x.flatten(0, 1), w.t()).view(*x.shape[:2], -1)
        y, gates, cells = _forward(inputs_tbg, r)
        ctx.save_for_backward(x, w, r, y, gates, cells)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy_tbh: Tensor) -> tuple[Tensor | None, ...]:
        x, w, r, y, gates, cells = ctx.saved_tensors
        d_tbg = _backward(dy_tbh, r, gates, cells)
        flat = d_tbg.flatten(0, 1)
        dx = (flat @ w).view_as(x) if ctx.needs_input_grad[0] else None
        # The state before the first step is zero: it teaches the recurrent weights nothing.
        dr = d_tbg[1:].flatten(0, 1).t() @ y[:-1].flatten(0, 1)
        bias = flat.sum(dim=0).float()
        return dx, (flat.t() @ x.flatten(0, 1)).float(), dr.float(), bias, bias, None


def _forward(inputs_tbg: Tensor, r_gh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """States (t, b, h), gates (t, b, g) and cells (t, b, h, float32); the first two of the products' type."""
    steps, batch, hidden = *inputs_tbg.shape[:2], r_gh.shape[1]
    y, gates = inputs_tbg.new_empty(steps, batch, hidden), torch.empty_like(inputs_tbg)
    cells = inputs_tbg.new_empty(steps, batch, hidden, dtype=torch.float32)
    cell, state = torch.zeros_like(cells[0]), torch.zeros_like(y[0])
    # Scratch that stays in the processor's cache, whatever the number of steps.
    now, squashed = cells.new_empty(batch, 4 * hidden), torch.empty_like(cell)
    i, f, g, o = now.chunk(4, dim=1)
    for t in range(steps):
        now.copy_(torch.addmm(inputs_tbg[t], state, r_gh.t()))
        now[:, :2 * hidden].sigmoid_()
        g.tanh_()
        o.sigmoid_()
        gates[t] = now
        cell = torch.mul(f, cell, out=cells[t]).addcmul_(i, g)
        state = torch.mul(o, torch.tanh(cell, out=squashed), out=y[t])
    return y, gates, cells


def _backward(dy_tbh: Tensor, r_gh: Tensor, gates: Tensor, cells: Tensor) -> Tensor:
    """Gradients of the gates before their activation, (t, b, g), of the products' type."""
    d_tbg = torch.empty_like(gates)
    now, d = torch.empty_like(gates[0], dtype=torch.float32), torch.empty_like(gates[0], dtype=torch.float32)
    hidden = cells.shape[2]
    (i, f, g, o), (di, df, dg, do) = now.chunk(4, dim=1), d.chunk(4, dim=1)
    dh, dc, nothing = dy_tbh[-1].float(), torch.zeros_like(cells[0]), torch.zeros_like(cells[0])
    for t in range(len(cells) - 1, -1, -1):
        now.copy_(gates[t])
        squashed = torch.tanh(cells[t])
        dc += _tanh_slope(dh * o, squashed)
        torch.mul(dc, g, out=di)
        torch.mul(dc, cells[t - 1] if t else nothing, out=df)
        torch.mul(dc, i, out=dg)
        torch.mul(dh, squashed, out=do)
        dc *= f
        d[:, :2 * hidden] = _sigmoid_slope(d[:, :2 * hidden], now[:, :2 * hidden])
        dg.copy_(_tanh_slope(dg, g))
        do.copy_(_sigmoid_slope(do, o))
        d_tbg[t] = d
        if t:
            dh = dy_tbh[t - 1] + (d_tbg[t] @ r_gh).float()
    return d_tbg
