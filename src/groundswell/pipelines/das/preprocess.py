"""das: what happens to a window before the network sees it, in training, in prediction and in the exported file.

Everything here works on whole batches and is plain tensor arithmetic with fixed window length, so that the exported
graph holds it too. Which channels and time samples are real is read from the data themselves: a channel that does not
move is dead (or padding), one that only jumps between two limits is saturated, a run of zeros over all channels at
either end of a window is padding. So nothing but the recorded values has to reach an exported file.

Shape letters: b batch, t time sample, c channel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.signal import firwin, kaiserord
from torch import Tensor, nn

from groundswell.core.errors import InputError
from groundswell.pipelines.das.recipe import PreprocessRecipe

ATTENUATION_DB = 60.0
"""Of the stop band of every filter."""
PINNED = 0.7
"""Share of a window's time samples at the largest or smallest value above which a channel counts as saturated."""
PIECE_BYTES = 2**22
"""Of windows that go through all steps together on a CPU."""
_OUTPUTS_PER_STEP = 16
_LARGEST = 3.0e38
_ROUNDING = 1e-5


class Prepared(NamedTuple):
    """A batch of windows as networks see it.

    Attributes:
        x_bct: float32; zero wherever a channel or a time sample is not real.
        alive_bc: bool, channels that recorded something: neither constant nor pinned to the digitiser's limits.
        valid_bt: bool, time samples that lie inside the record.
    """

    x_bct: Tensor
    alive_bc: Tensor
    valid_bt: Tensor


def crop(x_btc: Tensor, samples: int, start_b: Tensor | None = None) -> Tensor:
    """``samples`` time samples of each window: the middle ones, or from ``start_b`` (int64) on."""
    if start_b is None:
        margin = (x_btc.shape[1] - samples) // 2
        return x_btc[:, margin : margin + samples]
    time_bt = start_b[:, None] + torch.arange(samples, device=x_btc.device)
    return x_btc[torch.arange(x_btc.shape[0], device=x_btc.device)[:, None], time_bt]


