"""deploy: the parity gate. An exported file is kept only if it gives the network's own answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from groundswell.core.errors import RefusedError

TOLERANCE = 1e-4
"""Largest difference of any output that passes."""
LEAST_SAMPLES = 100
"""Real samples that must be compared."""
BATCHES = (1, 2, 7)
"""Batch sizes at which the shapes are tried."""

Arrays = Mapping[str, NDArray[Any]]


class Exportable(Protocol):
    """A network as its task offers it; the fields are those of :class:`groundswell.train.task.Export`."""

    @property
    def module(self) -> nn.Module: ...
    @property
    def inputs(self) -> dict[str, Tensor]: ...
    @property
    def outputs(self) -> tuple[str, ...]: ...
    @property
    def dynamic(self) -> dict[str, dict[int, str]]: ...
    @property
    def metadata(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Parity:
    """What the gate saw.

    Attributes:
        difference: largest difference of any output on the real samples.
        samples: how many real samples were compared.
        shape_difference: largest difference on made-up inputs of other sizes.
        shapes: the sizes tried, as text.
    """

    difference: float
    samples: int
    shape_difference: float
    shapes: tuple[str, ...]


def check_parity(what: Exportable, session: Any, samples: Callable[[], Iterable[Arrays]]) -> Parity:
    """Hold an exported graph against its network.

    Args:
        what: the network and what it claims to accept.
        session: onnxruntime session of the exported graph.
        samples: gives batches of real inputs, at least 100 samples in all.

    Raises:
        RefusedError: an axis that should be free is not, a size fails, answers differ by more than 1e-4, or there are
            too few real samples to tell.
    """
    _check_axes(what, session)
    shape_difference, shapes = 0.0, []
    for inputs in other_sizes(what):
        shown = ", ".join(f"{name} {tuple(value.shape)}" for name, value in inputs.items())
        shape_difference = max(shape_difference, _difference(what, session, inputs, shown))
        shapes.append(shown)
    difference, seen = 0.0, 0
    for batch in samples():
        inputs = {name: torch.as_tensor(np.asarray(batch[name]), dtype=what.inputs[name].dtype) for name in what.inputs}
        count = len(next(iter(inputs.values())))
        difference = max(difference, _difference(what, session, inputs, f"real samples {seen} to {seen + count}"))
        seen += count
    if seen < LEAST_SAMPLES:
        raise RefusedError(f"Only {seen} real samples are at hand to compare the exported file with the network; it "
                           f"takes {LEAST_SAMPLES}", fix="Export with more data at hand")
    return Parity(difference, seen, shape_difference, tuple(shapes))


def other_sizes(what: Exportable) -> Iterator[dict[str, Tensor]]:
    """Inputs of every size that must work: batches of 1, 2 and 7, and two more sizes of each further free axis.

    They are the examples, repeated or cut along the axis.
    """
    for batch in BATCHES:
        yield {name: _resized(value, 0, batch) for name, value in what.inputs.items()}
    for name, axes in what.dynamic.items():
        for axis in axes:
            size = what.inputs[name].shape[axis]
            for other in (max(1, size // 2 + 1), 2 * size + 3) if axis > 0 else ():
                yield what.inputs | {name: _resized(what.inputs[name], axis, other)}


def _resized(value: Tensor, axis: int, size: int) -> Tensor:
    return value.index_select(axis, torch.arange(size) % value.shape[axis])


def _check_axes(what: Exportable, session: Any) -> None:
    shapes = {found.name: found.shape for found in session.get_inputs()}
    if set(shapes) != set(what.inputs):
        raise RefusedError(f"The exported graph asks for {', '.join(sorted(shapes))}, not for {', '.join(what.inputs)}")
    for name, axes in what.dynamic.items():
        for axis, meaning in axes.items():
            if isinstance(shapes[name][axis], int):
                raise RefusedError(f"In the exported graph the {meaning} axis of '{name}' is fixed to "
                                   f"{shapes[name][axis]}")


def _difference(what: Exportable, session: Any, inputs: dict[str, Tensor], where: str) -> float:
    with torch.inference_mode():
        expected = what.module(**inputs)
    expected = (expected,) if isinstance(expected, Tensor) else expected
    try:
        found = session.run(list(what.outputs), {name: value.numpy() for name, value in inputs.items()})
    except Exception as error:  # onnxruntime raises classes of its own, which share only this base
        raise RefusedError(f"The exported graph fails: {error}", where=where) from error
    largest = 0.0
    for name, mine, theirs in zip(what.outputs, expected, found, strict=True):
        if tuple(mine.shape) != tuple(theirs.shape):
            raise RefusedError(f"The output '{name}' has the shape {tuple(theirs.shape)}, not {tuple(mine.shape)}",
                               where=where)
        apart = float(np.abs(mine.numpy().astype(np.float64) - theirs).max(initial=0.0))
        if not apart <= TOLERANCE:  # NaN too
            raise RefusedError(f"The output '{name}' of the exported graph differs from the network's by {apart:.3g}, "
                               f"more than {TOLERANCE:g}", where=where)
        largest = max(largest, apart)
    return largest
