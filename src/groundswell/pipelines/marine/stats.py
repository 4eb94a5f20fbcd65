"""marine: what a set of images holds, counted by source, priority and class, as tables, charts and sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from groundswell.core.files import atomic_path, write_bytes, write_json
from groundswell.evaluate.figures import BLUE, GREY, panels, png_of
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.species import SpeciesTable, load_species
from groundswell.pipelines.marine.species_checks import PRIORITIES

UNKNOWN = "not in the table"
"""What the priority of a class is called that is no species of the table."""
_MOST_BARS = 40
_COLUMNS = ("images", "boxes", "clips")


def count(images: ImageSet, species: SpeciesTable | None = None) -> dict[str, pd.DataFrame]:
    """Images, boxes and clips by source, priority, class and clip.

    Returns:
        ``source``, ``priority``, ``class``, ``clip``: each a table with that column first, then ``images`` (of a
        priority or class: that have a box of it), ``boxes`` (regions of many left out) and ``clips``; the first also
        with ``annotated`` and ``negatives`` (images annotated as empty), ``class`` also with ``species``, ``priority``,
        ``share`` of all boxes and ``median_side`` (of a box: the root of its area, pixels). Classes and priorities
        without a box are there, too.
    """
    table = species or load_species()
    frame = images.images.assign(boxes=images.counts())
    by_image = {name: frame.groupby(name, sort=True).agg(
        images=("image", "size"), boxes=("boxes", "sum"), clips=("clip", "nunique"), annotated=("annotated", "sum"),
        negatives=("annotated", lambda a: int((a & (frame.loc[a.index, "boxes"] == 0)).sum()))).reset_index()
        for name in ("source", "clip")}
    boxes = images.boxes[~images.boxes["crowd"]].merge(frame[["image", "clip"]], on="image")
    side = np.sqrt((boxes["right"] - boxes["left"]) * (boxes["bottom"] - boxes["top"]))
    level = [table.priority_of(number) or UNKNOWN for number in images.species]
    boxes = boxes.assign(side=side, **{"class": np.array(images.classes, object)[boxes["label"]],
                                       "priority": np.array(level, object)[boxes["label"]]})
    order = {"class": list(images.classes), "priority": [*PRIORITIES, *([UNKNOWN] if UNKNOWN in level else [])]}
    by_box = {name: boxes.groupby(name).agg(images=("image", "nunique"), boxes=("image", "size"),
                                            clips=("clip", "nunique"), median_side=("side", "median"))
              .reindex(order[name]).rename_axis(name).reset_index() for name in ("priority", "class")}
    for name, rows in by_box.items():
        by_box[name] = rows.assign(**{column: rows[column].fillna(0).astype(np.int64) for column in _COLUMNS})
    total = max(1, int(by_box["class"]["boxes"].sum()))
    by_box["class"] = by_box["class"].assign(species=list(images.species), priority=level,
                                             share=by_box["class"]["boxes"] / total)
    return {**by_image, **by_box}


def write_stats(images: ImageSet, out: Path, species: SpeciesTable | None = None) -> list[str]:
    """Count a set; write ``by_*.csv``, ``stats.json`` and charts (``by_source.png``, ``by_priority.png``,
    ``by_class.png``, ``boxes.png``) into ``out``.

    Returns:
        What is most worth knowing, in sentences.
    """
    out, table = Path(out), species or load_species()
    out.mkdir(parents=True, exist_ok=True)
    counts = count(images, table)
    for name, rows in counts.items():
        with atomic_path(out / f"by_{name}.csv") as path:
            rows.to_csv(path, index=False)
    write_json(out / "stats.json", {
        "images": len(images), "boxes": len(images.boxes), "clips": int(images.images["clip"].nunique()),
        "simulated": images.simulated, "fingerprint": images.fingerprint(),
        **{name: [_plain(row) for row in rows.to_dict("records")] for name, rows in counts.items() if name != "clip"}})
    colours = {**table.colours, UNKNOWN: GREY}
    title = "simulated " if images.simulated else ""
    charts = {
        "by_source": panels([_bars(counts["source"], "source", column, f"{title}{column} by source")
                             for column in ("images", "boxes")]),
        "by_priority": panels([_bars(counts["priority"], "priority", column, f"{title}{column} by priority", colours)
                               for column in ("images", "boxes")]),
        "by_class": _by_class(counts["class"], colours, title),
        "boxes": panels([_boxes_of_images(images, title), _sides(images, title)]),
    }
    for name, figure in charts.items():
        write_bytes(out / f"{name}.png", png_of(figure))
    return [*_sentences(images, counts), f"Tables and charts are in {out}."]


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(key): None if isinstance(value, float) and np.isnan(value) else value for key, value in row.items()}


def _sentences(images: ImageSet, counts: dict[str, pd.DataFrame]) -> list[str]:
    by_class, source = counts["class"], counts["source"]
    annotated, negatives = int(source["annotated"].sum()), int(source["negatives"].sum())
    lines = [f"{'Simulated: ' if images.simulated else ''}{len(images):,} images of {len(counts['clip']):,} clips, "
             f"{annotated:,} annotated ({negatives:,} of them empty), {len(images.boxes):,} boxes of "
             f"{int((by_class['boxes'] > 0).sum())} classes."]
    lines += [f"{row['priority']}: {row['boxes']:,} boxes on {row['images']:,} images of {row['clips']:,} clips."
              for row in counts["priority"].to_dict("records")]
    for clips, what in ((0, "have no box"), (1, "are in one clip only, so they cannot be both learnt and tested"),
                        (2, "are in two clips only, so they cannot be learnt, validated and tested")):
        names = by_class["class"][by_class["clips"] == clips].tolist()
        if names:
            lines.append(f"{len(names)} class(es) {what}: {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}.")
    return lines


def _bars(rows: pd.DataFrame, name: str, column: str, title: str,
          colours: dict[str, str] | None = None) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        labels, values = rows[name].tolist(), rows[column].tolist()
        axes.barh(labels, values, color=[(colours or {}).get(label, BLUE) for label in labels], height=0.65)
        axes.bar_label(axes.containers[0], [f"{value:,}" for value in values], padding=3)  # type: ignore[arg-type]
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(title)

    return draw


def _by_class(rows: pd.DataFrame, colours: dict[str, str], title: str) -> Figure:
    shown = rows.sort_values("boxes", ascending=False, kind="stable").head(_MOST_BARS)
    more = f" (the {_MOST_BARS} commonest of {len(rows)})" if len(rows) > _MOST_BARS else ""
    level = dict(zip(shown["class"], (colours[name] for name in shown["priority"]), strict=True))
    return panels([_bars(shown, "class", column, f"{title}{column} by class{more}", level)
                   for column in ("boxes", "clips")], height=max(2.6, 0.28 * len(shown) + 1.2))


def _boxes_of_images(images: ImageSet, title: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        counts = images.counts()[images.images["annotated"].to_numpy(bool)]
        values = np.bincount(counts) if len(counts) else np.zeros(1)
        axes.bar(np.arange(len(values)), values, color=BLUE, width=0.8)
        axes.set(title=f"{title}annotated images by number of boxes", xlabel="boxes on an image", ylabel="images")
        axes.grid(axis="x", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    return draw


def _sides(images: ImageSet, title: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        sizes = images.images.set_index("image")[["width", "height"]]
        frame = images.boxes.join(sizes, on="image")
        area = (frame["right"] - frame["left"]) * (frame["bottom"] - frame["top"])
        share: Sequence[float] = np.sqrt(area / (frame["width"] * frame["height"])).tolist()
        axes.hist(share, bins=np.linspace(0, 1, 41).tolist(), color=BLUE)
        axes.set(title=f"{title}boxes by size", xlabel="root of the share of the image that a box fills",
                 ylabel="boxes")

    return draw
