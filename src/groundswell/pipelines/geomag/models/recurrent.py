"""geomag: GRU, LSTM and plain recurrent networks over the days of a window.

Shape letters: b batch, t day, i minutes of a day, h feature, k class. Inside, time comes first: a step's windows then
lie side by side, and batch normalisation sees (days * windows, features) without anything being moved.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from groundswell.core.errors import InputError
from groundswell.pipelines.geomag.models.base import Classifier, as_days, checked_share, checked_sizes, positive, xavier
from groundswell.pipelines.geomag.models.lstm_bf16 import applies, lstm_bf16


class RecurrentClassifier(Classifier):
    """Recurrent layers, each followed by batch normalisation and dropout, and one linear layer on the last day.

    Batch normalisation takes its statistics over windows and days together. Of a bidirectional network the linear layer
    sees the last state of both directions: that of the last day and, read backwards, that of the first. Input weights
    are Xavier uniform (Glorot and Bengio 2010) and recurrent ones orthogonal (Saxe et al. 2013), gate by gate; biases
    are zero, but for an LSTM's forget gate, at one (Jozefowicz et al. 2015).

    Under bfloat16 autocast on a CPU an LSTM takes the way of :mod:`~groundswell.pipelines.geomag.models.lstm_bf16`.

    Args:
        input_size: values of one step.
        hidden_sizes: width of each layer and direction.
        output_size: number of logits.
        dropout_prob: share of activations dropped in training after each layer.
        use_batch_norm: normalise after each layer.
        bidirectional: read the days both ways; the outputs of both are concatenated.

    Raises:
        InputError: a size makes no network.
    """

    gates: int
    """Blocks of rows that a layer's weights consist of."""

    def __init__(self, input_size: int, hidden_sizes: Sequence[int] = (512, 256), output_size: int = 2,
                 dropout_prob: float = 0.3, use_batch_norm: bool = True, bidirectional: bool = False) -> None:
        super().__init__()
        positive(input_size=input_size, output_size=output_size)
        sizes, share = checked_sizes(hidden_sizes), checked_share(dropout_prob)
        self.config = {"input_size": input_size, "hidden_sizes": list(sizes), "output_size": output_size,
                       "dropout_prob": share, "use_batch_norm": use_batch_norm, "bidirectional": bidirectional}
        directions = 2 if bidirectional else 1
        widths = [directions * size for size in sizes]
        self.layers = nn.ModuleList(self._layer(inputs, size, bidirectional)
                                    for inputs, size in zip([input_size, *widths], sizes, strict=False))
        for layer in self.layers:
            self._initialise(layer)
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) if use_batch_norm else nn.Identity() for width in widths)
        self.dropout = nn.Dropout(share)
        self.head = xavier(nn.Linear(widths[-1], output_size))

    @abstractmethod
    def _layer(self, inputs: int, hidden: int, bidirectional: bool) -> nn.RNNBase: ...

    def _initialise(self, layer: nn.Module) -> None:
        for name, value in layer.named_parameters():
            if name.startswith("bias"):
                nn.init.zeros_(value)
                continue
            for gate in value.detach().chunk(self.gates):
                (nn.init.xavier_uniform_ if name.startswith("weight_ih") else nn.init.orthogonal_)(gate)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits (b, k).

        Args:
            x: float32 (b, t, i), any number of days; or flat, (b, t * i).
            lengths: int64 (b,): how many days of each window are real, from the first on; what comes after them has no
                influence, not even on batch normalisation. Absent: all.

        Raises:
            InputError: the shape does not fit, or a length is not between 1 and the number of days.
        """
        x_bti = as_days(x, self.config["input_size"])
        if lengths is not None:
            return self._packed(x_bti, lengths)
        y_tbh = x_bti.transpose(0, 1)
        for layer, norm, dropout in self._stages():
            y_tbh = lstm_bf16(layer, y_tbh) if applies(layer, y_tbh) else layer(y_tbh)[0]
            y_tbh = dropout(norm(y_tbh.flatten(0, 1)).unflatten(0, (-1, x_bti.shape[0])))
        return self._answer(y_tbh[-1], y_tbh[0])

    def _packed(self, x_bti: Tensor, lengths: Tensor) -> Tensor:
        count = lengths.to("cpu", torch.int64)
        if count.shape != x_bti.shape[:1] or int(count.min()) < 1 or int(count.max()) > x_bti.shape[1]:
            raise InputError(f"lengths must be {x_bti.shape[0]} numbers of days between 1 and {x_bti.shape[1]}")
        packed = pack_padded_sequence(x_bti, count, batch_first=True, enforce_sorted=False)
        for layer, norm, dropout in self._stages():
            packed = layer(packed)[0]
            packed = PackedSequence(dropout(norm(packed.data)), packed.batch_sizes, packed.sorted_indices,
                                    packed.unsorted_indices)
        y_bth, _ = pad_packed_sequence(packed, batch_first=True)
        return self._answer(y_bth[torch.arange(len(count)), count - 1], y_bth[:, 0])

    def _stages(self) -> Iterator[tuple[nn.RNNBase, nn.Module, nn.Module]]:
        # One state of the last layer is used: what is dropped of it is drawn by the answer, of the others not at all.
        dropouts = [*[self.dropout] * (len(self.layers) - 1), nn.Identity()]
        for layer, norm, dropout in zip(self.layers, self.norms, dropouts, strict=True):
            assert isinstance(layer, nn.RNNBase)
            yield layer, norm, dropout

    def _answer(self, last_bh: Tensor, first_bh: Tensor) -> Tensor:
        if self.config["bidirectional"]:
            width = self.config["hidden_sizes"][-1]
            last_bh = torch.cat([last_bh[:, :width], first_bh[:, width:]], dim=1)
        logits_bk: Tensor = self.head(self.dropout(last_bh))
        return logits_bk


class GRUClassifier(RecurrentClassifier):
    """Gated recurrent units (Cho et al. 2014); see :class:`RecurrentClassifier`."""

    gates = 3

    def _layer(self, inputs: int, hidden: int, bidirectional: bool) -> nn.RNNBase:
        return nn.GRU(inputs, hidden, bidirectional=bidirectional)


class LSTMClassifier(RecurrentClassifier):
    """Long short-term memory (Hochreiter and Schmidhuber 1997); see :class:`RecurrentClassifier`."""

    gates = 4

    def _layer(self, inputs: int, hidden: int, bidirectional: bool) -> nn.RNNBase:
        return nn.LSTM(inputs, hidden, bidirectional=bidirectional)

    def _initialise(self, layer: nn.Module) -> None:
        super()._initialise(layer)
        for name, bias in layer.named_parameters():
            if name.startswith("bias_ih"):
                nn.init.ones_(bias.detach().chunk(4)[1])


class RNNClassifier(RecurrentClassifier):
    """The plain recurrent network (Elman 1990); see :class:`RecurrentClassifier`.

    Args:
        input_size: as there, and so are the others.
        nonlinearity: tanh or relu.
    """

    gates = 1

    def __init__(self, input_size: int, hidden_sizes: Sequence[int] = (512, 256), output_size: int = 2,
                 dropout_prob: float = 0.3, use_batch_norm: bool = True, bidirectional: bool = False,
                 nonlinearity: Literal["tanh", "relu"] = "tanh") -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise InputError(f"There is no nonlinearity '{nonlinearity}' for a plain recurrent network",
                             fix="Choose tanh or relu")
        self._nonlinearity = nonlinearity
        super().__init__(input_size, hidden_sizes, output_size, dropout_prob, use_batch_norm, bidirectional)
        self.config["nonlinearity"] = nonlinearity

    def _layer(self, inputs: int, hidden: int, bidirectional: bool) -> nn.RNNBase:
        return nn.RNN(inputs, hidden, nonlinearity=self._nonlinearity, bidirectional=bidirectional)