def pieces(x: Tensor) -> list[slice]:
    """Which windows of a batch, its first axis, go through all steps together.

    On a CPU a few at a time: what one step hands to the next then stays in the caches, which is three times as fast as
    sending all of a batch through memory again and again. All at once on other devices, where gradients are wanted
    and while a graph is recorded.
    """
    recorded = torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export()
    if recorded or x.device.type != "cpu" or torch.is_grad_enabled():
        return [slice(None)]
    many = max(1, PIECE_BYTES // max(1, 4 * x.shape[1] * x.shape[2]))
    return [slice(first, first + many) for first in range(0, x.shape[0], many)] or [slice(None)]


class Preprocess(nn.Module):
    """Removal of means, FIR band-pass, anti-aliased decimation, averaging of channels, scaling.

    Args:
        recipe: what to do.
        rate_hz: sampling rate of the windows.
        samples: time samples of a window.

    Raises:
        InputError: the band or the decimation does not fit the rate or the length of the windows.
    """

    blocks: Tensor

    def __init__(self, recipe: PreprocessRecipe, rate_hz: float, samples: int) -> None:
        super().__init__()
        self.recipe, self.rate_hz, self.samples = recipe, rate_hz, samples
        taps = design_filter(recipe, rate_hz, samples)
        self.reach = len(taps) // 2
        self.step = _OUTPUTS_PER_STEP * recipe.decimate
        # Not part of the weights: it follows from the recipe.
        self.register_buffer("blocks", torch.as_tensor(_blocks(taps, recipe.decimate)), persistent=False)

    @property
    def samples_out(self) -> int:
        """Time samples that are left after decimation."""
        return -(-self.samples // self.recipe.decimate)

    def channels_out(self, channels: int) -> int:
        """Channels that are left after averaging.

        Raises:
            InputError: there are fewer channels than are averaged into one.
        """
        if channels < self.recipe.average_channels:
            raise InputError(f"{channels} channel(s) cannot be averaged in groups of {self.recipe.average_channels}",
                             where="preprocess.average_channels", fix="Average fewer channels")
        return channels // self.recipe.average_channels

    def forward(self, x_btc: Tensor) -> Prepared:
        """Prepare windows as recorded: real dtype, (b, ``samples``, c), NaN and infinities counted as zero."""
        parts = pieces(x_btc)
        if len(parts) == 1:
            made_btc, alive_bc, valid_bt = self._prepared(x_btc)
            return Prepared(made_btc.transpose(1, 2).contiguous(), alive_bc, valid_bt)
        channels = self.channels_out(x_btc.shape[2])
        out_bct = x_btc.new_empty((x_btc.shape[0], channels, self.samples_out), dtype=torch.float32)
        masks = []
        for part in parts:
            made_btc, *found = self._prepared(x_btc[part])
            masks.append(found)
            out_bct[part] = made_btc.transpose(1, 2)
        alive_bc, valid_bt = (torch.cat(found) for found in zip(*masks, strict=True))
        return Prepared(out_bct, alive_bc, valid_bt)

    def _prepared(self, x_btc: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Windows as (b, t, c) and the masks of :class:`Prepared`; with as few passes over them as it takes."""
        floating = x_btc.is_floating_point()
        x_btc = x_btc.to(torch.float32)
        if floating:
            x_btc = torch.nan_to_num(x_btc, nan=0.0, posinf=0.0, neginf=0.0)
        size_bt = torch.maximum(x_btc.amax(dim=2), -x_btc.amin(dim=2))
        valid_bt = _inside(size_bt > 0)
        mean_bc = x_btc.sum(dim=1) / valid_bt.sum(dim=1).clamp(min=1)[:, None]
        pinned_bc = _pinned(x_btc, mean_bc, valid_bt)
        # The mean is taken from real time samples only: a step to the padding would ring through the filter. Filtering
        # is linear, so this can be done on the fewer time samples after it.
        step_bt1 = self._filtered(valid_bt[:, :, None].to(x_btc.dtype))
        x_btc = torch.addcmul(self._filtered(x_btc), step_bt1, mean_bc[:, None], value=-1.0)
        valid_bt = valid_bt[:, :: self.recipe.decimate]
        if self.reach:  # else padding is zero still
            x_btc = x_btc * valid_bt[:, :, None]
        # A channel that moves by no more than rounding is dead; what is left of its mean goes with it.
        alive_bc = torch.maximum(x_btc.amax(dim=1), -x_btc.amin(dim=1)) > _ROUNDING * mean_bc.abs()
        alive_bc = alive_bc & ~pinned_bc
        if self.recipe.scaling == "none":
            x_btc, alive_bc = self._averaged(x_btc * alive_bc[:, None], alive_bc)
            return x_btc, alive_bc, valid_bt
        unit_b = size_bt.amax(dim=1)  # squares of strain rates near 1e-22 would leave float32
        unit_b1 = torch.where(unit_b > 0, unit_b, 1.0)[:, None]
        x_btc, alive_bc = self._averaged(x_btc / torch.where(alive_bc, unit_b1, torch.inf)[:, None], alive_bc)
        return (scale(x_btc, alive_bc, valid_bt, by_channel=self.recipe.scaling == "channel"), alive_bc, valid_bt)

    def _filtered(self, x_btc: Tensor) -> Tensor:
        """The FIR filter, at the time samples that are kept.

        A convolution with one output at a time wastes most of a core's arithmetic; one that yields a run of outputs
        from each stretch of input is the same sum, seven times faster.
        """
        if self.reach == 0:
            return x_btc
        wanted = self.samples_out
        steps = -(-wanted // _OUTPUTS_PER_STEP)
        padded = F.pad(x_btc.unsqueeze(1), (0, 0, self.reach, self.reach), mode="reflect")
        short = steps * self.step - self.samples
        if short:
            padded = F.pad(padded, (0, 0, 0, short))
        y_bosc = F.conv2d(padded, self.blocks, stride=(self.step, 1))
        return y_bosc.transpose(1, 2).flatten(1, 2)[:, :wanted]

    def _averaged(self, x_btc: Tensor, alive_bc: Tensor) -> tuple[Tensor, Tensor]:
        width = self.recipe.average_channels
        if width == 1:
            return x_btc, alive_bc
        groups = x_btc.shape[2] // width
        x_btgn = x_btc[:, :, : groups * width].reshape(*x_btc.shape[:2], groups, width)
        count_bg = alive_bc[:, : groups * width].reshape(-1, groups, width).sum(dim=2)
        # Dead channels are zero in the sum and are not counted either.
        return x_btgn.sum(dim=3) / count_bg.clamp(min=1)[:, None, :], count_bg > 0


def _inside(any_bt: Tensor) -> Tensor:
    """True between the first and the last time sample at which anything was recorded."""
    seen = any_bt.to(torch.int32)
    return (seen.cumsum(dim=1) > 0) & (seen.flip(1).cumsum(dim=1).flip(1) > 0)


def _pinned(x_btc: Tensor, mean_bc: Tensor, valid_bt: Tensor) -> Tensor:
    """Channels that spend most of the window at the digitiser's limits, bool (b, c).

    Every fourth time sample is enough to tell: nearly all of a saturated channel's are there, next to none of others.
    """
    valid_bt = valid_bt[:, ::4]
    x_btc = torch.where(valid_bt[:, :, None], x_btc[:, ::4], mean_bc[:, None])  # the zeros of padding are no limit
    highest_b1c, lowest_b1c = x_btc.amax(dim=1, keepdim=True), x_btc.amin(dim=1, keepdim=True)
    near_b1c = 0.01 * (highest_b1c - lowest_b1c)
    at_limit_btc = (x_btc >= highest_b1c - near_b1c) | (x_btc <= lowest_b1c + near_b1c)
    return (at_limit_btc & valid_bt[:, :, None]).sum(dim=1) > PINNED * valid_bt.sum(dim=1)[:, None]


def scale(x_btc: Tensor, alive_bc: Tensor, valid_bt: Tensor, *, by_channel: bool) -> Tensor:
    """Scale windows; with ``by_channel`` what mean the filter left is taken away too.

    Args:
        x_btc: float32, zero where not real.
        alive_bc: channels that count.
        valid_bt: time samples that count.
        by_channel: divide each channel by its own standard deviation; otherwise divide the whole window by the
            median, over its channels, of their mean absolute value: amplitudes along the fibre stay what they are, and
            neither a few saturated channels nor dead ones set the scale.
    """
    count_b1 = valid_bt.sum(dim=1).clamp(min=1)[:, None]
    if by_channel:
        mean_bc = x_btc.sum(dim=1) / count_b1
        # In one pass: what is not real is zero before and after.
        x_btc = torch.addcmul(x_btc, valid_bt[:, :, None].to(x_btc.dtype), mean_bc[:, None], value=-1.0)
        size_bc = (x_btc.square().sum(dim=1) / count_b1).sqrt()
    else:
        size_bc = _masked_median(x_btc.abs().sum(dim=1) / count_b1, alive_bc)[:, None]
    usable = alive_bc & (size_bc > 0)
    return x_btc * torch.where(usable, 1.0 / torch.where(size_bc > 0, size_bc, 1.0), 0.0)[:, None]


def _masked_median(value_bc: Tensor, mask_bc: Tensor) -> Tensor:
    """Lower median of the values that count, 0 where none does."""
    ordered = torch.where(mask_bc, value_bc, _LARGEST).sort(dim=1).values
    count_b = mask_bc.sum(dim=1)
    middle = ordered.gather(1, ((count_b - 1).clamp(min=0) // 2)[:, None])[:, 0]
    return torch.where(count_b > 0, middle, 0.0)


def design_filter(recipe: PreprocessRecipe, rate_hz: float, samples: int) -> NDArray[np.float64]:
    """Taps (odd number, symmetric: zero phase) of band-pass and anti-alias filter in one; a single 1 for neither.

    Kaiser windows. The anti-alias filter passes 80 % of the band that is left and stops all above it. A band-pass falls
    off over half its lower corner, or over as much as the window's length allows.

    Raises:
        InputError: the band reaches above what the (decimated) rate can hold, its lower corner is slower than a window,
            or the window is too short for the filter.
    """
    taps: NDArray[np.float64] = np.ones(1)
    kept_hz = rate_hz / 2 / recipe.decimate
    if recipe.bandpass_hz is not None:
        low_hz, high_hz = recipe.bandpass_hz
        if high_hz > kept_hz or high_hz >= rate_hz / 2:
            raise InputError(f"The band reaches {high_hz:g} Hz, but a rate of {rate_hz:g} Hz decimated by "
                             f"{recipe.decimate} holds less than {kept_hz:g} Hz", where="preprocess.bandpass_hz",
                             fix="Lower the band or decimate less")
        if low_hz * samples < rate_hz:
            raise InputError(f"A period of the lower corner ({low_hz:g} Hz) is longer than a window "
                             f"({samples / rate_hz:g} s)", where="preprocess.bandpass_hz",
                             fix="Raise the lower corner or take longer windows")
        fall_hz = min(low_hz / 2, (rate_hz / 2 - high_hz))
        room = max(3, (samples // 2 - 1) | 1)
        count, beta = kaiserord(ATTENUATION_DB, fall_hz / (rate_hz / 2))
        taps = firwin(min(count | 1, room), [low_hz, high_hz], window=("kaiser", beta), pass_zero=False, fs=rate_hz)
    if recipe.decimate > 1:
        count, beta = kaiserord(ATTENUATION_DB, 0.2 / recipe.decimate)
        taps = np.convolve(taps, firwin(count | 1, 0.9 * kept_hz, window=("kaiser", beta), fs=rate_hz))
    if len(taps) // 2 >= samples:
        raise InputError(f"A window of {samples} time samples is too short to be decimated by {recipe.decimate}",
                         where="preprocess.decimate", fix="Decimate less or take longer windows")
    return taps


def _blocks(taps: NDArray[np.float64], decimate: int) -> NDArray[np.float32]:
    """Weights (output, 1, input, 1) of the convolution that yields a run of filtered time samples at once."""
    weights = np.zeros((_OUTPUTS_PER_STEP, 1, (_OUTPUTS_PER_STEP - 1) * decimate + len(taps), 1), np.float32)
    for output in range(_OUTPUTS_PER_STEP):
        weights[output, 0, output * decimate : output * decimate + len(taps), 0] = taps
    return weights
