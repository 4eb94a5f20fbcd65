"""marine: the sizes of RT-DETRv2, and the network of each, built from its configuration alone."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from groundswell.core.errors import InputError
from groundswell.core.optional import require

PURPOSE = "Detecting with RT-DETRv2"
FLAGS = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@dataclass(frozen=True)
class Shape:
    """Sizes of one network.

    Attributes:
        layer: block of the backbone, ``basic`` (two convolutions) or ``bottleneck`` (three).
        depths: blocks of each of the four stages.
        widths: channels of each stage; the last three are seen by the encoder.
        stem: channels before the first stage.
        hidden: channels of the encoder.
        feed: width of the encoder's feed-forward layer.
        width: channels of the decoder.
        decoder_feed: width of the decoder's feed-forward layers.
        expansion: width of the encoder's convolution blocks, as a share of ``hidden``.
        heads: attention heads of encoder and decoder.
        points: places that a head looks at on each level.
        layers: of the decoder.
        queries: most boxes of an image.
        denoising: noised true boxes in training, about so many of each kind (near ones and far ones); 0: none.
    """

    layer: str
    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]
    stem: int = 64
    hidden: int = 256
    feed: int = 1024
    width: int = 256
    decoder_feed: int = 1024
    expansion: float = 1.0
    heads: int = 8
    points: int = 4
    layers: int = 6
    queries: int = 300
    denoising: int = 100


_BASIC, _DEEP = (64, 128, 256, 512), (256, 512, 1024, 2048)
SHAPES = {
    "rtdetrv2_nano": Shape("basic", (1, 1, 1, 1), (32, 64, 128, 192), stem=32, hidden=128, feed=256, width=128,
                           decoder_feed=256, expansion=0.5, heads=4, layers=2, queries=60, denoising=20),
    "rtdetrv2_r18": Shape("basic", (2, 2, 2, 2), _BASIC, expansion=0.5, layers=3),
    "rtdetrv2_r34": Shape("basic", (3, 4, 6, 3), _BASIC, expansion=0.5, layers=4),
    "rtdetrv2_r50": Shape("bottleneck", (3, 4, 6, 3), _DEEP),
    "rtdetrv2_r101": Shape("bottleneck", (3, 4, 23, 3), _DEEP, hidden=384, feed=2048),
}
"""By name: a small one for computers without an accelerator, and the published ones (Lv et al. 2024, arXiv 2407.17140;
their r18 to r101)."""


def shape_of(name: str, **options: Any) -> Shape:
    """The sizes of ``name``, with fields of :class:`Shape` replaced by ``options``.

    Raises:
        InputError: there is no such network, or no such field.
    """
    if name not in SHAPES:
        raise InputError(f"There is no RT-DETRv2 called '{name}'", where="model.name",
                         fix=f"Choose one of: {', '.join(SHAPES)}")
    unknown = sorted(set(options) - set(Shape.__dataclass_fields__))
    if unknown:
        raise InputError(f"An RT-DETRv2 has no size '{unknown[0]}'", where="model",
                         fix=f"Its sizes are {', '.join(Shape.__dataclass_fields__)}")
    return replace(SHAPES[name], **options)


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Nothing may be asked of a hub: weights come from chance, or from the user's files."""
    before = {flag: os.environ.get(flag) for flag in FLAGS}
    os.environ.update(dict.fromkeys(FLAGS, "1"))
    try:
        yield
    finally:
        for flag, value in before.items():
            os.environ.pop(flag)
            if value is not None:
                os.environ[flag] = value


def network(shape: Shape, classes: int) -> nn.Module:
    """RT-DETRv2 of transformers with a head for each layer of its decoder; weights from chance.

    Raises:
        MissingExtraError: transformers is not installed.
    """
    with _offline():
        made = require("transformers", extra="marine", purpose=PURPOSE)
        modeling = require("transformers.models.rt_detr_v2.modeling_rt_detr_v2", extra="marine", purpose=PURPOSE)
        backbone = made.RTDetrResNetConfig(
            embedding_size=shape.stem, hidden_sizes=list(shape.widths), depths=list(shape.depths),
            layer_type=shape.layer, out_indices=[2, 3, 4])
        config = made.RTDetrV2Config(
            backbone_config=backbone, num_labels=classes, freeze_backbone_batch_norms=False,
            encoder_in_channels=list(shape.widths[1:]), encoder_hidden_dim=shape.hidden, encoder_ffn_dim=shape.feed,
            encoder_attention_heads=shape.heads, hidden_expansion=shape.expansion, d_model=shape.width,
            decoder_in_channels=[shape.hidden] * 3, decoder_ffn_dim=shape.decoder_feed, decoder_layers=shape.layers,
            decoder_attention_heads=shape.heads, decoder_n_points=shape.points, num_queries=shape.queries,
            num_denoising=shape.denoising)
        model: nn.Module = made.RTDetrV2Model(config)
        head = modeling.RTDetrV2MLPPredictionHead
        decoder: Any = model.decoder
        decoder.class_embed = nn.ModuleList(nn.Linear(shape.width, classes) for _ in range(shape.layers))
        decoder.bbox_embed = nn.ModuleList(head(shape.width, shape.width, 4, 3) for _ in range(shape.layers))
    begin(model)
    return model


def begin(model: Any, prior: float = 0.01) -> None:
    """Give everything behind the backbone weights that training can start from.

    What the package draws is meant to be overwritten by published weights: scales of batch norms near 0 and layers near
    0 let a thousandth of the gradient through to the backbone (measured on the smallest). Here layers begin as torch
    begins them, norms at 1, the heads' scores at ``prior``, and boxes at the places that the queries come from (Zhao et
    al. 2023, arXiv 2304.08069, have it so).
    """
    kept = [part for layer in model.decoder.layers for part in (layer.encoder_attn.sampling_offsets,
            layer.encoder_attn.attention_weights, layer.encoder_attn.value_proj, layer.encoder_attn.output_proj)]
    backbone = set(model.backbone.modules())
    for module in model.modules():
        if module not in backbone and module not in kept and isinstance(module, nn.Linear | nn.Conv2d | nn.BatchNorm2d):
            module.reset_parameters()
    logit = math.log(prior / (1 - prior))
    for head in [model.enc_score_head, *model.decoder.class_embed]:
        nn.init.constant_(head.bias, logit)
    for head in [model.enc_bbox_head, *model.decoder.bbox_embed]:
        nn.init.zeros_(head.layers[-1].weight)
        nn.init.zeros_(head.layers[-1].bias)
    if hasattr(model, "denoising_class_embed"):
        nn.init.normal_(model.denoising_class_embed.weight[:-1])

