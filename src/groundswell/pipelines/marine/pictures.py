"""marine: pictures of images with boxes: true ones and found ones, and sheets of crops to look at."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from groundswell.core.files import write_bytes
from groundswell.data.table import SampleTable
from groundswell.evaluate.report import Picture
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.labels import ClassMap
from groundswell.pipelines.marine.recipe import MarineRecipe

_TRUE, _FOUND = "#35d07f", "#ffb000"
_MARGIN = 20  # pixels around a crop


def figure_with(count: int, columns: int, width: float = 3.2, height: float = 3.4) -> tuple[Any, list[Any]]:
    """A figure of ``count`` panels without axes."""
    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    panels = list(np.atleast_1d(figure.subplots(rows, columns)).ravel())
    for panel in panels:
        panel.set_axis_off()
    return figure, panels[:count]


def png_of(figure: Any, dpi: int = 110) -> bytes:
    """A figure as PNG, the same bytes for the same picture."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def draw_boxes(panel: Any, boxes: NDArray[Any], names: Sequence[str], colour: str, *, dashed: bool = False) -> None:
    """Draw boxes (n, 4) in pixels, each with its name, on a panel that shows the image."""
    from matplotlib.patches import Rectangle

    for (left, top, right, bottom), name in zip(boxes, names, strict=True):
        panel.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=1.4,
                                  linestyle="--" if dashed else "-"))
        if name:
            panel.text(left, bottom + 2 if dashed else top - 2, name, color="black", fontsize=6.5,
                       va="top" if dashed else "bottom", clip_on=True,
                       bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.8, "alpha": 0.85})


def example_pictures(recipe: MarineRecipe, images: ImageSet, told: ClassMap, table: SampleTable, evaluation: Any, *,
                     most: int = 9) -> list[Picture]:
    """Tested images of as many clips as there are, with the true boxes and those found from the counting score on."""
    predictions, level = evaluation.predictions["model"], recipe.evaluate.count_at
    group = dict(zip(table.column("sample_id"), table.groups(), strict=True))
    chosen = _spread([str(name) for name in predictions.sample_id], group, most)
    if not chosen:
        return []
    figure, panels = figure_with(len(chosen), 3)
    for panel, row in zip(panels, chosen, strict=True):
        name = str(predictions.sample_id[row])
        panel.imshow(images.read(name))
        true = told.applied(images.annotations(name))
        draw_boxes(panel, true.boxes, [told.names[k] if k >= 0 else "" for k in true.label], _TRUE, dashed=True)
        boxes, score, label = predictions.of_image(row)
        sure = score >= level
        draw_boxes(panel, boxes[sure], [f"{told.names[k]} {s:.2f}" for k, s in
                                        zip(label[sure], score[sure], strict=True)], _FOUND)
        panel.set_title(f"{group[name]}: {name}"[:44], fontsize=7)
    made = "Simulated images. " if images.simulated else ""
    return [Picture(png_of(figure), f"{made}Tested images: true boxes dashed and green, found ones (score from "
                    f"{level:g}) orange.", "Images of the test part with boxes drawn around animals")]


def _spread(names: list[str], group: dict[str, str], most: int) -> list[int]:
    by_group: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        by_group.setdefault(group[name], []).append(row)
    rounds = max((len(rows) for rows in by_group.values()), default=0)
    each = max(1, most // max(len(by_group), 1))
    # Of each clip the images are taken at equal distances: neighbours look alike.
    picks = [[rows[len(rows) * k // each] for k in range(min(each, len(rows)))] for rows in by_group.values()]
    turns = [pick[k] for k in range(rounds) for pick in picks if k < len(pick)]
    return turns[:most]


def crops_sheet(images: ImageSet, crops: Sequence[tuple[str, tuple[float, float, float, float], str]],
                path: Path) -> None:
    """Crops of images around boxes with a line of text each, as one PNG."""
    figure, panels = figure_with(len(crops), min(6, len(crops)), 1.9, 2.1)
    for panel, (name, (left, top, right, bottom), text) in zip(panels, crops, strict=True):
        image = images.read(name)
        x, y = max(0, int(left) - _MARGIN), max(0, int(top) - _MARGIN)
        panel.imshow(image[y:int(bottom) + _MARGIN, x:int(right) + _MARGIN])
        draw_boxes(panel, np.array([[left - x, top - y, right - x, bottom - y]]), [""], _FOUND)
        panel.set_title(text if len(text) < 34 else text[:32] + "…", fontsize=5.5)
    write_bytes(path, png_of(figure, 130))
