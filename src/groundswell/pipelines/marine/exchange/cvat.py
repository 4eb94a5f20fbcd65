"""marine: CVAT for images 1.1 in and out; others wrote the XML, and defusedxml parses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from groundswell.core.errors import InputError
from groundswell.core.files import write_bytes
from groundswell.core.optional import require
from groundswell.pipelines.marine.exchange.entries import Entry, Findings, Shape, around, numbers, size_of, turned
from groundswell.pipelines.marine.images import ImageSet

_OUTLINES = ("polygon", "polyline")
_SHAPES = frozenset({"box", *_OUTLINES, "points", "cuboid", "ellipse", "mask", "skeleton"})


def parse_xml(data: bytes, where: str) -> Any:
    """The root of an XML file.

    Raises:
        InputError: it is no XML, or has entities or a document type in it.
        MissingExtraError: defusedxml is not installed.
    """
    require("defusedxml.ElementTree", extra="marine", purpose="Reading CVAT's XML")
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    try:
        return fromstring(data, forbid_dtd=True)
    except DefusedXmlException as error:
        raise InputError("The XML has a document type or entities in it, which annotations do not need", where=where,
                         fix="Do not use this file") from error
    except (ParseError, ValueError, LookupError) as error:  # of a wrong encoding, too
        raise InputError(f"Not valid XML: {error}", where=where, fix="Export it again") from error


def read_cvat(data: bytes, where: str, findings: Findings) -> list[Entry]:
    """Images of a CVAT file, with their boxes; an image without any counts as reviewed.

    Raises:
        InputError: it is no XML, not CVAT's, or of a video.
        MissingExtraError: defusedxml is not installed.
    """
    root = parse_xml(data, where)
    if root.tag != "annotations":
        raise InputError(f"This is not CVAT's: its root is <{str(root.tag)[:40]}>", where=where)
    if root.find("track") is not None:
        raise InputError("This is 'CVAT for video'", where=where, fix="Export it as 'CVAT for images 1.1'")
    entries: list[Entry] = []
    for number, image in enumerate(root.iter("image")):
        name = image.get("name")
        if not name:
            findings.add("unreadable", f"{where}: image {number}")
            continue
        entry = Entry(name, stated=size_of(image.get("width"), image.get("height")))
        for shape in image:
            if shape.tag in _SHAPES:
                with findings.of(entry):
                    found = _shape(shape, f"{where}: <{shape.tag}> on {name}", findings)
                if found is not None:
                    entry.shapes.append(found)
        entries.append(entry)
    return entries


def _shape(shape: Any, where: str, findings: Findings) -> Shape | None:
    label = shape.get("label")
    if not label:
        findings.add("unknown_category", where)
        return None
    if shape.tag == "box":
        sides = numbers([shape.get(side) for side in ("xtl", "ytl", "xbr", "ybr")])
        turn = numbers([shape.get("rotation") or 0])
        if sides is None or turn is None:
            findings.add("unreadable", where)
            return None
        left, top, right, bottom = sides
        if turn[0] % 360:
            findings.add("turned_box", where)
            middle = ((left + right) / 2, (top + bottom) / 2)
            return Shape(turned(left, top, right - left, bottom - top, turn[0], centre=middle), label)
        return Shape((left, top, right, bottom), label)
    if shape.tag in _OUTLINES:
        points = numbers((shape.get("points") or "").replace(";", ",").split(","))
        if points is not None and len(points) >= 4 and len(points) % 2 == 0:
            findings.add("outline", where)
            return Shape(around(points), label)
        findings.add("unreadable", where)
        return None
    findings.add("not_a_box", where)
    return None


def write_cvat(images: ImageSet, path: Path) -> None:
    """Write a set's boxes as 'CVAT for images 1.1', to be looked over or corrected there."""
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    task = SubElement(SubElement(root, "meta"), "task")
    SubElement(task, "mode").text = "annotation"
    labels = SubElement(task, "labels")
    for name in images.classes:
        label = SubElement(labels, "label")
        SubElement(label, "name").text = name
        SubElement(label, "type").text = "rectangle"
    rows = images.images[["image", "file", "width", "height"]].itertuples(index=False)
    for number, (name, file, width, height) in enumerate(rows):
        image = SubElement(root, "image", id=str(number), name=Path(file).name, width=str(width), height=str(height))
        drawn = images.annotations(name)
        for box, label_of in zip(drawn.boxes.tolist(), drawn.label.tolist(), strict=True):
            sides = dict(zip(("xtl", "ytl", "xbr", "ybr"), (f"{side:.3f}" for side in box), strict=True))
            SubElement(image, "box", {"label": images.classes[label_of], "source": "manual", "occluded": "0", **sides,
                                      "z_order": "0"})
    indent(root)
    write_bytes(path, tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")
