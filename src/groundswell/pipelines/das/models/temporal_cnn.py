"""das: temporal_cnn, a 1-D convolutional network over time; every channel of one cable has its own input weight.

Shape letters: b batch, c channel, t time sample, h feature, k class.
"""

from __future__ import annotations

from torch import Tensor, nn

from groundswell.core.errors import InputError


class TemporalCnn(nn.Module):
    """Projection of the channels, blocks of two convolutions that halve the time axis, mean over time, two layers.

    Args:
        channels: of the cable.
        samples: time samples of a window; each block halves them, so there must be ``2 ** blocks`` at least.
        classes: number of logits.
        width: features after the projection; blocks have 1, 2, 4, 4, ... times as many.
        blocks: how many.
        dropout: share of activations dropped in training.

    Raises:
        InputError: the window is too short for so many blocks.
    """

    def __init__(self, channels: int, samples: int, classes: int, *, width: int, blocks: int, dropout: float) -> None:
        super().__init__()
        if samples < 2**blocks:
            raise InputError(f"A window of {samples} time samples cannot be halved {blocks} times",
                             where="model.num_layers", fix="Use fewer layers, longer windows or less decimation")
        self.project = nn.Conv1d(channels, width, kernel_size=1)
        layers: list[nn.Module] = []
        before = width
        for block in range(blocks):
            after = width * 2 ** min(block, 2)
            layers += _block(before, after, dropout)
            before = after
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(before, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, classes))

    def forward(self, x_bct: Tensor) -> Tensor:
        """Logits (b, k) of float32 windows (b, c, t)."""
        h_bht: Tensor = self.blocks(self.project(x_bct))
        logits_bk: Tensor = self.head(h_bht.mean(dim=2))
        return logits_bk


def _block(before: int, after: int, dropout: float) -> list[nn.Module]:
    return [nn.Conv1d(before, after, kernel_size=7, padding=3), nn.BatchNorm1d(after), nn.ReLU(), nn.Dropout(dropout),
            nn.Conv1d(after, after, kernel_size=5, padding=2), nn.BatchNorm1d(after), nn.ReLU(), nn.MaxPool1d(2),
            nn.Dropout(dropout)]
