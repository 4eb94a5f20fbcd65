"""symae: publication figures, 950 x 450 points each: stacked source time functions, loss histories, and their style."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import write_bytes
from groundswell.evaluate.figures import BLACK, BLUE, GREY, ORANGE, PALETTE, STYLE, nothing, png_of, read_epochs, svg_of

SIZE = (9.5, 4.5)
"""Inches at 100 dots an inch: 950 x 450."""
DOTS = 100
OFFSET = 3.0
"""Between the curves of a stack, in standard deviations."""
_PARTS = {"train": ("--", ORANGE), "val": ("-", BLUE), "test": ("-", BLUE)}
_MISFITS = ("mse", "source", "half")
_SPLITS = (("nll", "neg_llh"), ("negative_elbo", "neg_elbo"), ("kl_coherent", "kl"), ("coherence",), ("surprise",),
           ("path",), ("path_surprise",))
_PER_SECOND_LABEL = "seconds after the theoretical P"


@contextmanager
def style() -> Any:
    """Our fonts and colours; nothing is set globally."""
    with mpl.rc_context(STYLE):
        yield


def new_figure(size: tuple[float, float] = SIZE) -> Figure:
    """A figure whose axes make room for one another."""
    return Figure(figsize=size, dpi=DOTS, layout="constrained")


def colours_of(pixels: Sequence[int]) -> dict[int, Any]:
    """A colour for each pixel, in their order: the house's palette, or a scale where there are many."""
    kinds = sorted(set(pixels))
    if len(kinds) <= len(PALETTE):
        return dict(zip(kinds, PALETTE, strict=False))
    scale = mpl.colormaps["viridis"]
    return {pixel: scale(0.85 * i / (len(kinds) - 1)) for i, pixel in enumerate(kinds)}


def plot_stf(stf_array: ArrayLike, names: Sequence[str], scale: float = 1.0, title: str = "", *,
             times: ArrayLike | None = None, places: Sequence[tuple[float, float]] | None = None,
             spread: ArrayLike | None = None, simulated: bool = False) -> Figure:
    """Source time functions one above another, sorted and coloured by pixel, their mean on top.

    Args:
        stf_array: (k, n), standardised.
        names: of each, ``PIXEL`` or ``EVENT/PIXEL``.
        scale: height of the curves; 1 puts three standard deviations between two of them.
        title: of the figure.
        times: (n,), seconds; absent, samples.
        places: colatitude and longitude of each on the focal sphere, degrees.
        spread: (k, n), standard deviations, drawn as bands of 90 %.
        simulated: said in the title.

    Raises:
        InputError: as many names as curves are needed, and names of pixels.
    """
    stf = np.atleast_2d(np.asarray(stf_array, np.float64))
    if len(names) != len(stf) or (places is not None and len(places) != len(stf)):
        raise InputError(f"{len(stf)} curves need as many names and places, not {len(names)}", where="plot_stf")
    pixels = [_pixel_of(name) for name in names]
    order = sorted(range(len(stf)), key=lambda i: (pixels[i], names[i]))
    x = np.arange(stf.shape[1]) if times is None else np.asarray(times, np.float64)
    colour = colours_of(pixels)
    with style():
        figure = new_figure()
        axes = figure.subplots()
        for height, i in enumerate(order):
            base = OFFSET * height
            if spread is not None:
                band, middle = 1.645 * scale * np.asarray(spread, np.float64)[i], base + scale * stf[i]
                axes.fill_between(x, middle - band, middle + band, color=colour[pixels[i]], alpha=0.2, linewidth=0)
            axes.plot(x, base + scale * stf[i], color=colour[pixels[i]], linewidth=1.4)
        # One curve has no mean of its own.
        if len(stf) > 1:
            axes.plot(x, OFFSET * len(stf) + scale * stf.mean(0), color=BLACK, linewidth=2)
        _label_rows(axes, [_label(names[i], pixels[i], None if places is None else places[i]) for i in order]
                    + (["mean"] if len(stf) > 1 else []))
        axes.set_title(title + (" (simulated)" if simulated else ""))
        axes.set(xlabel="samples" if times is None else _PER_SECOND_LABEL, xlim=(x[0], x[-1]))
    return figure


def _pixel_of(name: str) -> int:
    last = str(name).rpartition("/")[2].partition(":")[0].strip()
    if not last.isdecimal():
        raise InputError(f"The name '{name}' ends in no pixel", where="plot_stf", fix="Write PIXEL or EVENT/PIXEL")
    return int(last)


def _label(name: str, pixel: int, place: tuple[float, float] | None) -> str:
    return str(name) if place is None else f"{pixel}: ({place[0]:.0f}°, {place[1]:.0f}°)"


def _label_rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(OFFSET * np.arange(len(labels)), labels, fontsize=max(4.5, min(9.0, 160 / len(labels))))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)


