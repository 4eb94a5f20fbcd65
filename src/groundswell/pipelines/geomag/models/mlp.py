"""geomag: a multilayer perceptron on all minutes of a window at once.

Shape letters: b batch, f all minutes of a window, h feature, k class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from groundswell.core.errors import InputError
from groundswell.pipelines.geomag.models.base import Classifier, checked_share, checked_sizes, positive, xavier
from groundswell.pipelines.geomag.models.wide_linear import WideLinear

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "elu": nn.ELU,
                                            "leakyrelu": nn.LeakyReLU, "selu": nn.SELU}


class MLPClassifier(Classifier):
    """Linear layers, each followed by batch normalisation, an activation and dropout, and one linear layer more.

    Weights are Xavier uniform (Glorot and Bengio 2010), biases zero.

    Args:
        input_size: values of a window, e.g. 10,080 for seven days of minutes.
        hidden_sizes: width of each layer.
        output_size: number of logits.
        dropout_prob: share of activations dropped in training after each layer.
        use_batch_norm: normalise before each activation.
        activation: relu, tanh, gelu, elu, leakyrelu or selu.

    Raises:
        InputError: a size makes no network, or the activation is unknown.
    """

    def __init__(self, input_size: int, hidden_sizes: Sequence[int] = (512, 256), output_size: int = 2,
                 dropout_prob: float = 0.3, use_batch_norm: bool = True,
                 activation: Literal["relu", "tanh", "gelu", "elu", "leakyrelu", "selu"] = "relu") -> None:
        super().__init__()
        positive(input_size=input_size, output_size=output_size)
        sizes, share = checked_sizes(hidden_sizes), checked_share(dropout_prob)
        if activation not in _ACTIVATIONS:
            raise InputError(f"There is no activation '{activation}'", fix=f"Choose one of: {', '.join(_ACTIVATIONS)}")
        self.config = {"input_size": input_size, "hidden_sizes": list(sizes), "output_size": output_size,
                       "dropout_prob": share, "use_batch_norm": use_batch_norm, "activation": activation}
        layers: list[nn.Module] = []
        for inputs, size in zip([input_size, *sizes], sizes, strict=False):
            layers.append(xavier(WideLinear(inputs, size)))
            layers += [nn.BatchNorm1d(size)] if use_batch_norm else []
            layers += [_ACTIVATIONS[activation](), nn.Dropout(share)]
        self.layers = nn.Sequential(*layers)
        self.head = xavier(nn.Linear(sizes[-1], output_size))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, k) of windows, float32 (b, f), or in days, (b, t, i).

        Raises:
            InputError: windows have another length.
        """
        x_bf = x.flatten(1) if x.dim() > 1 else x
        if x_bf.dim() != 2 or x_bf.shape[1] != self.config["input_size"]:
            raise InputError(f"A batch of shape {tuple(x.shape)} is no batch of windows of "
                             f"{self.config['input_size']} values")
        logits_bk: Tensor = self.head(self.layers(x_bf))
        return logits_bk
