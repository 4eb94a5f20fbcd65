"""Observation tables: read from files of several kinds, checked row by row, and made sample tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from groundswell.core.errors import InputError
from groundswell.pipelines.biodiversity.observations import COLUMNS, observation_table, read_observations


def frame(**changes) -> pd.DataFrame:
    rows = pd.DataFrame({"observation_id": ["11_1", "11_2", "12_1", "13_1"], "taxon_id": ["7", "7", "9", "7"],
                         "taxon_name": ["Quercus alba", "Quercus alba", "Acer rubrum", "Quercus alba"],
                         "latitude": [28.5, 28.5, 28.6, 28.7], "longitude": [-81.5, -81.5, -81.4, -81.3],
                         "year": [2020, 2020, 2021, 2022], "month": [5, 5, 6, 7], "day": [3, 3, 4, 5]})
    return rows.assign(**changes)


def written(tmp_path: Path, rows: pd.DataFrame, name: str = "table.csv", **options) -> Path:
    path = tmp_path / name
    if path.suffix == ".parquet":
        rows.to_parquet(path)
    else:
        rows.to_csv(path, index=False, **options)
    return path


def test_csv_semicolons_parquet_and_a_store_give_the_same_rows(tmp_path) -> None:
    comma = read_observations(written(tmp_path, frame()))
    for path in (written(tmp_path, frame(), "semicolon.csv", sep=";"), written(tmp_path, frame(), "t.parquet")):
        pd.testing.assert_frame_equal(read_observations(path), comma)
    (tmp_path / "store").mkdir()
    written(tmp_path / "store", frame(), "observations.parquet")
    pd.testing.assert_frame_equal(read_observations(tmp_path / "store"), comma)
    assert list(comma.columns) == list(COLUMNS)
    assert comma["gbif_id"].tolist() == [11, 11, 12, 13] and comma["image_index"].tolist() == [1, 2, 1, 1]
    assert comma["hour"].isna().all() and comma["has_vision"].all()


def test_tables_of_other_projects_are_understood(tmp_path) -> None:
    rows = pd.DataFrame({"observation_id": [20000173, 20000175], "latitude": [33.1, 34.0],
                         "longitude": [-116.1, -118.8], "species_id": [4911, 4912], "subset": ["train", "test"]})
    found = read_observations(written(tmp_path, rows, sep=";"))
    assert found["observation_id"].tolist() == ["20000173_1", "20000175_1"]
    assert found["taxon_name"].tolist() == ["4911", "4912"] and found["subset"].tolist() == ["train", "test"]
    assert found["year"].isna().all()


@pytest.mark.parametrize(("changes", "said"), [
    ({"observation_id": ["11_1", "11", "12_1", "13_1"]}, "11"),
    ({"observation_id": ["11_1", "11_0", "12_1", "13_1"]}, "11_0"),
    ({"observation_id": ["11_1", "11_1", "12_1", "13_1"]}, "repeats an observation_id"),
    ({"gbif_id": [11, 11, 12, 14]}, "does not agree with its gbif_id"),
    ({"latitude": [28.5, 95.0, 28.6, 28.7]}, "latitude that is not between -90 and 90"),
    ({"latitude": [28.5, None, 28.6, 28.7]}, "row 2"),
    ({"longitude": [-81.5, -81.5, 181.0, -81.3]}, "row 3, '12_1', column 'longitude'"),
    ({"taxon_name": ["Quercus alba", "", "Acer rubrum", "Quercus alba"]}, "no taxon_name"),
    ({"month": [5, 13, 6, 7]}, "month that is no whole number from 1 to 12"),
    ({"day": [5, "x", 6, 7]}, "day that is no whole number"),
])
def test_a_row_that_cannot_be_used_is_named(tmp_path, changes, said) -> None:
    with pytest.raises(InputError) as caught:
        read_observations(written(tmp_path, frame(**changes)))
    assert said in str(caught.value) and "table.csv" in str(caught.value)


def test_a_file_that_cannot_be_used_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match="no such observation table"):
        read_observations(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="no column 'latitude' and no 'longitude'"):
        read_observations(written(tmp_path, frame().drop(columns=["latitude", "longitude"])))
    with pytest.raises(InputError, match="no rows"):
        read_observations(written(tmp_path, frame().iloc[:0]))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(InputError, match="cannot be read"):
        read_observations(tmp_path / "bad.parquet")


def test_photos_of_one_visit_are_one_group_and_classes_are_sorted(tmp_path) -> None:
    table = observation_table(read_observations(written(tmp_path, frame())))
    assert table.classes == ("Acer rubrum", "Quercus alba") and table.labels().tolist() == [1, 1, 0, 1]
    assert table.column("group").tolist()[0] == table.column("group").tolist()[1] == "28.50000,-81.50000@2020-05-03"
    assert table.column("group").nunique() == 3 and table.origin["unit"] == "sample"
    assert str(table.column("time")[0]) == "2020-05-03 00:00:00+00:00"


def test_an_unknown_day_is_no_common_day(tmp_path) -> None:
    table = observation_table(read_observations(written(tmp_path, frame(day=[None, None, 4, 5]))))
    assert table.column("time").isna().tolist() == [True, True, False, False]
    assert table.column("group").nunique() == 4
    places = observation_table(read_observations(written(tmp_path, frame())), group="place")
    assert places.column("group").nunique() == 3


def test_a_date_that_the_calendar_does_not_have_and_absent_observers_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match=r"calendar has no 2020-2-30 .*table\.csv, row 1"):
        read_observations(written(tmp_path, frame(month=[2, 2, 6, 7], day=[30, 3, 4, 5])))
    with pytest.raises(InputError, match="no column 'observer'"):
        observation_table(read_observations(written(tmp_path, frame())), group="observer")


def test_the_published_observations_are_read_whole(real_biodiversity) -> None:
    table = observation_table(read_observations(real_biodiversity / "central_florida_observations.csv"))
    assert len(table) == 7113 and len(table.classes) == 227
    assert np.isfinite(table.column("latitude")).all() and table.column("time").notna().all()
