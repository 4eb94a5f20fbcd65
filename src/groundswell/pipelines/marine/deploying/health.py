"""marine: whether a deployed model answers as it did where it was packed: one picture, one known answer.

``python -m groundswell.pipelines.marine.deploying.health --model models --health health``; exit status 0 where it does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from groundswell.core.boxes import iou
from groundswell.core.errors import GroundswellError, InputError, RefusedError
from groundswell.core.files import read_json
from groundswell.pipelines.marine.deploying.bundle import ANSWER, PICTURE, answer_on
from groundswell.pipelines.marine.detecting import open_detector
from groundswell.pipelines.marine.image_files import read_image

SCORES = 0.05
"""Largest difference of a score that passes: another processor rounds otherwise, above all at half precision."""
OVERLAP = 0.5
"""Least overlap of a sure box with its like."""


def check_health(model: Path, health: Path) -> str:
    """Look at the picture and compare; a sentence.

    Raises:
        InputError: the model, the picture or the answer is missing or damaged.
        RefusedError: the answer is another one.
    """
    expected = read_json(health / ANSWER)
    detector = open_detector(model)
    found = answer_on(detector, read_image(health / PICTURE))
    try:
        apart = _apart(expected, found)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"The stored answer is damaged: {error!r}", where=health / ANSWER,
                         fix="Install the package again") from error
    if apart:
        raise RefusedError(f"The model does not answer as it did where it was packed: {apart}", where=model,
                           fix="Install the package again; if it stays so, this machine computes otherwise")
    return f"The model answers as it did where it was packed, to {SCORES:g} of a score."


def _apart(expected: dict[str, Any], found: dict[str, Any]) -> str:
    """How two answers differ, or nothing."""
    if expected["classes"] != found["classes"]:
        return "it tells other classes apart"
    before, now = np.array(expected["highest"], float), np.array(found["highest"], float)
    if before.shape != now.shape or not np.abs(before - now).max(initial=0.0) <= SCORES:
        return "the highest scores of its classes are others"
    boxes = np.array(found["boxes"], float).reshape(-1, 6)
    for *box, score, label in expected["boxes"]:
        like = boxes[boxes[:, 5] == label]
        near = iou(np.array([box]), like[:, :4])[0] if len(like) else np.zeros(0)
        # One that was barely sure may be barely unsure now.
        if score >= 0.3 + SCORES and not (near >= OVERLAP).any():
            return f"a box of {expected['classes'][int(label)]} with score {score:.2f} is not found"
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Check; the exit status."""
    parser = argparse.ArgumentParser(prog="health", description="Whether a deployed model answers as it should.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--health", type=Path, required=True, help="folder with picture.png and answer.json")
    given = parser.parse_args(arguments)
    try:
        sys.stdout.write(check_health(given.model, given.health) + "\n")
    except GroundswellError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
