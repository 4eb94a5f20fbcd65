"""Put what the reading benchmarks measured, as ``benchmarks/results`` holds it, into docs/reading.md.

A result stands between ``<!-- results: NAME -->`` and ``<!-- end -->``; what has no result there stays as it is.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.reading_files import Cell, every_cell
from benchmarks.reading_targets import markdown, reason, targets

ROOT = Path(__file__).resolve().parents[1]
PAGE, RESULTS = ROOT / "docs" / "reading.md", ROOT / "benchmarks" / "results"
_PLACE = re.compile(r"<!-- results: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)


def _measured(result: dict[str, Any]) -> list[tuple[Cell, dict[str, float]]]:
    known = {cell.name: cell for cell in every_cell()}
    table = next(row["table"] for row in result["rows"] if "table" in row)
    return [(known[entry["cell"]], entry["rates"]) for entry in table]


def table(result: dict[str, Any]) -> str:
    """The large table, with how many of its targets are reached."""
    measured = _measured(result)
    every = [(cell, target) for cell, rates in measured for target in targets(cell, rates)]
    missed = [(cell, target) for cell, target in every if not target.reached]
    lines = [f"{len(every) - len(missed)} of {len(every)} targets are reached.", "", markdown(measured)]
    if missed:
        lines += ["", "Missed, and why:", ""]
        lines += [f"- {cell.name}, {target.text}: {reason(cell, target) or 'not explained yet'}."
                  for cell, target in missed]
    return "\n".join(lines)


def rows(result: dict[str, Any]) -> str:
    """Any other result."""
    lines = ["| what | measured | target | |", "|---|---|---|---|"]
    for row in result["rows"]:
        mark = "" if row.get("reached") is None else "reached" if row["reached"] else "MISSED"
        lines.append(f"| {row['what']} | {row['value']} | {row.get('target', '')} | {mark} |")
    return "\n".join(lines)


def fill(text: str, results: Path) -> str:
    """The page with its results replaced by those in ``results``."""
    def replaced(match: re.Match[str]) -> str:
        path = results / f"{match[1]}.json"
        if not path.exists():
            return match[0]
        result = json.loads(path.read_text("utf-8"))
        shown: Callable[[dict[str, Any]], str] = table if any("table" in row for row in result["rows"]) else rows
        return f"<!-- results: {match[1]} -->\n{shown(result)}\n<!-- end -->"
    return _PLACE.sub(replaced, text)


if __name__ == "__main__":
    PAGE.write_text(fill(PAGE.read_text("utf-8"), Path(sys.argv[1]) if sys.argv[1:] else RESULTS), "utf-8")
