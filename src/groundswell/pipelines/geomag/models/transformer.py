"""geomag: a transformer, attention over the days of a window.

Shape letters: b batch, t day, i minutes of a day, h feature, k class.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from groundswell.core.errors import InputError
from groundswell.pipelines.geomag.models.base import Classifier, as_days, checked_share, positive, xavier


def positional_encoding(steps: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Sines and cosines of wavelengths from 2 pi to 20,000 pi steps (Vaswani et al. 2017), float32 (steps, width): even
    features are sines, odd ones cosines."""
    place = torch.arange(steps, device=device, dtype=torch.float32)[:, None]
    even = torch.arange(0, width, 2, device=device, dtype=torch.float32)
    angle = place * torch.exp(even * (-math.log(10_000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :width]


class TransformerClassifier(Classifier):
    """Linear projection of each day, sines and cosines for its place, post-norm encoder, mean over the days, one linear
    layer.

    Weights outside the encoder are Xavier uniform, biases zero; the encoder's are torch's own.

    Args:
        input_size: values of one step.
        output_size: number of logits.
        d_model: width.
        nhead: attention heads; divides ``d_model``.
        num_encoder_layers: encoder layers.
        dim_feedforward: width inside each.
        dropout_prob: share of activations dropped in training.

    Raises:
        InputError: a size makes no network.
    """

    def __init__(self, input_size: int, output_size: int = 2, d_model: int = 512, nhead: int = 8,
                 num_encoder_layers: int = 2, dim_feedforward: int = 2048, dropout_prob: float = 0.1) -> None:
        super().__init__()
        positive(input_size=input_size, output_size=output_size, d_model=d_model, nhead=nhead,
                 num_encoder_layers=num_encoder_layers, dim_feedforward=dim_feedforward)
        if d_model % nhead:
            raise InputError(f"d_model {d_model} cannot be divided among {nhead} heads")
        share = checked_share(dropout_prob)
        self.config = {"input_size": input_size, "output_size": output_size, "d_model": d_model, "nhead": nhead,
                       "num_encoder_layers": num_encoder_layers, "dim_feedforward": dim_feedforward,
                       "dropout_prob": share}
        self.project = xavier(nn.Linear(input_size, d_model))
        self.dropout = nn.Dropout(share)
        layer = nn.TransformerEncoderLayer(d_model, nhead, dim_feedforward, share, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_encoder_layers, enable_nested_tensor=False)
        self.head = xavier(nn.Linear(d_model, output_size))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits (b, k).

        Args:
            x: float32 (b, t, i), any number of days; or flat, (b, t * i).
            lengths: int64 (b,): how many days of each window are real, from the first on; the others are neither
                attended to nor averaged. Absent: all.

        Raises:
            InputError: the shape does not fit, or a length is not between 1 and the number of days.
        """
        x_bti = as_days(x, self.config["input_size"])
        steps = x_bti.shape[1]
        h_bth = self.dropout(self.project(x_bti) + positional_encoding(steps, self.config["d_model"], x.device))
        if lengths is None:
            return self._answer(self.encoder(h_bth).mean(dim=1))
        if lengths.shape != x.shape[:1] or int(lengths.min()) < 1 or int(lengths.max()) > steps:
            raise InputError(f"lengths must be {x.shape[0]} numbers of days between 1 and {steps}")
        absent_bt = torch.arange(steps, device=x.device) >= lengths.to(x.device)[:, None]
        h_bth = self.encoder(h_bth, src_key_padding_mask=absent_bt).masked_fill(absent_bt[:, :, None], 0.0)
        return self._answer(h_bth.sum(dim=1) / lengths.to(h_bth)[:, None])

    def _answer(self, mean_bh: Tensor) -> Tensor:
        logits_bk: Tensor = self.head(mean_bh)
        return logits_bk
