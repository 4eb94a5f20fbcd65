"""das: what is true of a simulated archive: labels, intervals, picks, sources and knobs, written beside the records."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from groundswell.core.files import atomic_path, write_bytes, write_json, write_text
from groundswell.pipelines.das.quakeml import FACTS
from groundswell.pipelines.das.simulate.fibre import Cable
from groundswell.pipelines.das.simulate.recipe import SimulateRecipe
from groundswell.pipelines.das.simulate.record import Signal
from groundswell.pipelines.das.simulate.sources import QUARRY_BLAST

CLASSES = ("earthquake", "quarry_blast")
_QUAKEML = "http://quakeml.org/xmlns/bed/1.2"


@dataclass(frozen=True)
class Placed:
    """One event and the files that hold a part of its interval.

    Attributes:
        signal: the event's signal, its series let go.
        cable: which recorded it.
        clock: UTC of sample 0 of the signal's clock.
        files: (name, first sample, length) of each file, on the signal's clock, in order.
    """

    signal: Signal
    cable: Cable
    clock: np.datetime64
    files: tuple[tuple[str, int, int], ...]


def write_truth(folder: Path, placed: Sequence[Placed], recipe: SimulateRecipe, *, noise: str,
                one_per_file: bool) -> None:
    """Write intervals.csv, picks.parquet, catalogue.csv, catalogue.xml (QuakeML), truth.json and, last, labels.json.

    Args:
        folder: of the archive.
        placed: every event.
        recipe: the knobs.
        noise: what the noise source says of itself.
        one_per_file: whether a file has one class; without it labels.json would say too much and is not written.
    """
    rate_hz = recipe.fibre.rate_hz
    events = [_event_row(item, rate_hz) for item in placed]
    write_text(folder / "intervals.csv", _csv([row for item in placed for row in _interval_rows(item, rate_hz)]))
    write_text(folder / "catalogue.csv", _csv([{key: row[key] for key in _CATALOGUE} for row in events]))
    write_bytes(folder / "catalogue.xml", _quakeml(events))
    _write_picks(folder / "picks.parquet", placed, rate_hz)
    write_json(folder / "truth.json", {
        "simulated": True, "noise": noise, "classes": CLASSES, "recipe": recipe.model_dump(mode="json"),
        "events": events})
    if one_per_file:
        write_json(folder / "labels.json",
                   {name: item.signal.event.label for item in placed for name, _, _ in item.files})


_CATALOGUE = ("event_id", "time", "latitude", "longitude", "depth_km", "magnitude", "type", "label", "onset", "end")


def utc(clock: np.datetime64, seconds: float) -> str:
    """ISO 8601 with milliseconds and ``Z``."""
    return f"{(clock + np.timedelta64(round(seconds * 1e9), 'ns')).astype('datetime64[ms]')}Z"


def _event_row(item: Placed, rate_hz: float) -> dict[str, Any]:
    signal, event, cable = item.signal, item.signal.event, item.cable
    latitude, longitude = cable.on_map(event.east_m, event.north_m)
    middle_east, middle_north = cable.middle_m
    return {
        "event_id": event.event_id, "time": utc(item.clock, signal.origin_s), "latitude": round(float(latitude), 6),
        "longitude": round(float(longitude), 6), "depth_km": round(event.depth_m / 1000, 4),
        "magnitude": round(signal.magnitude, 4), "type": CLASSES[event.label], "label": event.label,
        "onset": utc(item.clock, float(signal.p_s.min())), "end": utc(item.clock, signal.interval[1] / rate_hz),
        "simulated": True, "files": [name for name, _, _ in item.files], "cable": cable.number,
        "distance_km": float(np.hypot(event.east_m - middle_east, event.north_m - middle_north) / 1000),
        "snr_db": event.snr_db, "site_gain_db": signal.site_gain_db, "corner_hz": signal.corner_hz,
        "mechanism_deg": None if event.is_blast else np.degrees(event.mechanism_rad).tolist(),
        "shot_delays_s": event.shot_delays_s.tolist() if event.is_blast else None}


def _interval_rows(item: Placed, rate_hz: float) -> list[dict[str, Any]]:
    """One row for each file that holds a part of the event; start and stop in seconds from the file's first sample."""
    rows = []
    for name, first, length in item.files:
        start, stop = max(item.signal.interval[0] - first, 0), min(item.signal.interval[1] - first, length)
        rows.append({"record": name, "start": round(start / rate_hz, 6), "stop": round(stop / rate_hz, 6),
                     "label": item.signal.event.label, "event_id": item.signal.event.event_id})
    return rows


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write_picks(path: Path, placed: Sequence[Placed], rate_hz: float) -> None:
    """One row for each event and channel: distance along the fibre; P and S in the first file, in s and samples."""
    names = ("event_id", "record", "channel", "distance_m", "p_s", "s_s")
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for item in placed:
        name, first, _ = item.files[0]
        channels = item.cable.channels
        columns["event_id"] += [item.signal.event.event_id] * channels
        columns["record"] += [name] * channels
        columns["channel"] += range(channels)
        columns["distance_m"] += item.cable.distance_m.tolist()
        columns["p_s"] += (item.signal.p_s - first / rate_hz).tolist()
        columns["s_s"] += (item.signal.s_s - first / rate_hz).tolist()
    table = pa.table(columns)
    for name in ("p", "s"):
        samples = np.rint(np.asarray(columns[f"{name}_s"]) * rate_hz).astype(np.int64)
        table = table.append_column(f"{name}_sample", pa.array(samples))
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata({b"simulated": b"true"}), temporary)


def _quakeml(events: Sequence[dict[str, Any]]) -> bytes:
    """The catalogue as QuakeML 1.2, BED profile."""
    root = ElementTree.Element("q:quakeml", {"xmlns:q": "http://quakeml.org/xmlns/quakeml/1.2", "xmlns": _QUAKEML})
    parameters = ElementTree.SubElement(root, "eventParameters", publicID="smi:local/groundswell/simulated")
    for row in events:
        stem = f"smi:local/groundswell/{row['event_id']}"
        event = ElementTree.SubElement(parameters, "event", publicID=stem)
        kind = "quarry blast" if row["label"] == QUARRY_BLAST else "earthquake"
        ElementTree.SubElement(event, "preferredOriginID").text = f"{stem}/origin"
        ElementTree.SubElement(event, "preferredMagnitudeID").text = f"{stem}/magnitude"
        ElementTree.SubElement(event, "type").text = kind
        ElementTree.SubElement(ElementTree.SubElement(event, "comment"), "text").text = "simulated"
        # QuakeML has no place for an event's end at the fibre; without one a reader would have to guess it.
        facts = FACTS + json.dumps({"start": row["onset"], "stop": row["end"]})
        ElementTree.SubElement(ElementTree.SubElement(event, "comment"), "text").text = facts
        origin = ElementTree.SubElement(event, "origin", publicID=f"{stem}/origin")
        for name, value in (("time", row["time"]), ("latitude", row["latitude"]), ("longitude", row["longitude"]),
                            ("depth", 1000 * row["depth_km"])):
            ElementTree.SubElement(ElementTree.SubElement(origin, name), "value").text = str(value)
        magnitude = ElementTree.SubElement(event, "magnitude", publicID=f"{stem}/magnitude")
        ElementTree.SubElement(ElementTree.SubElement(magnitude, "mag"), "value").text = str(row["magnitude"])
        ElementTree.SubElement(magnitude, "type").text = "Mw"
        ElementTree.SubElement(magnitude, "originID").text = f"{stem}/origin"
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text
