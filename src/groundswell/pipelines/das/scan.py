"""das: a table of what is in files and folders: every array found, its facts and health, and every file that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path, shown
from groundswell.pipelines.das import formats
from groundswell.pipelines.das.formats.apart import Apart
from groundswell.pipelines.das.formats.health import Health, read_cost
from groundswell.pipelines.das.formats.looking import Looked
from groundswell.pipelines.das.record import Record
from groundswell.pipelines.das.storage_advice import cost_of, stored_as, told

COLUMNS: dict[str, str] = {
    "path": "str", "dataset": "str", "format": "str", "samples": "Int64", "channels": "Int64", "rate_hz": "float64",
    "spacing_m": "float64", "gauge_m": "float64", "start_time": "datetime64[ns, UTC]", "start_time_known": "str",
    "duration_s": "float64", "axis_order": "str", "axis_order_known": "str", "dtype": "str", "units": "str",
    "kind": "str", "layout": "str", "read_cost": "float64",
    "slow_factor": "float64", "slow_why": "str", "gaps": "Int64", "gap_samples": "Int64",
    "health_share": "float64", "nan_samples": "Int64", "dead_channels": "Int64", "constant_channels": "Int64",
    "saturated_channels": "Int64", "size_bytes": "Int64", "also_holds": "str", "verdict": "str"}
"""Columns of the table and their pandas types; what is not known is missing (or empty text)."""

_AILMENTS = {"nan_samples": "not finite", "dead_channels": "dead", "constant_channels": "constant",
             "saturated_channels": "saturated", "gaps": "gaps"}
Watcher = Callable[[int, int, Path], None]


def look(paths: Sequence[Path], *, health: bool = True, progress: Watcher | None = None) -> Iterator[Looked]:
    """Look into each file in turn. Whatever is wrong with one becomes its reason; the next one follows.

    Files are opened in a process of their own: a damaged one may bring down the library that reads it, not the scan.

    Args:
        paths: files, as :func:`formats.walk` lists them.
        health: read values too, as :func:`~groundswell.pipelines.das.formats.health.examine` does.
        progress: called after each file with files done, files in all, and the file.
    """
    with Apart() as worker:
        for done, path in enumerate(paths, start=1):
            yield worker.look(path, health=health)
            if progress is not None:
                progress(done, len(paths), path)


def scan(inputs: Sequence[Path], *, health: bool = True, progress: Watcher | None = None) -> pd.DataFrame:
    """A table with one row for each array found and one for each file without any.

    A row whose ``format`` is empty could not be read; its ``verdict`` says why. ``verdict`` is ``ok`` for a record that
    can be trained on: a waveform of known rate with finite values, of whose channels at most half are dead, constant or
    saturated. A guessed axis order leaves it ``ok``, marked ``guess`` in ``axis_order_known``.

    Args:
        inputs: files and folders.
        health: read values too; without it their columns are missing, and only records of nothing but zeros are told.
        progress: called after each file with files done, files in all, and the file.

    Returns:
        columns and types of ``COLUMNS``; rows in order of path. ``read_cost`` is bytes touched per byte used for a
        window of 1024 samples; ``slow_factor`` about how many times as long that takes as from a contiguous file, and
        ``slow_why`` what most of it goes to;
        ``health_share`` the part of the record that was looked at.

    Raises:
        InputError: an input does not exist.
    """
    rows: list[dict[str, Any]] = []
    for looked in look(formats.walk(inputs), health=health, progress=progress):
        if looked.reason:
            rows.append({"path": shown(looked.path), "verdict": looked.reason})
        rows += [_row(record, found) for record, found in looked.records]
    return _typed(pd.DataFrame(rows, columns=list(COLUMNS)))


def _row(record: Record, health: Health | None) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(record, name) for name in COLUMNS if name in Record.__dataclass_fields__}
    cost = cost_of(record)
    row |= {"path": str(record.path), "duration_s": record.duration_s, "read_cost": read_cost(record),
            "slow_factor": None if cost is None else cost.factor, "slow_why": "" if cost is None else cost.why,
            "start_time_known": record.detail.get("start_known", ""), "gaps": len(record.gaps),
            "gap_samples": sum(last - first for first, last in record.gaps),
            "also_holds": ", ".join(record.detail.get("also", ()))}
    if health is not None:
        row |= {"health_share": health.share, "nan_samples": health.nan_samples,
                "dead_channels": health.dead_channels, "constant_channels": health.constant_channels,
                "saturated_channels": health.saturated_channels}
    return row


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    kind: Any  # the stubs know types by literal name only
    for name, kind in COLUMNS.items():
        if kind == "str":
            frame[name] = frame[name].astype(object).where(frame[name].notna(), "").astype(str)
        elif kind.startswith("datetime"):
            frame[name] = pd.to_datetime(frame[name], utc=True).astype(kind)
        else:
            frame[name] = pd.to_numeric(frame[name]).astype(kind)
    return frame


def bad_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows that are not ok: arrays not to be trained on, and files that could not be read (those have no format)."""
    return frame[frame["verdict"] != "ok"]


