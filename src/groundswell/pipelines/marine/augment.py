"""marine: augmentation of a batch on its device, all of its chance from one generator, boxes exactly with the pixels.

Names and ranges are those of the recipe, which are the seed's. Unlike the field's own, which draws from global chance
for each image in the loader's processes, a run that is resumed sees what it would have seen.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from groundswell.pipelines.marine.augment_colour import change_colour
from groundswell.pipelines.marine.augment_geometry import Views, compact, moved, shown
from groundswell.pipelines.marine.recipe import AugmentRecipe

PERSPECTIVE_SIZE = 640
"""Edge in pixels of the input that the recipe's perspective is told for."""
_HORIZON = 0.53
"""Of perspective, in images' edges: with more, what four joined images show could reach the horizon."""
_MIXTURE_SPREAD = 0.062
"""Standard deviation of the share of an image in a mixture: that of the Beta(32, 32) distribution of the field."""


def augment(x: Tensor, boxes: Tensor, label: Tensor, weight: Tensor, recipe: AugmentRecipe,
            generator: torch.Generator, *, mosaic: bool, content: Tensor | None = None
            ) -> tuple[Tensor, Tensor, Tensor]:
    """Change a batch by chance.

    Args:
        x: images, float32 (b, 3, h, w), RGB in 0..1.
        boxes: left, top, right, bottom in pixels of the input, (b, m, 4).
        label: int64 (b, m); -1 padding, -2 ignored.
        weight: of the images, (b,); images without weight are put into no others.
        recipe: how much of what.
        generator: source of all chance, on the device of ``x``.
        mosaic: put images together and blend them; else what the recipe says of that is left out.
        content: part of each image that is no padding, left, top, right, bottom in pixels, (b, 4); None: all of it.

    Returns:
        images (b, 3, h', w') of one of ``recipe.sizes`` where there are any, boxes (b, n, 4) in their pixels, labels
        (b, n). Boxes that keep less than a tenth of their area are ignored from then on, and those thinner than 2
        pixels are dropped.
    """
    old = (x.shape[2], x.shape[3])
    new = _size(recipe, generator, old)
    if content is None:
        content = x.new_tensor([0.0, 0.0, old[1], old[0]]).expand(len(x), 4)
    views = _views(recipe, generator, weight, old, new, mosaic)
    if _moves(recipe) or (mosaic and recipe.mosaic > 0) or old != new:
        x, (boxes, label) = shown(x, views, content, new), moved(boxes, label, views, content, old, new)
    if max(recipe.hsv_h, recipe.hsv_s, recipe.hsv_v) > 0:
        hue, saturation, value = (_either_way(generator, (len(x),)) * most
                                  for most in (recipe.hsv_h, recipe.hsv_s, recipe.hsv_v))
        x = change_colour(x, hue, 1 + saturation, 1 + value)
    if mosaic and recipe.mixup > 0:
        x, boxes, label = _blended(x, boxes, label, weight, recipe, generator)
    return x, boxes, label


def _moves(recipe: AugmentRecipe) -> bool:
    return max(recipe.degrees, recipe.translate, recipe.scale, recipe.shear, recipe.perspective, recipe.flipud,
               recipe.fliplr) > 0


def _size(recipe: AugmentRecipe, generator: torch.Generator, size: tuple[int, int]) -> tuple[int, int]:
    """The size of the batch: one of the recipe's, or as it is."""
    if not recipe.sizes:
        return size
    drawn = torch.randint(len(recipe.sizes), (), generator=generator, device=generator.device)
    edge = recipe.sizes[int(drawn)]
    return edge, edge


def _either_way(generator: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    """Uniform in -1..1."""
    return torch.rand(shape, generator=generator, device=generator.device) * 2 - 1


def _happens(generator: torch.Generator, count: int, share: float) -> Tensor:
    return torch.rand(count, generator=generator, device=generator.device) < share


def _others(generator: torch.Generator, weight: Tensor, each: int) -> Tensor:
    """Images of the batch for each of its images, any with weight as likely, int64 (b, each)."""
    likely = (weight > 0).float()
    likely = torch.where(likely.any(), likely, 1.0)
    return torch.multinomial(likely.expand(len(weight), -1), each, replacement=True, generator=generator)


def _views(recipe: AugmentRecipe, generator: torch.Generator, weight: Tensor, old: tuple[int, int],
           new: tuple[int, int], mosaic: bool) -> Views:
    """What each image of the new batch is to show. As much is drawn whatever comes of it."""
    count = len(weight)
    joined = _happens(generator, count, recipe.mosaic if mosaic else 0.0)
    source = torch.cat([torch.arange(count, device=weight.device)[:, None], _others(generator, weight, 3)], 1)
    edges = torch.tensor([old[1], old[0]], dtype=torch.float32, device=weight.device)
    meeting = _either_way(generator, (count, 2)) * edges / 2 * joined[:, None]
    return Views(source, joined, meeting, _map(recipe, generator, count, old, new))


def _map(recipe: AugmentRecipe, generator: torch.Generator, count: int, old: tuple[int, int],
         new: tuple[int, int]) -> Tensor:
    """Perspective, then rotation, size and mirroring, then shear, then place, float32 (b, 3, 3)."""
    drawn = _either_way(generator, (count, 8)).T
    angle, grow = drawn[0] * math.radians(recipe.degrees), 1 + drawn[1] * recipe.scale
    shear_x, shear_y = torch.tan(drawn[2:4] * math.radians(recipe.shear))
    bend = drawn[4:6] * recipe.perspective * PERSPECTIVE_SIZE
    bend = bend * (_HORIZON / bend.abs().sum(0).clamp(min=_HORIZON))
    mirror_x = 1 - 2 * _happens(generator, count, recipe.fliplr).float()
    mirror_y = 1 - 2 * _happens(generator, count, recipe.flipud).float()
    zoom_x, zoom_y = new[1] / old[1], new[0] / old[0]
    one, none = torch.ones_like(angle), torch.zeros_like(angle)

    def matrix(*rows: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        return torch.stack([torch.stack(row, -1) for row in rows], 1)

    perspective = matrix((one, none, none), (none, one, none), (bend[0] / old[1], bend[1] / old[0], one))
    cosine, sine = torch.cos(angle) * grow, torch.sin(angle) * grow
    turn = matrix((cosine * mirror_x, sine * mirror_y, none), (-sine * mirror_x, cosine * mirror_y, none),
                  (none, none, one))
    shear = matrix((one, shear_x, none), (shear_y, one, none), (none, none, one))
    place = matrix((one * zoom_x, none, (0.5 + drawn[6] * recipe.translate) * new[1]),
                   (none, one * zoom_y, (0.5 + drawn[7] * recipe.translate) * new[0]), (none, none, one))
    return place @ shear @ turn @ perspective


def _blended(x: Tensor, boxes: Tensor, label: Tensor, weight: Tensor, recipe: AugmentRecipe,
             generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Some images blended with another of the batch, with the boxes of both (Zhang et al., ICLR 2018)."""
    happens = _happens(generator, len(x), recipe.mixup)
    other = _others(generator, weight, 1)[:, 0]
    share = 0.5 + _MIXTURE_SPREAD * torch.randn(len(x), generator=generator, device=x.device)
    if not bool(happens.any()):
        return x, boxes, label
    share = torch.where(happens, share.clamp(0.1, 0.9), 1.0)[:, None, None, None]
    second = torch.where(happens[:, None], label[other], -1)
    boxes, label = compact(torch.cat([boxes, boxes[other]], 1), torch.cat([label, second], 1))
    return x * share + x[other] * (1 - share), boxes, label
