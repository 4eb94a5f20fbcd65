"""das: one file looked at: its records, each with its health, or the reason why there are none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from groundswell.core.errors import GroundswellError
from groundswell.pipelines.das import formats
from groundswell.pipelines.das.formats.health import Health, examine
from groundswell.pipelines.das.record import Record


@dataclass(frozen=True)
class Looked:
    """One file: its records, each with its health where its values were looked at, or why there are none."""

    path: Path
    records: tuple[tuple[Record, Health | None], ...] = ()
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"path": str(self.path), "reason": self.reason,
                "records": [[formats.to_json(record), health and asdict(health)] for record, health in self.records]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Looked:
        """What :meth:`to_json` wrote."""
        records = tuple((formats.from_json(record), Health(**health) if health else None)
                        for record, health in values["records"])
        return cls(Path(values["path"]), records, values["reason"])


def look_at(path: Path, *, health: bool) -> Looked:
    """Look into one file; whatever is wrong with it becomes the reason. Health changes verdicts that were ``ok``."""
    try:
        records = formats.find_records(path)
        return Looked(path, tuple(_with_health(record) if health else (record, None) for record in records))
    except GroundswellError as error:
        return Looked(path, reason=error.what)
    except OSError as error:
        return Looked(path, reason=f"The file cannot be read: {error.strerror or error}")
    except Exception as error:  # a file that no reader foresaw must not end the scan of an archive
        return Looked(path, reason=f"The file cannot be read ({type(error).__name__}: {error})")


def _with_health(record: Record) -> tuple[Record, Health | None]:
    if record.kind == "unreadable" or not record.samples or not record.channels or not record.dtype:
        return record, None
    reader = formats.open_reader(record)
    try:
        found = examine(reader)
    except GroundswellError as error:
        return replace(record, verdict=error.what, format="", kind="unreadable"), None
    finally:
        reader.close()
    return (replace(record, verdict=found.verdict(record.channels)) if record.verdict == "ok" else record), found
