"""marine: two views of each image for contrastive learning, made on the batch's device, all chance from one generator.

The views are those of MoCo v3 (Chen, Xie and He, ICCV 2021, arXiv 2104.02057), with the recipe's strengths. Each of the
two draws everything anew: where it looks, whether it is mirrored, how its colours change.

Shape letters: b image, h and w pixels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from groundswell.pipelines.marine.recipe import PretrainRecipe

JITTERED = 0.8
"""Share of views whose colours are changed."""
LONGEST = 4 / 3
"""Of a view's part of the image: its longer side over its shorter one, at most."""
BLUR = (0.1, 2.0)
"""Standard deviations of blur, in pixels of a view of 224."""
SOLARISED_FROM = 0.5
LUMA = (0.299, 0.587, 0.114)
_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


def two_views(x: Tensor, inside: Tensor, recipe: PretrainRecipe, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two views of each image; only the second is ever solarised.

    Args:
        x: images, float32 (b, 3, h, w), RGB in 0..1.
        inside: part of each that is no padding, left, top, right, bottom in pixels, (b, 4).
        recipe: size and strengths.
        generator: source of all chance, on the device of ``x``.

    Returns:
        float32 (b, 3, size, size) in 0..1, each.
    """
    return (view(x, inside, recipe, generator, solarise=0.0), view(x, inside, recipe, generator,
                                                                   solarise=recipe.solarise))


def view(x: Tensor, inside: Tensor, recipe: PretrainRecipe, generator: torch.Generator, *, solarise: float) -> Tensor:
    """One view of each image; see :func:`two_views`.

    Args:
        x, inside, recipe, generator: as there.
        solarise: share of the views whose bright values are turned over.
    """
    seen = cropped(x, inside, recipe, generator)
    seen = recoloured(seen, recipe, generator)
    seen = blurred(seen, recipe.blur, generator)
    turned = _happens(generator, len(x), solarise)[:, None, None, None]
    return torch.where(turned & (seen >= SOLARISED_FROM), 1 - seen, seen)


def cropped(x: Tensor, inside: Tensor, recipe: PretrainRecipe, generator: torch.Generator) -> Tensor:
    """A part of each image, mirrored or not, scaled to a square: at least ``recipe.crop`` of it, but that parts which
    would stand out of the image are cut."""
    count, (height, width), size = len(x), x.shape[2:], recipe.size
    left, top, right, bottom = inside.unbind(1)
    share = recipe.crop + (1 - recipe.crop) * _uniform(generator, count)
    slant = (math.log(LONGEST) * (2 * _uniform(generator, count) - 1) / 2).exp()
    edge = (share * (right - left) * (bottom - top)).sqrt()
    wide, high = torch.minimum(edge * slant, right - left), torch.minimum(edge / slant, bottom - top)
    left = left + (right - left - wide) * _uniform(generator, count)
    top = top + (bottom - top - high) * _uniform(generator, count)
    place = (torch.arange(size, device=x.device) + 0.5) / size
    mirrored = _happens(generator, count, 0.5)[:, None]
    across = left[:, None] + wide[:, None] * torch.where(mirrored, 1 - place, place)
    down = top[:, None] + high[:, None] * place
    grid = torch.stack([(2 * across / width - 1)[:, None, :].expand(-1, size, -1),
                        (2 * down / height - 1)[:, :, None].expand(-1, -1, size)], -1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def recoloured(x: Tensor, recipe: PretrainRecipe, generator: torch.Generator) -> Tensor:
    """Images with other brightness, contrast, saturation and hue, some of them grey.

    All of it together is one matrix and one offset for each image, cut to 0..1 once at the end.
    """
    count, device = len(x), x.device
    factors = [1 + strength * (2 * _uniform(generator, count) - 1) for strength in recipe.jitter[:3]]
    brightness, contrast, saturation = (factor.clamp(min=0) for factor in factors)
    angle = 2 * math.pi * recipe.jitter[3] * (2 * _uniform(generator, count) - 1)
    changed = _happens(generator, count, JITTERED)
    grey = _happens(generator, count, recipe.grey)
    luma = torch.tensor(LUMA, device=device)
    to_grey, same = luma.expand(3, 3), torch.eye(3, device=device)
    paler = saturation[:, None, None] * same + (1 - saturation)[:, None, None] * to_grey
    matrix = (brightness * contrast)[:, None, None] * (_turned(angle) @ paler)
    mean = brightness * (x.mean((2, 3)) @ luma)
    matrix = torch.where(changed[:, None, None], matrix, same)
    offset = torch.where(changed, mean * (1 - contrast), 0.0)
    matrix = torch.where(grey[:, None, None], to_grey @ matrix, matrix)
    return (torch.einsum("bij,bjhw->bihw", matrix, x) + offset[:, None, None, None]).clamp(0, 1)


def _turned(angle: Tensor) -> Tensor:
    """Matrices (b, 3, 3) that turn hues by an angle (b,): a rotation of the colour axes of YIQ."""
    yiq = torch.tensor(_YIQ, device=angle.device)
    one, none = torch.ones_like(angle), torch.zeros_like(angle)
    rotation = torch.stack([one, none, none, none, angle.cos(), -angle.sin(), none, angle.sin(), angle.cos()], -1)
    turned: Tensor = torch.linalg.inv(yiq) @ rotation.view(-1, 3, 3) @ yiq
    return turned


def blurred(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Images some of which are blurred by Gaussians, each of a width of its own."""
    scale = x.shape[-1] / 224
    deviation = scale * (BLUR[0] + (BLUR[1] - BLUR[0]) * _uniform(generator, len(x)))
    chosen = _happens(generator, len(x), share).nonzero()[:, 0]
    reach = min(math.ceil(3 * BLUR[1] * scale), x.shape[-1] - 1)
    if not len(chosen) or not reach:
        return x
    steps = torch.arange(-reach, reach + 1, device=x.device)
    kernel = torch.exp(-0.5 * (steps / deviation[chosen, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)[:, None, None]
    planes = x[chosen].flatten(0, 1)[None]
    planes = F.pad(planes, (reach, reach, reach, reach), mode="reflect")
    planes = F.conv2d(planes, kernel, groups=planes.shape[1])
    planes = F.conv2d(planes, kernel.transpose(2, 3), groups=planes.shape[1])
    return x.index_copy(0, chosen, planes.reshape(-1, *x.shape[1:]))


def _uniform(generator: torch.Generator, count: int) -> Tensor:
    return torch.rand(count, generator=generator, device=generator.device)


def _happens(generator: torch.Generator, count: int, share: float) -> Tensor:
    return _uniform(generator, count) < share
