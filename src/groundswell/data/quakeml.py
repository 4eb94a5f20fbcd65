"""data: QuakeML 1.2, as much of it as event catalogues need; others wrote the XML, and defusedxml parses it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from groundswell.core.errors import InputError
from groundswell.core.optional import require


def parse_events(data: bytes, *, where: str | Path, extra: str) -> list[ET.Element]:
    """The events of a QuakeML document, in its order; for :func:`facts_of` and the helpers beside it.

    Args:
        data: the document.
        where: its name, for errors.
        extra: which extra of Groundswell brings defusedxml to whoever asks.

    Raises:
        InputError: not XML, declaring entities, or without any event parameters.
        MissingExtraError: defusedxml is not installed.
    """
    xml = require("defusedxml.ElementTree", extra=extra, purpose="Reading QuakeML")
    try:
        root = xml.fromstring(data)
    except (ET.ParseError, LookupError) as error:  # an encoding that nobody knows is a LookupError
        raise InputError(f"The catalogue cannot be read as XML: {error}", where=where) from error
    except ValueError as error:  # what defusedxml refuses
        raise InputError(f"The catalogue cannot be read as XML safely: it declares entities ({error})",
                         where=where, fix="Take the declarations (<!DOCTYPE ...>) out") from error
    parameters = [e for e in root.iter() if _name(e) == "eventParameters"]
    if not parameters:
        raise InputError("This XML file is not QuakeML: it has no eventParameters", where=where)
    return [e for whole in parameters for e in children(whole, "event")]


def facts_of(event: ET.Element) -> dict[str, str]:
    """What a catalogue needs of an event, by its preferred origin and magnitude, or else the first of each.

    Returns:
        ``event_id`` (the end of the publicID), ``time`` (ISO 8601), ``latitude``, ``longitude`` (degrees), ``depth_m``,
        ``magnitude`` and ``kind`` (the event's type): text as it stands in the document, empty where there is none.
    """
    origin, magnitude = preferred(event, "origin"), preferred(event, "magnitude")
    return {"event_id": str(event.get("publicID", "")).rpartition("/")[2], "time": text_at(origin, "time", "value"),
            "latitude": text_at(origin, "latitude", "value"), "longitude": text_at(origin, "longitude", "value"),
            "depth_m": text_at(origin, "depth", "value"), "magnitude": text_at(magnitude, "mag", "value"),
            "kind": text_at(event, "type")}


def preferred(event: ET.Element, kind: str) -> ET.Element | None:
    """The event's preferred ``origin`` or ``magnitude``; the first where none is preferred or that one is missing."""
    candidates = children(event, kind)
    wanted = text_at(event, f"preferred{kind.capitalize()}ID")
    chosen = [c for c in candidates if wanted and c.get("publicID") == wanted] or candidates
    return chosen[0] if chosen else None


def children(element: ET.Element, name: str) -> list[ET.Element]:
    """Elements of a name directly in ``element``, whatever their namespace."""
    return [child for child in element if _name(child) == name]


def text_at(element: ET.Element | None, *path: str) -> str:
    """Text at a path of element names, without the spaces around it; empty where there is none."""
    for name in path:
        found = children(element, name) if element is not None else []
        element = found[0] if found else None
    return (element.text or "").strip() if element is not None else ""


def _name(element: ET.Element) -> str:
    return str(element.tag).rpartition("}")[2]
