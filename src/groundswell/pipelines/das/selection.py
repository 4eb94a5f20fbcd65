"""das: which records a recipe trains on, and why the others are left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from groundswell.core.errors import InputError
from groundswell.pipelines.das.recipe import DasDataRecipe
from groundswell.pipelines.das.record import Record
from groundswell.pipelines.das.record_index import Found, Holdings

RATE_UNKNOWN = "sampling rate unknown"
"""The verdict on a record that lacks nothing but its rate, which data.allow_guessed_axes lets the recipe supply."""

_RATE_TOLERANCE = 1e-4  # rates computed from time stamps differ by some parts in a million


def select(holdings: Holdings, data: DasDataRecipe, *, where: Path) -> tuple[dict[str, Found], dict[str, str]]:
    """Choose the records to train on.

    Args:
        holdings: what the folder holds.
        data: what the recipe allows.
        where: the folder, for messages.

    Returns:
        The records in use, their rates known, and for every other one (and every file that
        failed) the reason why it is left out.

    Raises:
        InputError: none is left, their sampling rates differ, or ``data.channels`` is no range.
    """
    if data.channels is not None and not (0 <= data.channels[0] < data.channels[1] and all(data.channels[2:])
                                          and min(data.channels) >= 0):
        raise InputError(f"{list(data.channels)} is not a range of channels", where="data.channels",
                         fix="Write it as [first, one past the last], counted from 0; a third number is the step")
    left_out = dict(holdings.failed)
    chosen: dict[str, Found] = {}
    for key, item in holdings.found.items():
        reason = _reason_against(item.record, data)
        if reason:
            left_out[key] = reason
        else:
            chosen[key] = item
    if not chosen:
        raise InputError(_nothing(left_out), where=where, fix="Run 'groundswell das scan' on the folder to see each "
                         "record's state; data.allow_guessed_axes and data.allow_unfit admit some of them")
    rate_hz = _one_rate(chosen, data, where)
    return {key: dataclasses.replace(item, record=dataclasses.replace(item.record, rate_hz=rate_hz))
            if item.record.rate_hz is None else item for key, item in chosen.items()}, left_out


def _reason_against(record: Record, data: DasDataRecipe) -> str:
    """Why the record cannot be trained on; empty if it can."""
    if record.samples < 1 or record.channels < 1 or not record.kind:
        return record.verdict
    if record.kind != "waveform":
        return record.verdict if record.verdict != "ok" else f"this is a {record.kind}, not a waveform"
    if record.verdict not in ("ok", RATE_UNKNOWN) and not data.allow_unfit:
        return record.verdict
    if record.axis_order_known == "guess" and not data.allow_guessed_axes:
        return f"the axis order {record.axis_order} is a guess (data.allow_guessed_axes admits it)"
    if record.rate_hz is None and not data.allow_guessed_axes:
        return "the sampling rate is not known (data.allow_guessed_axes takes it from the recipe or the other records)"
    if data.channels is not None and data.channels[0] >= record.channels:
        return f"it has {record.channels} channels, none of them in data.channels {list(data.channels)}"
    return ""


def _nothing(left_out: Mapping[str, str]) -> str:
    if not left_out:
        return "There is no record in the folder"
    some = "; ".join(f"{key}: {reason}" for key, reason in list(left_out.items())[:3])
    return f"None of {len(left_out)} record(s) can be trained on: {some}" + (" ..." if len(left_out) > 3 else "")


def _one_rate(chosen: Mapping[str, Found], data: DasDataRecipe, where: Path) -> float:
    """The sampling rate that all chosen records share, in Hz."""
    rates = {key: item.record.rate_hz for key, item in chosen.items() if item.record.rate_hz is not None}
    wanted = data.rate_hz if data.rate_hz is not None else next(iter(rates.values()), None)
    if wanted is None:
        raise InputError("No record knows its sampling rate", where=where, fix="Set data.rate_hz")
    others = {key: rate for key, rate in rates.items() if abs(rate - wanted) > _RATE_TOLERANCE * wanted}
    if others:
        shown = ", ".join(f"{key} ({rate:g} Hz)" for key, rate in list(others.items())[:5])
        first = "data.rate_hz" if data.rate_hz is not None else f"the first record, {next(iter(rates))},"
        raise InputError(f"Sampling rates are mixed: {first} has {wanted:g} Hz, but {len(others)} record(s) differ: "
                         f"{shown}{' ...' if len(others) > 5 else ''}", where=where,
                         fix="Keep records of one rate in data.folder; the others can be used after resampling")
    return float(wanted)
