"""marine: Label Studio's JSON in and out: boxes in percent of the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from groundswell.core.errors import InputError
from groundswell.core.files import write_json
from groundswell.pipelines.marine.exchange.entries import Entry, Findings, Shape, around, numbers, size_of, turned
from groundswell.pipelines.marine.images import ImageSet

_NAMES = ("rectanglelabels", "polygonlabels", "labels")
"""Types of results that are named boxes or outlines, and under which key their names stand."""
_BARE = ("rectangle", "polygon")
_SHAPES = frozenset({"brushlabels", "ellipselabels", "keypointlabels", "brush", "ellipse", "keypoint", "videorectangle",
                     *_BARE})
_GEOMETRY = frozenset({"x", "y", "points", "rle", "sequence", "vertices"})
"""Keys of a value that is drawn on the image, whatever its type."""


def is_labelstudio(value: Any) -> bool:
    """Whether this JSON is an export of Label Studio."""
    return isinstance(value, list) and all(isinstance(row, dict) for row in value) and any(
        isinstance(row.get("data"), dict) for row in value)


def read_labelstudio(value: Any, where: str, findings: Findings) -> list[Entry]:
    """Images of an export, with their boxes. A task with an annotation that has no result is an image without
    animals; one without an annotation, or that was skipped, is not reviewed. Predictions are no annotations.

    Raises:
        InputError: it is no such export.
    """
    if not is_labelstudio(value):
        raise InputError("This is not Label Studio's JSON: it is no list of tasks with 'data'", where=where,
                         fix="Export as JSON, not as JSON-MIN")
    entries: list[Entry] = []
    for number, task in enumerate(value):
        name = _image(task.get("data"))
        drawn = task.get("annotations", task.get("completions"))
        if not name or not isinstance(drawn, list):
            findings.add("unreadable", f"{where}: task {number}")
            continue
        done = [one for one in drawn if isinstance(one, dict) and isinstance(one.get("result"), list)
                and not one.get("was_cancelled")]
        entry = Entry(name, unit=(100.0, 100.0), reviewed=bool(done))
        if len(done) > 1:
            findings.add("several_annotators", f"{where}: {name}")
        if done:
            latest = max(enumerate(done), key=lambda pair: (str(pair[1].get("updated_at") or ""), pair[0]))[1]
            drawn_as = _regions(latest["result"])
            with findings.of(entry):
                for result in drawn_as:
                    _add(entry, result, f"{where}: task {number}, {name}", findings)
        entries.append(entry)
    return entries


def _image(data: Any) -> str:
    """The name of a task's file, out of whatever address it has."""
    if not isinstance(data, dict):
        return ""
    found = data.get("image") or next((text for key, text in sorted(data.items()) if isinstance(text, str)
                                       and text.lower().endswith((".jpg", ".jpeg", ".png"))), "")
    if not isinstance(found, str):
        return ""
    try:
        address = urlsplit(found)
        local = parse_qs(address.query).get("d", [""])[0]  # its local files have their path there
    except ValueError:  # brackets that hold no address
        return ""
    return local or unquote(address.path)


def _regions(results: list[Any]) -> list[Any]:
    """Results, without the bare shapes whose names stand in another result of the same id: what an interface with
    ``<Rectangle>`` and ``<Labels>`` writes for one box."""
    named = {result.get("id") for result in results if isinstance(result, dict) and result.get("type") == "labels"
             and isinstance(result.get("id"), str)}
    return [result for result in results if not (isinstance(result, dict) and result.get("type") in _BARE
                                                 and result.get("id") in named)]


def _add(entry: Entry, result: Any, where: str, findings: Findings) -> None:
    if not isinstance(result, dict) or not isinstance(result.get("value"), dict):
        findings.add("unreadable", where)
        return
    value = result["value"]
    entry.stated = entry.stated or size_of(result.get("original_width"), result.get("original_height"))
    names = next((value[key] for key in _NAMES if value.get(key)), None)
    if result.get("type") not in _NAMES:
        if _GEOMETRY & set(value) or result.get("type") in _SHAPES:
            findings.add("not_a_box", where)
        return  # choices and texts for the whole image are not ours
    if not isinstance(names, list) or not names:
        findings.add("unknown_category", where)
        return
    box = _box(value, entry.stated, where, findings)
    if box is None:
        findings.add("unreadable", where)
    else:
        entry.shapes.append(Shape(box, str(names[0])))


def _box(value: dict[str, Any], stated: tuple[float, float] | None, where: str,
         findings: Findings) -> tuple[float, float, float, float] | None:
    """Left, top, right, bottom in percent."""
    if isinstance(value.get("points"), list):
        flat = numbers([side for point in value["points"] if isinstance(point, list) for side in point])
        if flat is None or len(flat) < 4 or len(flat) % 2:
            return None
        findings.add("outline", where)
        return around(flat)
    sides = numbers([value.get(key) for key in ("x", "y", "width", "height")])
    turn = numbers([value.get("rotation") or 0])
    if sides is None or turn is None:
        return None
    left, top, width, height = sides
    if not turn[0] % 360:
        return left, top, left + width, top + height
    findings.add("turned_box", where)
    # A turn keeps lengths in pixels, not in percent, and it is about the corner.
    across, down = stated or (1.0, 1.0)
    corner = (left * across, top * down)
    found = turned(*corner, width * across, height * down, turn[0], centre=corner)
    return found[0] / across, found[1] / down, found[2] / across, found[3] / down


def write_labelstudio(images: ImageSet, path: Path, *, prefix: str = "") -> None:
    """Write a set's boxes as Label Studio's JSON, to be looked over or corrected there.

    Args:
        images: the set.
        path: the file.
        prefix: what stands before a file's name in its address, such as ``/data/local-files/?d=images/``.
    """
    tasks: list[dict[str, Any]] = []
    rows = images.images[["image", "file", "width", "height", "annotated"]].itertuples(index=False)
    for number, (name, file, width, height, annotated) in enumerate(rows, start=1):
        drawn = images.annotations(name)
        scale = (100 / width, 100 / height)
        result = [{
            "id": f"{number}-{place}", "type": "rectanglelabels", "from_name": "label", "to_name": "image",
            "original_width": int(width), "original_height": int(height), "image_rotation": 0,
            "value": {"x": left * scale[0], "y": top * scale[1], "width": (right - left) * scale[0],
                      "height": (bottom - top) * scale[1], "rotation": 0, "rectanglelabels": [images.classes[label]]},
        } for place, ((left, top, right, bottom), label) in enumerate(
            zip(drawn.boxes.tolist(), drawn.label.tolist(), strict=True))]
        tasks.append({"id": number, "data": {"image": prefix + Path(file).name},
                      "annotations": [{"id": number, "result": result, "was_cancelled": False}] if annotated else []})
    write_json(path, tasks)
