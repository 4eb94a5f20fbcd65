"""das: transformer, attention over the time samples of a window, answered by a class token.

Shape letters: b batch, c channel, t time sample, h feature, k class.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TransformerClassifier(nn.Module):
    """Linear projection of the channels, learned positions, a class token before them, post-norm encoder, two layers.

    One token for each time sample: cost and memory grow with the square of the window's length, so long windows want
    decimation.

    Args:
        channels: of the cable.
        samples: time samples of a window.
        classes: number of logits.
        width: features of a token.
        layers: encoder layers, each with a feed-forward part of ``4 width``.
        heads: attention heads; divides ``width``.
        dropout: share of activations dropped in training.
    """

    def __init__(self, channels: int, samples: int, classes: int, *, width: int, layers: int, heads: int,
                 dropout: float) -> None:
        super().__init__()
        self.project = nn.Linear(channels, width)
        self.positions = nn.Parameter(torch.randn(1, samples, width) * 0.02)
        self.class_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, heads, dim_feedforward=4 * width, dropout=dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, classes))

    def forward(self, x_bct: Tensor) -> Tensor:
        """Logits (b, k) of float32 windows (b, c, t)."""
        tokens_bth = self.project(x_bct.transpose(1, 2)) + self.positions
        class_b1h = self.class_token.expand(x_bct.shape[0], -1, -1)
        encoded_bth: Tensor = self.encoder(torch.cat([class_b1h, tokens_bth], dim=1))
        logits_bk: Tensor = self.head(encoded_bth[:, 0])
        return logits_bk
