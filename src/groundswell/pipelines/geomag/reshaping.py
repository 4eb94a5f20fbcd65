"""geomag: windows of minutes in the shape that each family of networks takes, without copying them.

Shape letters: n windows, t steps (days), f minutes of a step, d width of a transformer.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from groundswell.core.errors import InputError
from groundswell.pipelines.geomag.models.transformer import positional_encoding

Values = TypeVar("Values", NDArray[Any], Tensor)


def reshape_to_steps(x_nm: Values, seq_length: int) -> Values:
    """Divide each window into ``seq_length`` steps of equal length, in order of time.

    Args:
        x_nm: windows, shape (n, minutes) without labels; what is divided so already passes through.
        seq_length: steps; with 7 days of minutes and 7 steps, a step is a day of 1440 minutes.

    Returns:
        of the same type and memory, shape (n, seq_length, minutes / seq_length).

    Raises:
        InputError: the minutes cannot be divided into so many steps, or the shape is another.
    """
    if x_nm.ndim == 3 and x_nm.shape[1] == seq_length:
        return x_nm
    if x_nm.ndim != 2:
        raise InputError(f"Windows have the shape {tuple(x_nm.shape)}; (windows, minutes) is needed to make "
                         f"{seq_length} steps of each")
    minutes = x_nm.shape[1]
    if seq_length < 1 or minutes % seq_length:
        label = minutes > 1 and seq_length > 0 and (minutes - 1) % seq_length == 0
        raise InputError(f"{minutes} values of a window cannot be divided into {seq_length} steps of equal length",
                         fix="Take the label in the last column off first: X[:, :-1]" if label else
                         "Give a number of steps that divides them: 7, 14 or 30 for windows of so many days")
    return x_nm.reshape(x_nm.shape[0], seq_length, minutes // seq_length)


def reshape_data_for_gru(X: Values, seq_length: int) -> Values:
    """Windows for a GRU, shape (n, seq_length, features); see :func:`reshape_to_steps`."""
    return reshape_to_steps(X, seq_length)


def reshape_data_for_lstm(X: Values, seq_length: int) -> Values:
    """Windows for an LSTM, shape (n, seq_length, features); see :func:`reshape_to_steps`."""
    return reshape_to_steps(X, seq_length)


def reshape_data_for_rnn(X: Values, seq_length: int) -> Values:
    """Windows for a plain recurrent network, shape (n, seq_length, features); see :func:`reshape_to_steps`."""
    return reshape_to_steps(X, seq_length)


def reshape_data_for_transformer(X: Values, seq_length: int) -> Values:
    """Windows for a transformer, shape (n, seq_length, features); see :func:`reshape_to_steps`."""
    return reshape_to_steps(X, seq_length)


def prepare_mlp_data(X: Values, flatten: bool = True) -> Values:
    """Windows for a multilayer perceptron, shape (n, features); with ``flatten=False`` they stay as they are.

    Raises:
        InputError: there is no axis of windows and one of values at least.
    """
    if X.ndim < 2:
        raise InputError(f"Windows have the shape {tuple(X.shape)}; the first axis must count windows")
    return X.reshape(X.shape[0], -1) if flatten else X


def add_positional_encoding(X: Values, d_model: int) -> Values:
    """Add to each step of (n, t, d_model) the sines and cosines that tell its place.

    See :func:`~groundswell.pipelines.geomag.models.transformer.positional_encoding`; the transformer of this pipeline
    adds them by itself.

    Raises:
        InputError: the last axis is not ``d_model`` wide.
    """
    if X.ndim != 3 or X.shape[2] != d_model:
        raise InputError(f"Steps have the shape {tuple(X.shape)}; (windows, steps, {d_model}) is needed",
                         fix="Bring the features of a step to the width d_model first, as a transformer's first layer "
                             "does")
    table = positional_encoding(X.shape[1], d_model)
    if isinstance(X, Tensor):
        return X + table.to(X)
    added: NDArray[Any] = np.add(X, table.numpy(), dtype=X.dtype if X.dtype.kind == "f" else np.float32)
    return added
