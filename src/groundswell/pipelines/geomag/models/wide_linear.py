"""geomag: a linear layer over many inputs whose float32 products go to oneDNN on a CPU.

torch sends float32 products to MKL, which leaves half of the vector units of other makers' processors idle; oneDNN,
which comes with the same torch, uses them. The numbers are float32 throughout, and equal but for the order of sums.

Shape letters: b batch, i input, o output.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LEAST_WEIGHTS = 1 << 18
"""Below that a product is over before oneDNN has made up its mind."""


def _product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a @ b.T + bias."""
    c: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")
    return c


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_bi: Tensor, w_oi: Tensor, bias_o: Tensor) -> Tensor:
        ctx.save_for_backward(x_bi, w_oi)
        return _product(x_bi, w_oi, bias_o)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy_bo: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, w = ctx.saved_tensors
        dx = _product(dy_bo, w.t()) if ctx.needs_input_grad[0] else None
        return dx, _product(dy_bo.t(), x.t()), dy_bo.sum(dim=0)


class WideLinear(nn.Linear):
    """``nn.Linear`` with the same parameters, for batches (b, i)."""

    def forward(self, input: Tensor) -> Tensor:
        """(b, o)."""
        if self._helps(input):
            y_bo: Tensor = _Linear.apply(input, self.weight, self.bias)
            return y_bo
        return super().forward(input)

    def _helps(self, x: Tensor) -> bool:
        return (x.device.type == "cpu" and x.dtype == self.weight.dtype == torch.float32 and x.dim() == 2
                and len(x) > 1 and self.weight.numel() >= LEAST_WEIGHTS and not torch.is_autocast_enabled("cpu")
                and not torch.compiler.is_exporting() and not torch.onnx.is_in_onnx_export()
                and torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
