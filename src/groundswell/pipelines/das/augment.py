"""das: random changes to training windows, a whole batch at a time on its device, drawn from one generator.

Shape letters: b batch, t time sample, c channel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from groundswell.pipelines.das.preprocess import Prepared, pieces
from groundswell.pipelines.das.recipe import AugmentRecipe


def draw_starts(recipe: AugmentRecipe, first_b: Tensor, last_b: Tensor, margin: int, samples: int,
                generator: torch.Generator) -> Tensor:
    """Where each window starts in an array that has ``margin`` time samples more on either side.

    A shifted window holds only time samples of the record: one that has nothing more to one side is not shifted there.

    Args:
        recipe: largest shift and its probability.
        first_b: int64, first time sample of the array that is real.
        last_b: int64, one past the last.
        margin: time samples before (and after) the window proper.
        samples: length of a window.
        generator: where chance comes from.

    Returns:
        int64 (b,); ``margin`` for windows that are not shifted.
    """
    reach = min(recipe.time_shift_range, margin)
    back_b = (margin - first_b).clamp(0, reach)
    forth_b = (last_b - margin - samples).clamp(0, reach)
    share_b, chosen_b = _draw(2, first_b, generator)
    # Shifts of equal chance from -back to +forth, both included.
    shift_b = (share_b * (back_b + forth_b + 1)).floor().to(torch.int64).clamp(max=back_b + forth_b) - back_b
    return margin + torch.where(chosen_b < recipe.probability, shift_b, 0)


def change_fibre(recipe: AugmentRecipe, window: Prepared, generator: torch.Generator) -> Prepared:
    """Make windows of other cables, for networks that know no absolute channel number.

    Each with its own chance for each window: turned end for end; cut to a stretch of the fibre; single channels dead
    or, as often as that, only every second or third channel left. What is taken away is zero and not alive.
    """
    x_bct, alive_bc = window.x_bct, window.alive_bc
    channels, device = alive_bc.shape[1], alive_bc.device
    turn_b, cut_b, rest_b, place_b, lose_b, share_b, even_b, phase_b = _draw(8, x_bct, generator)
    turned_b = turn_b < recipe.probability
    x_bct = torch.where(turned_b[:, None, None], x_bct.flip(1), x_bct)
    alive_bc = torch.where(turned_b[:, None], alive_bc.flip(1), alive_bc)
    middle_c = torch.arange(channels, device=device) + 0.5
    length_b1 = channels * torch.where(cut_b < recipe.probability, 1 - rest_b * recipe.cut_fibre, 1.0)[:, None]
    start_b1 = place_b[:, None] * (channels - length_b1)
    left_bc = alive_bc & (middle_c >= start_b1) & (middle_c <= start_b1 + length_b1)
    loses_b1 = (lose_b < recipe.probability)[:, None]
    dies_bc = torch.rand(alive_bc.shape, generator=generator, device=device) < (share_b * recipe.drop_channels)[:, None]
    every_b1 = torch.where(share_b < 0.5, 2, 3)[:, None]
    between_bc = (torch.arange(channels, device=device) + (6 * phase_b).to(torch.int64)[:, None]) % every_b1 != 0
    left_bc &= ~(loses_b1 & torch.where((even_b < 0.5)[:, None], between_bc, dies_bc))
    # At least something must be left to learn from.
    alive_bc = torch.where(left_bc.any(dim=1, keepdim=True), left_bc, alive_bc)
    return window._replace(x_bct=x_bct * alive_bc[:, :, None], alive_bc=alive_bc)


def augment(recipe: AugmentRecipe, window: Prepared, generator: torch.Generator, *,
            in_place: bool = False) -> Prepared:
    """Add noise and change the amplitude of prepared windows, each with its own chance for each window.

    Noise is Gaussian, in proportion to the window's own root mean square, on real channels and time samples only.

    Args:
        recipe: how much, and how often.
        window: what to change.
        generator: where chance comes from.
        in_place: write over the windows: new memory for as many takes longer to get than to fill.
    """
    x_bct, alive_bc, valid_bt = window
    chosen_noise_b, chosen_amplitude_b, share_b = _draw(3, x_bct, generator)
    count_b = (alive_bc.sum(dim=1) * valid_bt.sum(dim=1)).clamp(min=1)
    level_b = torch.where(chosen_noise_b < recipe.probability, recipe.noise_level, 0.0)
    low, high = recipe.amplitude_scale_range
    factor_b = torch.where(chosen_amplitude_b < recipe.probability, low + (high - low) * share_b, 1.0)
    made_bct = x_bct if in_place else torch.empty_like(x_bct)
    for part in pieces(x_bct):
        x = x_bct[part]
        if x.device.type == "cpu" and not level_b[part].any():  # to ask would make another device wait
            torch.mul(x, factor_b[part, None, None], out=made_bct[part])
            continue
        made = (torch.empty_like(x) if in_place else made_bct[part]).normal_(generator=generator)
        rms_b = torch.linalg.vector_norm(x, dim=(1, 2)) / count_b[part].sqrt()
        made *= (level_b[part] * rms_b)[:, None, None] * alive_bc[part, :, None]
        made *= valid_bt[part, None, :]
        made += x
        torch.mul(made, factor_b[part, None, None], out=made_bct[part])
    return window._replace(x_bct=made_bct)


def _draw(times: int, like_b: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand((times, like_b.shape[0]), generator=generator, device=like_b.device)