def storage_advice(frame: pd.DataFrame, folder: Path) -> list[str]:
    """Lines that name records whose storage makes them slow to read, and the command that mends it.

    Args:
        frame: of :func:`scan`.
        folder: that was scanned, for the command.
    """
    fit = frame[(frame["verdict"] == "ok") & (frame["kind"] == "waveform")]
    return told([(row["path"], stored_as(row["layout"], row["axis_order"], row["dtype"]), float(row["slow_factor"]),
                  row["slow_why"]) for _, row in fit.iterrows()], folder)


def check_suffix(path: Path) -> None:
    """See that the table can be written in the form that the suffix says; a scan may take hours.

    Raises:
        InputError: it is neither .parquet nor .csv.
    """
    if path.suffix not in (".parquet", ".csv"):
        raise InputError(f"A table is written as .parquet or .csv, not '{path.suffix}'", where=path,
                         fix="Give the file one of these suffixes")


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write the table as its suffix says: .parquet or .csv.

    Raises:
        InputError: another suffix, or a folder that cannot be written to.
    """
    path = Path(path)
    check_suffix(path)
    with atomic_path(path) as temporary:
        if path.suffix == ".parquet":
            frame.to_parquet(temporary, index=False)
        else:
            frame.to_csv(temporary, index=False)


def render(frame: pd.DataFrame) -> Table:
    """The table for a terminal, two lines an array so that 80 columns do. Guesses carry a question mark."""
    title = f"{len(frame)} arrays, {len(bad_rows(frame))} not ok"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("file\nformat", "samples × channels\nrate, spacing, gauge", "start (UTC)\naxes",
                    "stored as\nread cost", "verdict\nhealth"):
        table.add_column(heading, overflow="fold", no_wrap=heading.startswith("start"))
    several = frame["path"].duplicated(keep=False)
    for number, (_, row) in enumerate(frame.iterrows()):
        inner = f" {row['dataset']}" if several.iloc[number] else ""
        style = "" if row["verdict"] == "ok" else "yellow" if row["format"] else "red"
        cells = [f"{Path(row['path']).name}\n{row['format']}{inner}", _array(row),
                 f"{_start(row)}\n{row['axis_order']}{' ?' if row['axis_order_known'] == 'guess' else ''}",
                 f"{row['dtype']}, {row['layout']}".strip(", ") + f"\n{_number(row['read_cost'], ' x')}",
                 f"{row['verdict']}\n{_health(row)}"]
        table.add_row(*(Text(cell.strip("\n")) for cell in cells), style=style)  # Text: brackets in names are no markup
    return table


def _number(value: Any, unit: str) -> str:
    return "" if pd.isna(value) else f"{value:.4g}{unit}"


def _array(row: pd.Series[Any]) -> str:
    if pd.isna(row["samples"]):
        return ""
    facts = [_number(row["rate_hz"], " Hz"), _number(row["spacing_m"], " m"), _number(row["gauge_m"], " m")]
    return f"{row['samples']} × {row['channels']}\n{', '.join(fact for fact in facts if fact)}"


def _start(row: pd.Series[Any]) -> str:
    if pd.isna(row["start_time"]):
        return ""
    return f"{row['start_time']:%Y-%m-%d %H:%M:%S}" + (" ?" if row["start_time_known"] == "file name" else "")


def _health(row: pd.Series[Any]) -> str:
    found = [f"{row[name]} {word}" for name, word in _AILMENTS.items() if not pd.isna(row[name]) and row[name]]
    if not pd.isna(row["health_share"]) and row["health_share"] < 1:
        found.append(f"in {row['health_share']:.1%}")
    return ", ".join(found)
