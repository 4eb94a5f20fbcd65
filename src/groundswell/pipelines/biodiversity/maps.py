"""biodiversity: maps of a split, drawn without anything that would have to be fetched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import write_bytes
from groundswell.data.sphere import EARTH_KM
from groundswell.data.table import SampleTable
from groundswell.evaluate import figures
from groundswell.pipelines.biodiversity.geojson import write_geojson
from groundswell.pipelines.biodiversity.layers import LEFT_OUT, Layers, layers_of
from groundswell.splits.manifest import SplitManifest
from groundswell.splits.parts import HOLDOUT, PARTS, TEST, TRAIN, VALIDATION
from groundswell.splits.regions import Box, bounding_box

__all__ = ["draw_map", "map_of", "save_figure", "write_geojson"]

_KM_PER_DEGREE = np.pi * EARTH_KM / 180
_MOST_POINTS, _MOST_VECTORS = 100_000, 20_000
_TRAIN_COLOUR, _LEFT_OUT_COLOUR, _BUFFER_COLOUR = "#A9B3BC", "#C98F5A", "#FCEFD9"
_HALO = withStroke(linewidth=2.5, foreground="white")
_TESTS = tuple(zip((figures.BLUE, figures.RED, figures.GREEN, figures.PURPLE, figures.ORANGE, figures.BLACK),
                   ("o", "s", "D", "P", "X", "v"), strict=True))


def draw_map(table: SampleTable, manifest: SplitManifest, path: Path, *, fold: int = 0,
             regions: Iterable[Box | Mapping[str, Any]] | None = None, cells: bool = True,
             buffer_m: float | None = None) -> Path:
    """Draw one fold of a split to a file; see :func:`map_of`.

    Args:
        path: ending in ``.png`` or ``.svg``.

    Returns:
        The path.

    Raises:
        InputError: another ending; or as :func:`groundswell.pipelines.biodiversity.layers.layers_of`.
    """
    return save_figure(map_of(table, manifest, fold=fold, regions=regions, cells=cells, buffer_m=buffer_m), path)


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG or SVG, whichever the path ends in, atomically.

    Raises:
        InputError: it ends in neither.
    """
    writers = {".png": figures.png_of, ".svg": figures.svg_of}
    kind = Path(path).suffix.lower()
    if kind not in writers:
        raise InputError(f"Pictures are written as PNG or SVG, not as '{kind}'", where=path,
                         fix="End the name in .png or .svg")
    write_bytes(Path(path), writers[kind](figure))
    return Path(path)


def map_of(table: SampleTable, manifest: SplitManifest, *, fold: int = 0,
           regions: Iterable[Box | Mapping[str, Any]] | None = None, cells: bool = True,
           buffer_m: float | None = None) -> Figure:
    """A map of one fold: parts by colour and mark, regions and cells in outline, a scale, a legend with numbers.

    A degree of longitude is drawn as wide as it is at the middle latitude. There is no coastline. A part with more than
    100,000 samples is drawn as so many of them, and the legend says so.

    Args:
        table, manifest, fold, regions, cells: see :func:`groundswell.pipelines.biodiversity.layers.layers_of`.
        buffer_m: radius of the discs around what is tested; None takes the buffer of the manifest's settings, 0 none.
    """
    layers = layers_of(table, manifest, fold=fold, regions=regions, cells=cells)
    data = bounding_box(layers.latitude, layers.longitude)
    metres = float(manifest.settings.get("buffer_m") or 0.0) if buffer_m is None else buffer_m
    # Longitudes eastward from the western edge: nothing is torn apart at 180°.
    x, y = data.west + data.eastward(layers.longitude), layers.latitude
    middle = float(np.clip((data.south + data.north) / 2, -80, 80))
    with mpl.rc_context(figures.STYLE):
        figure = Figure(figsize=(8.4, 7.0), layout="constrained", dpi=150)
        axes = figure.add_subplot()
        axes.grid(False)
        axes.set_aspect(1 / np.cos(np.radians(middle)))
        _draw_cells(axes, layers)
        if metres > 0:
            _draw_buffer(axes, x[layers.part == PARTS[TEST]], y[layers.part == PARTS[TEST]], metres)
        _draw_points(axes, x, y, layers)
        _draw_boxes(axes, layers.boxes, data)
        _finish(axes, middle, metres)
        which = f", fold {fold + 1} of {manifest.folds}" if manifest.folds > 1 else ""
        made = "; simulated observations" if table.origin.get("simulated") else ""
        axes.set_title(f"{len(table):,} observations, split “{manifest.regime}”{which}{made}")
    return figure


