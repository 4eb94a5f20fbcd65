"""das: lstm, a recurrent network over time; neighbouring channels are averaged, each group has its own input weight.

Shape letters: b batch, c channel, g group of channels, t time sample, h feature, k class.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from groundswell.models.recurrent import Lstm

NEIGHBOURS = 4
"""Channels averaged into one input; the last group takes what is left over (4 to 7 channels)."""


class LstmClassifier(nn.Module):
    """Means of four neighbouring channels, an LSTM, its last state in each direction, one linear layer.

    Args:
        channels: of the cable; fewer than four make one group.
        classes: number of logits.
        width: features of each direction.
        layers: how many are stacked.
        bidirectional: read the window both ways.
        dropout: share of activations dropped in training, between layers and before the linear layer.
    """

    def __init__(self, channels: int, classes: int, *, width: int, layers: int, bidirectional: bool,
                 dropout: float) -> None:
        super().__init__()
        self.groups = max(1, channels // NEIGHBOURS)
        self.lstm = Lstm(self.groups, width, layers, bidirectional=bidirectional, dropout=dropout)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width * (2 if bidirectional else 1), classes))

    def forward(self, x_bct: Tensor) -> Tensor:
        """Logits (b, k) of float32 windows (b, c, t)."""
        whole = (self.groups - 1) * NEIGHBOURS
        last_b1t = x_bct[:, whole:].mean(dim=1, keepdim=True)
        if whole:
            firsts_bgt = x_bct[:, :whole].reshape(x_bct.shape[0], self.groups - 1, NEIGHBOURS, -1).mean(dim=2)
            x_bgt = torch.cat([firsts_bgt, last_b1t], dim=1)
        else:
            x_bgt = last_b1t
        _, last_bh = self.lstm(x_bgt.transpose(1, 2))
        logits_bk: Tensor = self.head(last_bh)
        return logits_bk
