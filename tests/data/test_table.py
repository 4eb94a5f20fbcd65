"""The sample table is immutable, whole when read back, and never read when it is something else."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable

CLASSES = ("earthquake", "quarry_blast")


def table(**columns):
    base = {"sample_id": ["a", "b", "c"], "record": ["r", "r", "s"], "label": [0, None, 1], "group": ["g", "g", "h"]}
    return SampleTable(pd.DataFrame({**base, **columns}), CLASSES, pipeline="das", origin={"simulated": True})


def test_labels_groups_and_positions():
    made = table()
    assert made.labels().tolist() == [0, -1, 1] and made.labels().dtype == np.int64
    assert made.groups().tolist() == ["g", "g", "h"]
    assert made.positions(["c", "a"]).tolist() == [2, 0]
    assert len(made) == 3 and made.has("label") and not made.has("time")
    with pytest.raises(InputError, match="'d' is not in the table"):
        made.positions(["a", "d"])
    with pytest.raises(InputError, match="no column 'time'"):
        made.column("time")


def test_the_table_does_not_change_when_what_it_gave_or_was_given_does():
    frame = pd.DataFrame({"sample_id": ["a"], "record": ["r"], "label": [0], "group": ["g"]})
    made = SampleTable(frame, CLASSES)
    before = made.fingerprint
    frame.loc[0, "group"] = "other"
    given, column = made.frame, made.column("group")
    given.loc[0, "group"] = column.iloc[0] = "other"
    for array, value in ((made.labels(), 1), (made.groups(), "other")):
        if array.flags.writeable:
            array[0] = value
    assert made.groups().tolist() == ["g"] and made.labels().tolist() == [0]
    assert SampleTable(made.frame, CLASSES).fingerprint == before


@pytest.mark.parametrize("columns", [
    {}, {"label": [None, None, None]}, {"event": ["e", "", "f"]},
    {"content": pd.Series(["x", None, "y"], dtype=object)}, {"content": pd.Series(["x", "z", "y"], dtype=object)},
    {"time": ["2022-09-01T08:00:00Z", "2022-09-01T08:00:00.123456789", None]},
    {"start": np.arange(3), "stop": np.arange(3, dtype=np.int32)}, {"rate_hz": [1.0, np.nan, 250.0]},
    {"label": [0.0, np.nan, 1.0]}, {"group": [1, 2, 3]}, {"index": [3, 2, 1]},
])
def test_a_table_read_back_is_the_same(tmp_path, columns):
    made = table(**columns)
    made.write(tmp_path / "table.parquet")
    read = SampleTable.read(tmp_path / "table.parquet")
    assert read.fingerprint == made.fingerprint
    assert (read.classes, read.pipeline, read.origin) == (CLASSES, "das", {"simulated": True})
    pd.testing.assert_frame_equal(read.frame, made.frame)


@pytest.mark.parametrize("change", [
    {"label": [0, None, 0]}, {"group": ["g", "g", "i"]}, {"sample_id": ["a", "b", "d"]}, {"start": [1, 2, 3]}])
def test_any_change_of_content_changes_the_fingerprint(change):
    assert table(**change).fingerprint != table().fingerprint
    made = table()
    assert SampleTable(made.frame, ("earthquake", "blast"), pipeline="das").fingerprint != made.fingerprint
    assert made.take(np.array([1, 0, 2])).fingerprint != made.fingerprint


def test_the_order_of_columns_does_not_change_the_fingerprint():
    made = table()
    assert SampleTable(made.frame[made.frame.columns[::-1]], CLASSES, pipeline="das").fingerprint == made.fingerprint


@given(st.lists(st.booleans(), min_size=3, max_size=3))
def test_taking_by_mask_and_by_position_agree(mask):
    made = table()
    by_mask = made.take(np.array(mask, bool))
    by_position = made.take(np.flatnonzero(mask))
    assert by_mask.fingerprint == by_position.fingerprint and len(by_mask) == sum(mask)
    assert by_mask.origin == made.origin and by_mask.pipeline == "das"


def test_replacing_a_column_makes_a_new_table():
    made = table()
    other = made.replaced(label=[1, 1, 1], extra=[1, 2, 3])
    assert other.labels().tolist() == [1, 1, 1] and other.has("extra")
    assert made.labels().tolist() == [0, -1, 1] and not made.has("extra")


@pytest.mark.parametrize(("columns", "message"), [
    ({"sample_id": ["a", "a", "c"]}, "1 sample_id.* first 'a'"),
    ({"label": [0, 2, 1]}, "Label 2 is not one of 0 to 1 \\(b\\)"),
    ({"label": [0, None, -1]}, "Label -1 is not one of 0 to 1 \\(c\\)"),
    ({"label": [0, 0.5, 1]}, "whole numbers"), ({"label": ["0", "blast", "1"]}, "whole numbers"),
    ({"group": ["g", None, "h"]}, "no 'group' \\(row 1\\)"), ({"record": [None, np.nan, "h"]}, "2 row.* no 'record'"),
    ({"time": ["2022-09-01", "yesterday", None]}, "time cannot be read.*yesterday"),
])
def test_what_cannot_be_a_sample_table_is_refused(columns, message):
    with pytest.raises(InputError, match=message):
        table(**columns)


def test_missing_columns_are_named():
    with pytest.raises(InputError, match="label, group"):
        SampleTable(pd.DataFrame({"sample_id": ["a"], "record": ["r"]}), CLASSES)


def test_files_that_are_something_else_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such sample table"):
        SampleTable.read(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(InputError, match="cannot be read"):
        SampleTable.read(tmp_path / "bad.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="does not hold samples"):
        SampleTable.read(tmp_path / "other.parquet")


def test_a_table_edited_behind_its_fingerprint_is_refused(tmp_path):
    path = tmp_path / "table.parquet"
    table().write(path)
    stored = pq.read_table(path)
    edited = stored.set_column(stored.schema.get_field_index("group"), "group", pa.array(["g", "g", "g"]))
    pq.write_table(edited.replace_schema_metadata(stored.schema.metadata), path)
    with pytest.raises(InputError, match="does not match"):
        SampleTable.read(path)
