"""Catalogues in text: separators, column names and times of other people."""

from __future__ import annotations

import pandas as pd
import pytest

from groundswell.core.errors import InputError
from groundswell.data.catalogue import find_columns, plain_name, read_delimited, take_columns, utc_times

CALLED = {"event_id": ("id", "#eventid"), "time": ("time", "origin_time"), "depth_km": ("depth",)}


@pytest.mark.parametrize("data", [
    b"ID,Origin Time,note\nA,2022-09-01,x|y\nB,,\n", b"\xef\xbb\xbfid;time;note\r\nA;2022-09-01;x|y\r\nB;;\r\n",
    b"id\ttime\tnote\rA\t2022-09-01\tx|y\rB\t\t\r", b"#EventID | Time | note\n\nA| 2022-09-01|x,y\nB||"])
def test_whatever_separates_and_names_the_columns_they_are_found(data):
    raw = read_delimited(data, "c.csv")
    found = find_columns(raw.columns, CALLED)
    frame = take_columns(raw, found)
    assert found["depth_km"] is None and list(frame.columns) == list(CALLED)
    assert frame.to_numpy().tolist() == [["A", "2022-09-01", ""], ["B", "", ""]]


def test_the_earlier_of_two_names_wins():
    assert plain_name(" Origin Time ") == "origin_time"
    assert find_columns(["Origin Time", "TIME", "#EventID"], CALLED) == {
        "event_id": "#EventID", "time": "TIME", "depth_km": None}


@pytest.mark.parametrize(("data", "message"), [
    (b"id,time\nA,2022-09-01,1\n", "more fields than its header"), (b"", "cannot be read"),
    (b"id,time\nA,\xff\n", "cannot be read")])
def test_text_that_is_no_table_is_refused(data, message):
    with pytest.raises(InputError, match=message) as caught:
        read_delimited(data, "c.csv")
    assert caught.value.where == "c.csv"


def test_times_are_utc_and_one_that_is_none_is_refused_where_it_stands():
    texts = pd.Series(["2022-09-01T08:15:30.25Z", "2022-09-01 10:15:30.25+02:00", " 2022-09-01T08:15:30.25", "", None])
    found = utc_times(texts, "c.csv", "fix")
    assert found.dtype == "datetime64[ns, UTC]"
    assert found[:3].tolist() == [pd.Timestamp("2022-09-01T08:15:30.25Z")] * 3 and found[3:].isna().all()
    with pytest.raises(InputError, match=r"'soon' is not a time.*event 4.*Write them so") as caught:
        utc_times(pd.Series(["2022-09-01", "soon"], index=[0, 3]), "c.csv", "Write them so")
    assert caught.value.where == "c.csv, event 4"
