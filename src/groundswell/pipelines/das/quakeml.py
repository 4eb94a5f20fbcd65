"""das: QuakeML 1.2, as much of it as event catalogues need. XML comes from other people and is parsed by defusedxml."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from groundswell.core.errors import InputError
from groundswell.core.optional import require

_QUAKEML = "http://quakeml.org/xmlns/quakeml/1.2"
_BED = "http://quakeml.org/xmlns/bed/1.2"
_AUTHORITY = "smi:local"
FACTS = "groundswell detection "
"""What a comment begins with that holds, as JSON, what QuakeML has no place for."""
_EVENT_TYPE = {"earthquake": "earthquake", "quarry_blast": "quarry blast"}


def parse_quakeml(path: Path) -> list[dict[str, Any]]:
    """Events of a QuakeML file, as rows of a catalogue (see ``catalogue.COLUMNS``); times stay ISO 8601 text.

    The preferred origin and magnitude are taken, or else the first. ``start`` is the earliest P pick, or that written
    by :func:`quakeml_of`, which alone also gives ``stop``.

    Raises:
        InputError: not readable, not XML, or without any event parameters.
    """
    xml = require("defusedxml.ElementTree", extra="das", purpose="Reading QuakeML")
    try:
        root = xml.parse(path).getroot()
    except FileNotFoundError as error:
        raise InputError("There is no such catalogue", where=path) from error
    except ET.ParseError as error:
        raise InputError(f"The catalogue cannot be read as XML: {error}", where=path) from error
    except OSError as error:
        raise InputError(f"The catalogue cannot be read: {error.strerror}", where=path) from error
    except ValueError as error:  # what defusedxml refuses
        raise InputError(f"The catalogue cannot be read as XML safely: it declares entities ({error})",
                         where=path, fix="Take the declarations (<!DOCTYPE ...>) out") from error
    parameters = [e for e in root.iter() if _name(e) == "eventParameters"]
    if not parameters:
        raise InputError("This XML file is not QuakeML: it has no eventParameters", where=path)
    return [_event(e) for whole in parameters for e in whole if _name(e) == "event"]


def _name(element: ET.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _children(element: ET.Element, name: str) -> list[ET.Element]:
    return [child for child in element if _name(child) == name]


def _text(element: ET.Element | None, *path: str) -> str:
    """Text at a path of element names, empty where there is none."""
    for name in path:
        found = _children(element, name) if element is not None else []
        element = found[0] if found else None
    return (element.text or "").strip() if element is not None else ""


def _preferred(event: ET.Element, kind: str) -> ET.Element | None:
    candidates = _children(event, kind)
    wanted = _text(event, f"preferred{kind.capitalize()}ID")
    chosen = [c for c in candidates if wanted and c.get("publicID") == wanted] or candidates
    return chosen[0] if chosen else None


def _event(event: ET.Element) -> dict[str, Any]:
    origin, magnitude = _preferred(event, "origin"), _preferred(event, "magnitude")
    depth_m = _text(origin, "depth", "value")
    facts = {}
    for comment in _children(event, "comment"):
        text = _text(comment, "text")
        if text.startswith(FACTS):
            facts = _facts(text.removeprefix(FACTS))
    return {"event_id": str(event.get("publicID", "")).rpartition("/")[2], "time": _text(origin, "time", "value"),
            "latitude": _text(origin, "latitude", "value"), "longitude": _text(origin, "longitude", "value"),
            "depth_km": float(depth_m) / 1000 if _is_number(depth_m) else "",
            "magnitude": _text(magnitude, "mag", "value"),
            "kind": _text(event, "type"), "start": str(facts.get("start") or _first_p(event, origin)),
            "stop": str(facts.get("stop") or facts.get("end") or "")}


def _facts(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _first_p(event: ET.Element, origin: ET.Element | None) -> str:
    """The earliest pick that it or an arrival calls P; empty where there is none."""
    phase = {pick.get("publicID"): _text(pick, "phaseHint") for pick in _children(event, "pick")}
    for arrival in _children(origin, "arrival") if origin is not None else []:
        phase[_text(arrival, "pickID")] = _text(arrival, "phase")
    times = [_text(pick, "time", "value") for pick in _children(event, "pick")
             if phase.get(pick.get("publicID"), "").upper().startswith("P")]
    return min((t for t in times if t), default="")


def quakeml_of(events: Iterable[Mapping[str, Any]]) -> bytes:
    """A QuakeML 1.2 document of detected events, as UTF-8.

    An event has a pick at its ``start``, its type (``suspected``), an origin and a magnitude where it has a place and
    one, and one comment with all columns as JSON, so that nothing is lost: QuakeML has no place for an end, channels or
    a probability.
    """
    ET.register_namespace("q", _QUAKEML)
    ET.register_namespace("", _BED)
    root = ET.Element(f"{{{_QUAKEML}}}quakeml")
    made = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    parameters = ET.SubElement(root, f"{{{_BED}}}eventParameters", publicID=f"{_AUTHORITY}/catalogue/{_safe(made)}")
    for event in events:
        _write_event(parameters, event)
    _add(parameters, "creationInfo/creationTime", made)
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _safe(text: str) -> str:
    """``text`` with what a resource identifier cannot hold replaced."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-.") else "_" for c in text)


def _add(parent: ET.Element, path: str, text: Any) -> None:
    """Elements along ``path`` with text in the last one; those but the last are shared."""
    *inner, last = path.split("/")
    for name in inner:
        found = parent.find(f"{{{_BED}}}{name}")
        parent = found if found is not None else ET.SubElement(parent, f"{{{_BED}}}{name}")
    ET.SubElement(parent, f"{{{_BED}}}{last}").text = str(text)


def _write_event(parameters: ET.Element, event: Mapping[str, Any]) -> None:
    name = _safe(str(event["event_id"]))
    element = ET.SubElement(parameters, f"{{{_BED}}}event", publicID=f"{_AUTHORITY}/event/{name}")
    known = {k: v for k, v in event.items() if not (v is None or v == "" or v != v)}
    kind = str(known.get("class", ""))
    if all(k in known for k in ("latitude", "longitude")):
        _add(element, "preferredOriginID", f"{_AUTHORITY}/origin/{name}")
    _add(element, "type", _EVENT_TYPE.get(kind, "not reported"))
    _add(element, "typeCertainty", "suspected")
    _add(element, "description/text", kind.replace("_", " "))
    facts = {k: v.item() if hasattr(v, "item") else v for k, v in known.items()}
    _add(element, "comment/text", FACTS + json.dumps(facts, default=str, sort_keys=True))
    pick = ET.SubElement(element, f"{{{_BED}}}pick", publicID=f"{_AUTHORITY}/pick/{name}")
    _add(pick, "time/value", known["start"])
    ET.SubElement(pick, f"{{{_BED}}}waveformID", networkCode="XX", stationCode="DAS")
    _add(pick, "evaluationMode", "automatic")
    if all(k in known for k in ("latitude", "longitude")):
        origin = ET.SubElement(element, f"{{{_BED}}}origin", publicID=f"{_AUTHORITY}/origin/{name}")
        _add(origin, "time/value", known.get("time", known["start"]))
        _add(origin, "latitude/value", known["latitude"])
        _add(origin, "longitude/value", known["longitude"])
        if "depth_km" in known:
            _add(origin, "depth/value", float(known["depth_km"]) * 1000)
    if "magnitude" in known:
        magnitude = ET.SubElement(element, f"{{{_BED}}}magnitude", publicID=f"{_AUTHORITY}/magnitude/{name}")
        _add(magnitude, "mag/value", known["magnitude"])
