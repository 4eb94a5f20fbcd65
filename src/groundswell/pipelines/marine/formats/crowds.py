"""marine: which images of a set can be written in a form that has boxes of single animals alone."""

from __future__ import annotations

from typing import Any

from groundswell.core.errors import InputError
from groundswell.pipelines.marine.images import ImageSet


def rows_without_crowds(images: ImageSet) -> list[dict[str, Any]]:
    """Rows of the table of images, but of those annotated ones that have a region of many: with the region left out
    they would say that there is no animal in it, and with all their boxes left out nothing at all.

    Raises:
        InputError: every image is such a one.
    """
    crowded = frozenset(images.boxes["image"][images.boxes["crowd"].to_numpy(bool)])
    rows = [{str(key): value for key, value in row.items()} for row in images.images.to_dict("records")]
    kept = [row for row in rows if not (row["annotated"] and row["image"] in crowded)]
    if rows and not kept:
        raise InputError("Every image has a region of many, and this form has boxes of single animals alone",
                         where=images.path, fix="Write the set as coco")
    return kept
