"""marine: what was done to images, which a form has no place for: written beside its own keys, read back and compared.

A detector in use corrects images as those were that it learnt from, so that this may not be lost on the way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from groundswell.core.errors import InputError
from groundswell.core.files import parse_json
from groundswell.pipelines.marine.formats.listing import Listing
from groundswell.pipelines.marine.prepare.preparing import UNDERWATER, recipe_of

OURS = "groundswell"
"""Key of what others do not know, in COCO's ``info`` and in YOLO's description."""


def with_preparation(preparation: Mapping[str, Any]) -> dict[str, Any]:
    """What is added to the keys of a form; nothing where nothing was done."""
    return {OURS: {"preparation": dict(preparation)}} if preparation else {}


def preparation_in(value: Any, where: Path) -> dict[str, Any]:
    """What :func:`with_preparation` added to these keys; empty where it did not.

    Raises:
        InputError: it cannot be used.
    """
    ours = value.get(OURS) if isinstance(value, dict) else None
    return checked(ours.get("preparation"), where) if isinstance(ours, dict) else {}


def checked(preparation: Any, where: Path) -> dict[str, Any]:
    """A preparation out of somebody's file, as JSON holds it; None is none.

    Raises:
        InputError: it cannot be used.
    """
    try:
        text = json.dumps(preparation or {}, allow_nan=False)
        found = parse_json(text)
        if not isinstance(found, dict):
            raise TypeError("it is no mapping")
        recipe_of(found)
    except (TypeError, ValueError, RecursionError, InputError) as error:
        told = error.what if isinstance(error, InputError) else error
        raise InputError(f"What it says of the preparation of its images cannot be used: {told}", where=where,
                         fix="Take the file as it was written") from error
    return found


def shared_preparation(listings: Sequence[Listing]) -> dict[str, Any]:
    """What was done to the images of all places. Of which set they were corrected is left out where it differs.

    Raises:
        InputError: images of one place were not prepared as those of another.
    """
    there = [listing for listing in listings if listing.items]
    for other in there[1:]:
        if _done(other.preparation) != _done(there[0].preparation):
            raise InputError("These images are not prepared as those of the first place: one correction for all of a "
                             "set is what a detector learns from", where=other.path,
                             fix=f"Make a set of them alone, apart from {there[0].path}, and prepare it likewise")
    alike = all(listing.preparation == there[0].preparation for listing in there)
    return {} if not there else there[0].preparation if alike else _done(there[0].preparation)


def _done(preparation: Mapping[str, Any]) -> dict[str, Any]:
    """A preparation without the set that it was made of."""
    known = preparation.get(UNDERWATER)
    if not isinstance(known, dict):
        return dict(preparation)
    return {**preparation, UNDERWATER: {key: value for key, value in known.items() if key != "of"}}
