"""marine: the page of a choice: each chosen image with what the detector saw on it, and why it was chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.evaluate.report import embed
from groundswell.pipelines.marine.exchange.package import thumbnail
from groundswell.pipelines.marine.image_files import encode
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.recipe import SelectRecipe
from groundswell.pipelines.marine.selecting.uncertainty import CRITERIA

SHOWN = 120
"""Images on a page; the table beside it has all."""
_EDGE = 320
_WORDS = {
    "entropy": ("undecided scores", "entropy of the scores of boxes in the band, bits, mean over those boxes"),
    "least_confidence": ("even the surest box is unsure", "one minus the score of the surest box, if it reaches the "
                         "band"),
    "margin": ("two classes are nearly as likely", "one minus the difference between a box's two likeliest classes, "
               "mean over boxes"),
    "variation": ("scores change when mirrored or darkened", "change of the scores of boxes in the mirrored and the "
                  "darkened image, mean over boxes"),
    "critical": ("perhaps a critical species", "highest score of a critical species"),
    "rarity": ("perhaps a rare class", "highest score of a class times how rare it is in the training part"),
}
"""Why an image was chosen, and what is measured."""


def selection_page(pool: ImageSet, classes: tuple[str, ...], recipe: SelectRecipe, rows: pd.DataFrame,
                   table: pd.DataFrame, shares: NDArray[np.float64], lines: Sequence[str]) -> str:
    """The page, self-contained.

    Args:
        pool: the images.
        classes: of the detector.
        recipe: of the choice.
        rows: what was found on the chosen images (``scoring.score_pool``), in the order of the choice.
        table: the choice, a row for each of them.
        shares: what each criterion adds to each score, (images, criteria).
        lines: sentences on top.
    """
    loader = ChoiceLoader([PackageLoader("groundswell.pipelines.marine"), PackageLoader("groundswell.evaluate")])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True)
    weights = [float(getattr(recipe, name)) for name in CRITERIA]
    return environment.get_template("selection.html.j2").render(
        title="What to annotate next", lines=lines, simulated=pool.simulated, band=recipe.band,
        criteria=[{"name": name, "weight": weight, "says": _WORDS[name][1], "mean": float(table[name].mean())}
                  for name, weight in zip(CRITERIA, weights, strict=True)],
        clips=_counted(table["clip"]), expected=_expected(rows, classes, recipe.band[0]),
        cards=_cards(pool, classes, recipe, rows, table, shares), hidden=max(0, len(table) - SHOWN))


def why(shares: NDArray[np.float64], cluster: int) -> str:
    """Why an image was chosen, by what its criteria add to its score, (criteria,)."""
    order = [k for k in np.argsort(-shares, kind="stable")[:2] if shares[k] > 0]
    return "; ".join(_WORDS[CRITERIA[k]][0] for k in order) or f"for variety: cluster {cluster + 1}"


def _counted(clips: pd.Series[Any], most: int = 40) -> list[tuple[str, int]]:
    return [(str(name), int(count)) for name, count in clips.value_counts(sort=True).head(most).items()]


def _expected(rows: pd.DataFrame, classes: tuple[str, ...], low: float) -> list[tuple[str, int]]:
    """How many boxes of each class reach the band on the chosen images."""
    label = np.concatenate([np.asarray(one, np.int64) for one in rows["box_label"]])
    score = np.concatenate([np.asarray(one, np.float64) for one in rows["box_score"]])
    return list(zip(classes, np.bincount(label[score >= low], minlength=len(classes)).tolist(), strict=True))


def _cards(pool: ImageSet, classes: tuple[str, ...], recipe: SelectRecipe, rows: pd.DataFrame, table: pd.DataFrame,
           shares: NDArray[np.float64]) -> Iterator[dict[str, Any]]:
    """What the page shows of each image, one at a time; one that has become unreadable is left out."""
    for at, (found, chosen) in enumerate(zip(rows.head(SHOWN).to_dict("records"),
                                             table.head(SHOWN).to_dict("records"), strict=True)):
        try:
            image = pool.read(str(found["image"]))
        except InputError:
            continue
        score, label = np.asarray(found["box_score"]), np.asarray(found["box_label"], np.int64)
        boxes = np.asarray(found["boxes"], np.float64).reshape(-1, 4)
        yield {"image": found["image"], "rank": chosen["rank"], "cluster": chosen["cluster"] + 1,
               "score": chosen["score"], "why": why(shares[at], int(chosen["cluster"])),
               "width": image.shape[1], "height": image.shape[0],
               "source": embed(encode(thumbnail(image, _EDGE)), "jpeg"),
               "boxes": [{"left": box[0], "top": box[1], "width": box[2] - box[0], "height": box[3] - box[1],
                          "name": f"{classes[k]} {s:.2f}", "sure": s > recipe.band[1]}
                         for box, k, s in zip(boxes, label, score, strict=True) if s >= recipe.band[0]]}