def plot_loss_history(loss_history: Mapping[str, Sequence[float]] | Path | str, title: str = "Loss history") -> Figure:
    """The misfit by epoch on a logarithmic axis and, beside it, the other terms of the loss.

    Args:
        loss_history: columns by name (``epoch``, ``train_mse``, ``val_nll``, ...), or the CSV file they are in.
        title: of the figure.

    Raises:
        InputError: the file cannot be read, or holds no epoch.
    """
    log = read_epochs(Path(loss_history)) if isinstance(loss_history, (Path, str)) else dict(loss_history)
    count = max((len(values) for values in log.values()), default=0)
    if not count:
        raise InputError("The loss history holds no epoch", where=str(loss_history)[:80])
    epochs = log.get("epoch", list(range(1, count + 1)))
    misfit = [name for name in _MISFITS if _has(log, name)] or ["loss"]
    terms = [name for group in _SPLITS for name in group if _has(log, name)]
    with style():
        figure = new_figure()
        left, right = figure.subplots(1, 2)
        _terms(left, log, epochs, misfit[:1])
        if all(float(v) > 0 for line in left.get_lines() for v in line.get_ydata()[np.isfinite(line.get_ydata())]):
            left.set_yscale("log")
        left.set(title=f"{title}: {misfit[0].replace('_', ' ')}", xlabel="epoch")
        if terms:
            _terms(right, log, epochs, terms)
            right.set(title="Terms", xlabel="epoch")
        else:
            nothing(right, "no other terms")
        for axes in (left, right):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _has(log: Mapping[str, Any], name: str) -> bool:
    return any(f"{part}_{name}" in log for part in _PARTS)


def _terms(axes: Axes, log: Mapping[str, Sequence[float]], epochs: Sequence[float], names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        for part, (dash, colour) in _PARTS.items():
            if f"{part}_{name}" in log:
                axes.plot(epochs, np.asarray(log[f"{part}_{name}"], np.float64), linestyle=dash, linewidth=1.6,
                          color=colour if len(names) == 1 else PALETTE[i % len(PALETTE)], marker="." if
                          len(epochs) < 30 else None, label=f"{name.replace('_', ' ')}, {_called(part)}")
    if axes.get_lines():
        axes.legend(fontsize=8)


def _called(part: str) -> str:
    return {"train": "training", "val": "validation", "test": "test"}[part]


def image(axes: Axes, traces: NDArray[Any], times: NDArray[Any], title: str, stations: Sequence[str] = ()) -> None:
    """Traces (t, n) as rows of colour, red up and blue down, with stations' names where there is room."""
    limit = 2.5
    axes.grid(False)
    axes.imshow(traces, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest",
                extent=(float(times[0]), float(times[-1]), len(traces) - 0.5, -0.5))
    if stations and len(stations) <= 40:
        axes.set_yticks(range(len(stations)), list(stations), fontsize=max(4.0, min(8.0, 190 / len(stations))))
    else:
        axes.set_ylabel("trace")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(title=title, xlabel=_PER_SECOND_LABEL)
    axes.tick_params(length=0)


def wave(axes: Axes, times: NDArray[Any], values: NDArray[Any], label: str, colour: str, width: float = 1.4,
         dash: str = "-") -> None:
    """One curve."""
    axes.plot(times, values, color=colour, linewidth=width, linestyle=dash, label=label)
    axes.axhline(0, color=GREY, linewidth=0.4)
    axes.set(xlim=(times[0], times[-1]), xlabel=_PER_SECOND_LABEL)


def check_scale(scale: int) -> None:
    """See that pictures can be written with so many pixels a point.

    Raises:
        InputError: they cannot.
    """
    if not 1 <= scale <= 16:
        raise InputError(f"Pictures cannot have {scale} pixels a point", where="--scale", fix="Choose 1 to 16")


def save(figure: Figure, path: Path, scale: int = 2) -> Path:
    """Write a figure as PNG, or as SVG if the name says so, whole or not at all; ``path``.

    Args:
        figure: of 950 x 450 points.
        path: ending in .png or .svg.
        scale: pixels a point of a PNG, 1 to 16; 8 gives 7600 x 3600.

    Raises:
        InputError: no such scale, or another ending.
    """
    check_scale(scale)
    kind = Path(path).suffix.lower()
    if kind not in (".png", ".svg"):
        raise InputError(f"Pictures are written as PNG or SVG, not as '{kind}'", where=path)
    write_bytes(Path(path), svg_of(figure) if kind == ".svg" else png_of(figure, dpi=DOTS * scale))
    return Path(path)


def save_all(figures: Iterable[tuple[str, Figure]], folder: Path, scale: int) -> list[Path]:
    """Write figures by their names as PNG; the paths."""
    return [save(figure, folder / f"{name}.png", scale) for name, figure in figures]
