"""marine: images and boxes as others keep them: COCO, YOLO and Pascal VOC, in and out, and plain folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from groundswell.core.errors import InputError

if TYPE_CHECKING:
    from groundswell.pipelines.marine.images import ImageSet


def write_as(images: ImageSet, out: Path, to: str) -> list[str]:
    """Write a set as ``coco``, ``yolo`` or ``voc``; what was written, in sentences.

    YOLO and Pascal VOC have no regions of many. An annotated image with one is left out of them: written without it,
    its animals would be taught as background.

    Raises:
        InputError: another form is asked for, something is at ``out`` already, or an image cannot be read.
    """
    from groundswell.pipelines.marine.formats.coco import write_coco
    from groundswell.pipelines.marine.formats.crowds import rows_without_crowds
    from groundswell.pipelines.marine.formats.voc import write_voc
    from groundswell.pipelines.marine.formats.yolo import write_yolo

    forms: dict[str, Callable[[ImageSet, Path], Path]] = {"coco": write_coco, "yolo": write_yolo, "voc": write_voc}
    if to not in forms:
        raise InputError(f"There is no form '{to}'", where="--to", fix="The forms are coco, yolo and voc")
    images.verify()  # what went bad since it was put there must not be spread
    where = forms[to](images, out)
    if to == "coco":
        return [f"Wrote {len(images):,} images with {len(images.boxes):,} boxes to {where}."]
    rows = rows_without_crowds(images)
    boxes = int(images.counts()[[images.position(row["image"]) for row in rows if row["annotated"]]].sum())
    left_out = len(images) - len(rows)
    lines = [f"Wrote {len(rows):,} images with {boxes:,} boxes to {where}."]
    return [*lines, f"Left out: {left_out:,} image(s) with a region of many, which this form has not: without it the "
            "animals there would be taught as background. COCO has such regions."] if left_out else lines
