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

    Raises:
        InputError: another form is asked for, something is at ``out`` already, or an image cannot be read.
    """
    from groundswell.pipelines.marine.formats.coco import write_coco
    from groundswell.pipelines.marine.formats.voc import write_voc
    from groundswell.pipelines.marine.formats.yolo import write_yolo

    forms: dict[str, Callable[[ImageSet, Path], Path]] = {"coco": write_coco, "yolo": write_yolo, "voc": write_voc}
    if to not in forms:
        raise InputError(f"There is no form '{to}'", where="--to", fix="The forms are coco, yolo and voc")
    images.verify()  # what went bad since it was put there must not be spread
    crowds = int(images.boxes["crowd"].sum()) if to != "coco" else 0
    where = forms[to](images, out)
    lines = [f"Wrote {len(images):,} images with {len(images.boxes) - crowds:,} boxes to {where}."]
    return [*lines, f"{crowds} region(s) of many are left out: this form has none."] if crowds else lines