def _draw_points(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], layers: Layers) -> None:
    generator = np.random.default_rng(0)  # which of too many points are drawn; nothing is measured on them
    tested = 0
    for order, (name, rows) in enumerate(layers.kinds().items()):
        if name.startswith(PARTS[TEST]):
            colour, marker = _TESTS[tested % len(_TESTS)]
            size, edge, tested = 26.0, "white", tested + 1
        else:
            colour, marker, size, edge = _style(name)
        drawn = rows if len(rows) <= _MOST_POINTS else generator.choice(rows, _MOST_POINTS, replace=False)
        label = f"{name} ({len(rows):,}" + (f", {_MOST_POINTS:,} drawn)" if len(drawn) < len(rows) else ")")
        axes.scatter(x[drawn], y[drawn], s=size if len(drawn) <= _MOST_VECTORS else 2.0, c=colour, marker=marker,
                     edgecolors=edge or None, linewidths={"none": 0.0, "": 0.7}.get(edge, 0.4), label=label,
                     zorder=3 + order, rasterized=len(drawn) > _MOST_VECTORS)


def _style(name: str) -> tuple[str, str, float, str]:
    # Colour, mark, area in square points, edge ("": the mark is all edge).
    return {PARTS[TRAIN]: (_TRAIN_COLOUR, "o", 7.0, "none"), LEFT_OUT: (_LEFT_OUT_COLOUR, "x", 9.0, ""),
            PARTS[VALIDATION]: (figures.SKY, "^", 18.0, "white"),
            PARTS[HOLDOUT]: (figures.YELLOW, "*", 30.0, figures.GREY)}[name]


def _draw_cells(axes: Axes, layers: Layers) -> None:
    if layers.rings:
        axes.add_collection(PolyCollection(list(layers.rings.values()), facecolors="none", edgecolors="#D8DDE1",
                                           linewidths=0.5, zorder=1), autolim=False)


def _draw_buffer(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], metres: float) -> None:
    high = 2 * metres / 1000 / _KM_PER_DEGREE
    wide = high / np.maximum(np.cos(np.radians(y)), 0.01)
    axes.add_collection(EllipseCollection(wide, np.full(len(x), high), np.zeros(len(x)), units="xy",
                                          offsets=np.column_stack([x, y]), offset_transform=axes.transData,
                                          facecolors=_BUFFER_COLOUR, edgecolors="none", zorder=0.5,
                                          rasterized=len(x) > _MOST_VECTORS), autolim=False)


def _draw_boxes(axes: Axes, boxes: Iterable[Box], data: Box) -> None:
    for box in boxes:
        west = data.west + float(data.eastward(np.array([box.west + box.width / 2]))[0]) - box.width / 2
        axes.add_patch(Rectangle((west, box.south), box.width, box.north - box.south, fill=False,
                                 edgecolor=figures.BLACK, linewidth=1.2, zorder=20))
        axes.annotate(box.name, (west, box.north), xytext=(0, 3), textcoords="offset points", fontsize=9,
                      color=figures.BLACK, zorder=21, path_effects=[_HALO])


def _finish(axes: Axes, middle: float, metres: float) -> None:
    axes.margins(0.04)
    axes.autoscale_view()
    for axis, signs in ((axes.xaxis, "EW"), (axes.yaxis, "NS")):
        axis.set_major_formatter(FuncFormatter(_degrees(signs)))
        axis.set_major_locator(MaxNLocator(6))
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()
    low -= 0.06 * (high - low)  # room for the scale
    wide_km = (right - left) * _KM_PER_DEGREE * np.cos(np.radians(middle))
    length = _round_length(wide_km / 5)
    degrees = length / (_KM_PER_DEGREE * np.cos(np.radians(middle)))
    x, y = left + 0.03 * (right - left), low + 0.02 * (high - low)
    axes.plot([x, x + degrees], [y, y], color=figures.BLACK, linewidth=3, solid_capstyle="butt", zorder=30)
    axes.annotate(f"{length:g} km" if length >= 1 else f"{1000 * length:g} m", (x + degrees / 2, y), xytext=(0, 4),
                  textcoords="offset points", ha="center", fontsize=9, zorder=30)
    axes.set(xlim=(left, right), ylim=(low, high))
    title = f"buffer around the test: {metres / 1000:g} km" if metres else None
    legend = axes.figure.legend(loc="outside lower center", ncols=3, markerscale=1.3, title=title)
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1.0)


def _degrees(signs: str) -> Any:
    def text(value: float, _: int) -> str:
        around = (value + 180) % 360 - 180 if signs == "EW" else value
        return f"{abs(around):g}°{signs[0] if around > 0 else signs[1] if around < 0 else ''}"

    return text


def _round_length(km: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not above ``km``."""
    power = 10.0 ** np.floor(np.log10(max(km, 1e-6)))
    return float(power * max(step for step in (1, 2, 5) if step * power <= km * (1 + 1e-9)))
