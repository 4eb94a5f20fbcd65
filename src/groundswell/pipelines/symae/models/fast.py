"""symae: the reference model's convolutions in the forms that a CPU computes fastest, with the same weights.

Shape letters: m trace, n time sample, c input channels, d output channels, j tap of a kernel, k taps, r block of output
samples.

The reference's layers have few channels (1 to 50) and long kernels (5 to 50 taps), which libraries made for images
compute far below what the processor can do. Activations are kept as (m, n, c) here, and each of the three products of a
layer (output, gradient of the input, gradient of the weights) is computed in one of three ways:

* a *convolution* of the library with channels last;
* *blocks*: r neighbouring outputs as one product of the r + k - 1 samples that they see with a block-Toeplitz matrix,
  which holds r copies of the kernel. It does (r + k - 1) / k times the work, in products of a size that processors
  like;
* *rows*, for a single output channel: what each sample adds to each of its k outputs, then sums along diagonals.

Leaky ReLU works in place and, backward, on contiguous memory only; so does the pooling. Which way is best was measured
(see benchmarks/symae.py) and is listed in ``WAYS``; all give the same but for rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from groundswell.pipelines.symae.models.reference import Decoder, Encoder, SymVAE, padding
from groundswell.pipelines.symae.models.shift import SLOPE

CONVOLUTION, ROWS = 0, -1
TRACES = 320
"""Traces that are computed at a time, so that their activations stay within the cache and within the memory that the
allocator keeps: what it gives back costs a fault for each page when it is asked for again."""


@dataclass(frozen=True)
class Way:
    """How the products of a layer are computed: ``CONVOLUTION``, ``ROWS`` or the number of outputs of a block."""

    output: int
    input_gradient: int
    weight_gradient: int


Ways = dict[tuple[int, int, int], Way]
"""By input channels, output channels and taps."""

HALF: Ways = {
    (1, 5, 50): Way(16, 12, 16), (5, 10, 20): Way(CONVOLUTION, 16, 8), (10, 20, 20): Way(4, CONVOLUTION, 8),
    (20, 50, 5): Way(CONVOLUTION, CONVOLUTION, 2), (5, 20, 20): Way(4, 12, 4),
    (20, 20, 20): Way(CONVOLUTION, CONVOLUTION, 6), (50, 1, 5): Way(ROWS, ROWS, ROWS)}
"""For bfloat16. No gradient of weights is a convolution: its threads wait for one another in busy loops, which takes
seconds a step where other processes want the cores too, to gain a hundredth where they do not."""
SINGLE: Ways = {
    (1, 5, 50): Way(8, 24, 16), (5, 10, 20): Way(CONVOLUTION, 16, 12), (10, 20, 20): Way(CONVOLUTION, CONVOLUTION, 6),
    (5, 20, 20): Way(CONVOLUTION, CONVOLUTION, 8), (20, 20, 20): Way(CONVOLUTION, CONVOLUTION, 12),
    (50, 1, 5): Way(ROWS, ROWS, ROWS)}
"""For float32. Of the other layers all products are convolutions."""
PLAIN = Way(CONVOLUTION, CONVOLUTION, CONVOLUTION)


class FastSymVAE(SymVAE):
    """:class:`~.reference.SymVAE` with its convolutions computed as this file describes; the state dict is the same.

    On other devices than the CPU, and while it is exported, it is the plain one. It cannot be differentiated twice.

    Args:
        nt, p, q, k: sizes.
        ways: of the layers, for comparisons; the measured ones by default.
    """

    def __init__(self, nt: int = 192, p: int = 30, q: int = 30, k: int = 1, *, ways: Ways | None = None) -> None:
        super().__init__(nt, p, q, k)
        self.ways = ways

    def _features(self, x_mn: Tensor) -> tuple[Tensor, Tensor]:
        if _plain(x_mn):
            return super()._features(x_mn)
        parts = torch.split(x_mn[..., None].to(_dtype(x_mn)), TRACES)
        return (torch.cat([self._encode(self.coherent, x_mnc) for x_mnc in parts]),
                torch.cat([self._encode(self.nuisance, x_mnc) for x_mnc in parts]))

    def _traces(self, z_mc: Tensor) -> Tensor:
        if _plain(z_mc):
            return super()._traces(z_mc)
        begun = self.decoder.begin(z_mc)[..., None].to(_dtype(z_mc))
        return torch.cat([self._convolved(self.decoder, y_mnc) for y_mnc in torch.split(begun, TRACES)])

    def _convolved(self, decoder: Decoder, y_mnc: Tensor) -> Tensor:
        last = len(decoder.convolutions) - 1
        for number, layer in enumerate(decoder.convolutions):
            y_mnc = self._layer(y_mnc, cast(nn.Conv1d, layer), SLOPE if number < last else 1.0, 1)
        return y_mnc[..., 0]

    def _encode(self, encoder: Encoder, x_mnc: Tensor) -> Tensor:
        for number, layer in enumerate(encoder.convolutions):
            x_mnc = self._layer(x_mnc, cast(nn.Conv1d, layer), SLOPE, 4 if number % 2 else 1)
        _, n, c = x_mnc.shape
        weight = encoder.flat.weight.reshape(-1, c, n).transpose(1, 2).flatten(1)
        return functional.leaky_relu(functional.linear(x_mnc.flatten(1), weight, encoder.flat.bias), SLOPE)

    def _layer(self, x_mnc: Tensor, layer: nn.Conv1d, slope: float, pool: int) -> Tensor:
        found = self.ways if self.ways is not None else HALF if x_mnc.dtype == torch.bfloat16 else SINGLE
        way = found.get((layer.in_channels, layer.out_channels, layer.kernel_size[0]), PLAIN)
        return convolve(x_mnc, layer.weight.to(x_mnc.dtype), cast(Tensor, layer.bias).to(x_mnc.dtype), slope=slope,
                        pool=pool, way=way)


def convolve(x_mnc: Tensor, w_dcj: Tensor, bias_d: Tensor, *, slope: float = 1.0, pool: int = 1,
             way: Way = PLAIN) -> Tensor:
    """A convolution that keeps the length, then a leaky ReLU, then the mean of neighbours.

    Args:
        x_mnc: contiguous.
        w_dcj: kernels as ``nn.Conv1d`` has them, of the same dtype.
        bias_d: of the same dtype.
        slope: of negative values; 1 leaves out the leaky ReLU.
        pool: neighbours that become one, a divisor of n.
        way: how. Rows are for a single output channel.

    Returns:
        (m, n / pool, d).
    """
    n, rows = x_mnc.shape[1], w_dcj.shape[0] == 1
    sizes = {name: _fitting(value, n, rows) for name, value in vars(way).items()}
    return cast(Tensor, _Convolve.apply(x_mnc, w_dcj, bias_d, slope, pool, replace(way, **sizes)))


def _fitting(size: int, n: int, rows: bool) -> int:
    """The largest number of outputs of a block, of at most ``size``, that divides ``n``."""
    if size == ROWS and not rows:
        return CONVOLUTION
    return next(r for r in range(size, 0, -1) if n % r == 0) if size > 0 else size


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_mnc: Tensor, w_dcj: Tensor, bias_d: Tensor, slope: float, pool: int, way: Way) -> Tensor:
        y_mnd = _output(x_mnc, w_dcj, bias_d, way.output)
        if slope != 1:
            functional.leaky_relu_(y_mnd, slope)
        ctx.save_for_backward(x_mnc, w_dcj, y_mnd if slope != 1 else None)
        ctx.slope, ctx.pool, ctx.way = slope, pool, way
        if pool == 1:
            return y_mnd
        return _sequence(functional.avg_pool2d(_image(y_mnd), (1, pool)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x_mnc, w_dcj, y_mnd = ctx.saved_tensors
        g = g.contiguous()
        if ctx.pool > 1:
            m, n, d = g.shape
            g = (g / ctx.pool)[:, :, None].expand(m, n, ctx.pool, d).reshape(m, n * ctx.pool, d)
        if ctx.slope != 1:
            g = torch.ops.aten.leaky_relu_backward(g, y_mnd, ctx.slope, True)
        by_x, by_w, by_b = ctx.needs_input_grad[:3]
        return (_input_gradient(g, w_dcj, ctx.way.input_gradient) if by_x else None,
                _weight_gradient(x_mnc, g, w_dcj, ctx.way.weight_gradient) if by_w else None,
                g.sum((0, 1)) if by_b else None, None, None, None)


# -- the three products -----------------------------------------------------------------------------------------------


def _output(x_mnc: Tensor, w_dcj: Tensor, bias_d: Tensor, size: int) -> Tensor:
    m, n, c = x_mnc.shape
    d, _, k = w_dcj.shape
    before, after = padding(k)
    if size == ROWS:
        # (k, c) (c, m n): each sample's part of each of the outputs that see it, summed over a diagonal.
        parts = torch.mm(w_dcj[0].t(), x_mnc.reshape(m * n, c).t()).reshape(k, m, n)
        parts = functional.pad(parts, (before, after))
        total = parts[0, :, :n] + bias_d
        for tap in range(1, k):
            total += parts[tap, :, tap:tap + n]
        return total[..., None]
    padded = functional.pad(x_mnc, (0, 0, before, after))
    if size == CONVOLUTION:
        made = torch.ops.aten.convolution(_image(padded), w_dcj[:, :, None], bias_d, (1, 1), (0, 0), (1, 1), False,
                                          (0, 0), 1)
        return _sequence(made)
    return torch.addmm(bias_d.repeat(size), _windows(padded, size, k), _toeplitz(w_dcj, size)).reshape(m, n, d)


def _input_gradient(g_mnd: Tensor, w_dcj: Tensor, size: int) -> Tensor:
    m, n, _ = g_mnd.shape
    _, c, k = w_dcj.shape
    before, after = padding(k)
    padded = functional.pad(g_mnd, (0, 0, after, before))
    turned = w_dcj.flip(2).transpose(0, 1).contiguous()
    if size in (CONVOLUTION, ROWS):
        made = torch.ops.aten.convolution(_image(padded), turned[:, :, None], None, (1, 1), (0, 0), (1, 1), False,
                                          (0, 0), 1)
        return _sequence(made)
    return torch.mm(_windows(padded, size, k), _toeplitz(turned, size)).reshape(m, n, c)


def _weight_gradient(x_mnc: Tensor, g_mnd: Tensor, w_dcj: Tensor, size: int) -> Tensor:
    m, n, c = x_mnc.shape
    d, _, k = w_dcj.shape
    before, after = padding(k)
    if size == ROWS:
        seen = _windows(functional.pad(g_mnd, (0, 0, after, before)), 1, k)
        return torch.mm(seen.t(), x_mnc.reshape(m * n, c)).flip(0).t()[None]
    padded = functional.pad(x_mnc, (0, 0, before, after))
    if size == CONVOLUTION:
        found = torch.ops.aten.convolution_backward(
            _image(g_mnd), _image(padded), w_dcj[:, :, None], None, (1, 1), (0, 0), (1, 1), False, (0, 0), 1,
            (False, True, False))
        return cast(Tensor, found[1])[:, :, 0]
    product = torch.mm(_windows(padded, size, k).t(), g_mnd.reshape(-1, size * d))
    # The gradient of a tap is the sum over the copies of the kernel that the block-Toeplitz matrix holds.
    wide = torch.promote_types(torch.float32, product.dtype)
    return _copies(product, size, c, d, k).sum(0, dtype=wide).to(w_dcj.dtype).permute(2, 1, 0)


def _windows(padded: Tensor, size: int, k: int) -> Tensor:
    """What each block of ``size`` outputs sees: (m n / size, (size + k - 1) c)."""
    m, length, c = padded.shape
    blocks = (length - k + 1) // size
    view = padded.as_strided((m, blocks, (size + k - 1) * c), (length * c, size * c, 1))
    return view.reshape(m * blocks, -1)


def _toeplitz(w_dcj: Tensor, size: int) -> Tensor:
    """Kernels as the matrix ((size + k - 1) c, size d) that makes ``size`` outputs of what they see."""
    d, c, k = w_dcj.shape
    matrix = w_dcj.new_zeros((size + k - 1) * c, size * d)
    _copies(matrix, size, c, d, k).copy_(w_dcj.permute(2, 1, 0).expand(size, k, c, d))
    return matrix


def _copies(matrix: Tensor, size: int, c: int, d: int, k: int) -> Tensor:
    """The kernels in a block-Toeplitz matrix, as a view (size, k, c, d) of it."""
    width = size * d
    return matrix.as_strided((size, k, c, d), (c * width + d, c * width, width, 1))


def _image(x_mnc: Tensor) -> Tensor:
    """The same memory as an image (m, c, 1, n) with channels last."""
    return x_mnc.permute(0, 2, 1)[:, :, None]


def _sequence(image: Tensor) -> Tensor:
    return image[:, :, 0].permute(0, 2, 1).contiguous()


def _plain(x: Tensor) -> bool:
    return x.device.type != "cpu" or torch.compiler.is_exporting()


def _dtype(x: Tensor) -> torch.dtype:
    """What autocast asks for, or the tensor's own."""
    half = torch.is_autocast_enabled("cpu") and x.dtype == torch.float32
    return torch.get_autocast_dtype("cpu") if half else x.dtype
