"""das: QuakeML 1.2: events with the times at which they were seen, read and written."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from groundswell.data.quakeml import children, facts_of, parse_events, preferred, text_at

_QUAKEML = "http://quakeml.org/xmlns/quakeml/1.2"
_BED = "http://quakeml.org/xmlns/bed/1.2"
_AUTHORITY = "smi:local"
FACTS = "groundswell detection "
"""What a comment begins with that holds, as JSON, what QuakeML has no place for."""
_EVENT_TYPE = {"earthquake": "earthquake", "quarry_blast": "quarry blast"}


def parse_quakeml(data: bytes, where: Path) -> list[dict[str, Any]]:
    """Events of a QuakeML document, as rows of a catalogue (see ``catalogue.COLUMNS``); times stay ISO 8601 text.

    The preferred origin and magnitude are taken, or else the first. ``start`` is the earliest P pick, or that written
    by :func:`quakeml_of`, which alone also gives ``stop``.

    Args:
        data: the document.
        where: its name, for errors.

    Raises:
        InputError: not XML, declaring entities, or without any event parameters.
    """
    return [_row(event) for event in parse_events(data, where=where, extra="das")]


def _row(event: ET.Element) -> dict[str, Any]:
    row: dict[str, Any] = dict(facts_of(event))
    depth_m = row.pop("depth_m")
    own = {}
    for comment in children(event, "comment"):
        text = text_at(comment, "text")
        if text.startswith(FACTS):
            own = _facts(text.removeprefix(FACTS))
    return row | {"depth_km": float(depth_m) / 1000 if _is_number(depth_m) else "",
                  "start": str(own.get("start") or _first_p(event)),
                  "stop": str(own.get("stop") or own.get("end") or "")}


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


def _first_p(event: ET.Element) -> str:
    """The earliest pick that it or an arrival of the preferred origin calls P; empty where there is none."""
    origin = preferred(event, "origin")
    phase = {pick.get("publicID"): text_at(pick, "phaseHint") for pick in children(event, "pick")}
    for arrival in children(origin, "arrival") if origin is not None else []:
        phase[text_at(arrival, "pickID")] = text_at(arrival, "phase")
    times = [text_at(pick, "time", "value") for pick in children(event, "pick")
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
