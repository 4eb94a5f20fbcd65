"""data: event catalogues in text of other people: any separator, columns of many names, times in ISO 8601."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from groundswell.core.errors import InputError

_SEPARATORS = "|,;\t"


def read_delimited(data: bytes, where: str | Path) -> pd.DataFrame:
    """A catalogue whose first line names its columns, separated by ``|``, comma, semicolon or tab.

    The separator is the one that stands most often in that line.

    Args:
        data: the file.
        where: its name, for errors.

    Returns:
        A frame of text under the columns' own names; empty text where a field is empty.

    Raises:
        InputError: empty, not UTF-8, or a row is longer than the header.
    """
    header = re.split(rb"[\r\n]", data, maxsplit=1)[0].decode("utf-8", "replace")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            return pd.read_csv(io.BytesIO(data), sep=max(_SEPARATORS, key=header.count), dtype=str,
                               keep_default_na=False, skipinitialspace=True, encoding="utf-8-sig", index_col=False)
    except pd.errors.ParserWarning as error:
        raise InputError("The rows of the catalogue have more fields than its header", where=where) from error
    except ValueError as error:
        raise InputError(f"The catalogue cannot be read: {error}", where=where) from error


def plain_name(column: object) -> str:
    """A column's name in small letters, without spaces around it and with underscores for those within."""
    return str(column).strip().lower().replace(" ", "_")


def find_columns(columns: Iterable[str], called: Mapping[str, Sequence[str]]) -> dict[str, str | None]:
    """Which column goes by one of the names that others call ours by; the earlier name wins.

    Args:
        columns: of the file, as they are written.
        called: plain names (see :func:`plain_name`) by our name.

    Returns:
        The column as it is written, None where there is none, by our name.
    """
    written = {plain_name(column): column for column in columns}
    return {ours: next((written[name] for name in theirs if name in written), None) for ours, theirs in called.items()}


def take_columns(raw: pd.DataFrame, found: Mapping[str, str | None]) -> pd.DataFrame:
    """The columns that were found, under our names; the others hold empty text.

    Args:
        raw: a frame of text.
        found: as :func:`find_columns` returns it.
    """
    return pd.DataFrame({ours: raw[theirs] if theirs is not None else "" for ours, theirs in found.items()},
                        index=raw.index)


def utc_times(column: pd.Series[Any], where: str | Path, fix: str) -> pd.Series[Any]:
    """Texts in ISO 8601 as ``datetime64[ns, UTC]``, NaT where empty; without a time zone they are UTC.

    Args:
        column: text; its index counts the events of the file from 0.
        where: name of the file, for errors.
        fix: how times are to be written, for errors.

    Raises:
        InputError: a text is no time; says which and of which event.
    """
    text = column.fillna("").astype(str).str.strip()
    times = pd.to_datetime(text.where(text != "", None), utc=True, format="ISO8601", errors="coerce")
    wrong = times.isna() & (text != "")
    if wrong.any():
        raise InputError(f"'{text[wrong].iloc[0]}' is not a time", where=f"{where}, event {wrong[wrong].index[0] + 1}",
                         fix=fix)
    return times.astype("datetime64[ns, UTC]")
