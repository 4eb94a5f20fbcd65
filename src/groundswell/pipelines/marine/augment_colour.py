"""marine: changes of hue, saturation and brightness by chance."""

from __future__ import annotations

import torch
from torch import Tensor


def change_colour(x: Tensor, hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Images with other colours, exactly as by way of hue, saturation and value (Smith, SIGGRAPH 1978).

    Args:
        x: RGB in 0..1, float32 (b, 3, h, w).
        hue: what is added to the hue of each image, as a share of the circle, (b,).
        saturation: what the saturation is multiplied by, (b,).
        value: what the value is multiplied by, (b,).
    """
    red, green, blue = x.unbind(1)
    most = x.amax(1)
    spread = most - x.amin(1)
    whole = spread.clamp(min=1e-6)
    bright = (most * value[:, None, None]).clamp_(max=1)
    # By how much the weakest channel is below the strongest.
    depth = (spread / most.clamp(min=1e-6)).mul_(saturation[:, None, None]).clamp_(max=1).mul_(bright)
    if not bool(hue.any()):
        return bright[:, None] - depth[:, None] * (most[:, None] - x) / whole[:, None]
    angle = torch.where(most == red, (green - blue) / whole,
                        torch.where(most == green, (blue - red) / whole + 2, (red - green) / whole + 4))
    angle += 6 * hue[:, None, None]
    found = torch.empty_like(x)
    for channel, turn in enumerate((5.0, 3.0, 1.0)):
        share = (angle + turn).remainder_(6)
        share = torch.minimum(share, 4 - share).clamp_(0, 1)
        torch.sub(bright, share.mul_(depth), out=found[:, channel])
    return found
