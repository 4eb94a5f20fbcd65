"""Labels: what files may say, what is refused, and how they are joined to records."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pandas as pd
import pytest
from window_archive import memory_record, write_file

from groundswell.core.errors import InputError
from groundswell.pipelines.das.label_files import find_labels, read_intervals, read_labels
from groundswell.pipelines.das.labels import NOISE, BoundLabels, Interval, RecordLabels, label_of, names_of
from groundswell.pipelines.das.recipe import DasDataRecipe
from groundswell.pipelines.das.region_maps import read_region_maps
from groundswell.pipelines.das.windows import build_index

CLASSES = ("earthquake", "quarry_blast")


def records(*names, **facts):
    return {name: memory_record(name, np.zeros((1000, 2), np.float32), **facts) for name in names}


def intervals(path, rows, columns=("record", "start", "stop", "label", "event_id")):
    pd.DataFrame(rows, columns=list(columns)).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(("word", "label"), [
    (0, 0), (1, 1), ("1", 1), ("1.0", 1), (np.int64(0), 0), ("EQ", 0), ("QB", 1), ("quarry blast", 1), ("Séisme", 0),
    ("Quarry_Blast", 1), ("mining explosion", 1), ("noise", NOISE), (2, None), (-1, None), (0.5, None), (True, None),
    ("traffic", None), ("", None), (float("nan"), None), (None, None)])
def test_labels_may_be_numbers_or_the_fields_own_words(word, label):
    assert label_of(word, CLASSES) == label


def test_words_follow_the_recipes_own_class_names():
    assert label_of("EQ", ("tremor", "quake")) == 1 and label_of("QB", ("tremor", "quake")) is None


def test_the_seeds_labels_json_labels_whole_files(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"a.h5": 0, "b.h5": 1}))
    bound = read_labels(path, CLASSES).bind(records("a.h5", "sub/b.h5", "c.h5"))
    assert bound.for_record("a.h5") == RecordLabels(0, "a")
    assert bound.for_record("sub/b.h5") == RecordLabels(1, "sub/b")
    assert bound.for_record("c.h5") is None


@pytest.mark.parametrize(("content", "message"), [
    ('{"a.h5": 2}', "label 2, which is none of 0"), ('{"a.h5": null}', "None"), ('{"0": ["a.h5"]}', "none of"),
    ('{"a.h5": true}', "True"), ('["a.h5"]', "maps file names"), ('{"a.h5": 0', "Not valid JSON")])
def test_a_labels_json_that_says_something_else_is_refused(tmp_path, content, message):
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_labels(tmp_path / "labels.json", CLASSES)


def test_a_plain_name_that_fits_two_files_is_refused_and_a_path_is_not(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text('{"a.h5": 0}')
    with pytest.raises(InputError, match="fits several files"):
        read_labels(path, CLASSES).bind(records("x/a.h5", "y/a.h5"))
    assert set(read_labels(path, CLASSES).bind(records("a.h5", "y/a.h5")).records) == {"a.h5"}


def test_every_array_of_a_file_takes_the_files_label():
    keys = ["a.h5#one", "a.h5#two", "b.h5"]
    assert names_of(keys)["a.h5"] == ["a.h5#one", "a.h5#two"]


def test_intervals_in_seconds_and_in_utc_say_the_same(tmp_path):
    seconds = intervals(tmp_path / "s.csv", [("a.h5", 2.5, 4, 0, "E"), ("b.h5", -1, 1.25, "QB", "")])
    start = pd.Timestamp("2022-09-01T00:00:00")
    rows = [("a.h5", start + pd.Timedelta(seconds=2.5), start + pd.Timedelta(seconds=4), 0, "E"),
            ("b.h5", start - pd.Timedelta(seconds=1), start + pd.Timedelta(seconds=1.25), 1, "")]
    text = intervals(tmp_path / "t.csv", [(r, a.isoformat() + "Z", b.isoformat() + "+00:00", *rest)
                                          for r, a, b, *rest in rows])
    parquet = tmp_path / "t.parquet"
    pd.DataFrame(rows, columns=["record", "start", "stop", "label", "event_id"]).to_parquet(parquet)
    found = [read_labels(p, CLASSES).bind(records("a.h5", "b.h5")) for p in (seconds, text, parquet)]
    assert found[0] == found[1] == found[2]
    assert found[0].for_record("a.h5") == RecordLabels(intervals=(Interval(250, 400, 0, "E"),))
    assert found[0].for_record("b.h5") == RecordLabels(intervals=(Interval(-100, 125, 1, "b.h5@-1.00s"),))


def test_times_of_day_are_read_instead_of_other_columns_where_a_table_has_both(tmp_path):
    columns = ("record", "start", "stop", "label", "event_id", "start_time", "stop_time")
    row = ("a.h5", 250, 400, 0, "E", "2022-09-01T00:00:02.500Z", "2022-09-01T00:00:04.000Z")
    found = read_labels(intervals(tmp_path / "i.csv", [row], columns), CLASSES).bind(records("a.h5"))
    assert found.for_record("a.h5").intervals == (Interval(250, 400, 0, "E"),)


def test_a_row_without_times_is_about_the_whole_record(tmp_path):
    path = intervals(tmp_path / "i.csv", [("a.h5", "", "", "noise", ""), ("b.h5", "", "", 1, "B"),
                                          ("c.h5", "", "", "", ""), ("d.h5", 1, 2, 0, "D"),
                                          ("d.h5", 5, 6, "noise", "")])
    labels = read_labels(path, CLASSES)
    bound = labels.bind(records("a.h5", "b.h5", "c.h5", "d.h5"))
    assert bound.for_record("a.h5") == bound.for_record("c.h5") == RecordLabels()
    assert bound.for_record("b.h5") == RecordLabels(1, "B")
    assert bound.for_record("d.h5") == RecordLabels(intervals=(Interval(100, 200, 0, "D"),))


@pytest.mark.parametrize(("row", "message"), [
    (("a.h5", 3, 3, 0, ""), "row 2.*|.*empty"), (("a.h5", 3, "", 0, ""), "without a stop"),
    (("a.h5", 1, 2, 7, ""), "'7' is none of"), (("", 1, 2, 0, ""), "not named"), (("a.h5", 1, 2, "", ""), "none of"),
    (("a.h5", "2022-09-01T00:00:01Z", 2, 0, ""), "either seconds or UTC"), (("a.h5", "soon", 2, 0, ""), "'soon'")])
def test_rows_that_make_no_sense_are_refused_by_number(tmp_path, row, message):
    path = intervals(tmp_path / "i.csv", [("a.h5", 1, 2, 0, "E"), row])
    with pytest.raises(InputError, match=message) as caught:
        read_intervals(path, CLASSES)
    assert "row 2" in str(caught.value)


def test_other_tables_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"lacks the column\(s\) stop"):
        read_intervals(intervals(tmp_path / "i.csv", [("a.h5", 1, 0)], ("record", "start", "label")), CLASSES)
    (tmp_path / "x.parquet").write_bytes(b"no")
    for name in ("x.parquet", "absent.csv", "absent.json"):
        with pytest.raises(InputError, match=name):
            read_labels(tmp_path / name, CLASSES)


def test_intervals_must_lie_in_records_that_can_place_them(tmp_path):
    outside = read_labels(intervals(tmp_path / "a.csv", [("a.h5", 10, 12, 0, "")]), CLASSES)
    with pytest.raises(InputError, match=r"outside the record 'a\.h5', which is 10\.00 s long"):
        outside.bind(records("a.h5"))
    utc = read_labels(intervals(tmp_path / "b.csv", [("a.h5", "2022-09-01", "2022-09-02", 0, "")]), CLASSES)
    with pytest.raises(InputError, match="no start time"):
        utc.bind(records("a.h5", start=None))
    twice = read_labels(intervals(tmp_path / "c.csv", [("a.h5", "", "", 0, ""), ("a.h5", 1, 2, 1, "")]), CLASSES)
    with pytest.raises(InputError, match="labelled more than once"):
        twice.bind(records("a.h5"))
    assert outside.bind({}, ["a.h5"]) == BoundLabels({})


def test_joined_labels_prefer_intervals_and_add_them_up():
    one, two = Interval(0, 5, 0, "A"), Interval(9, 12, 1, "B")
    left = BoundLabels({"a": RecordLabels(0, "a"), "b": RecordLabels(intervals=(two,)), "c": RecordLabels(1, "c")})
    right = BoundLabels({"a": RecordLabels(intervals=(one,)), "b": RecordLabels(intervals=(one,)),
                         "d": RecordLabels(1, "d")})
    for joined in (left.joined(right), right.joined(left)):
        assert joined.for_record("a").intervals == (one,) and joined.for_record("b").intervals == (one, two)
        assert joined.for_record("c").whole == joined.for_record("d").whole == 1


def test_the_recipe_says_which_labels_or_the_folder_does(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    assert find_labels(data, DasDataRecipe()) is None
    (data / "labels.json").write_text('{"a.h5": 0}')
    assert find_labels(data, DasDataRecipe()).source.endswith("labels.json")
    intervals(data / "intervals.csv", [("a.h5", 1, 2, 0, "")])
    assert find_labels(data, DasDataRecipe()).source.endswith("intervals.csv")
    (tmp_path / "mine.json").write_text('{"a.h5": 1}')
    assert find_labels(data, DasDataRecipe(labels="labels.json")).given[0].label == 0
    assert find_labels(data, DasDataRecipe(labels=str(tmp_path / "mine.json"))).given[0].label == 1
    with pytest.raises(InputError, match=r"absent\.json"):
        find_labels(data, DasDataRecipe(labels="absent.json"))


def add_region_map(path, image, *, distance, time, words=("EQ", "traffic", "QB")):
    with h5py.File(path, "a") as file:
        file["region/data"], file["region/distance"], file["region/time"] = image, distance, time
        file["region/region_id"] = np.array([1, 2, 3])
        file["region/classe_str"] = np.array(words, dtype=h5py.string_dtype())


@pytest.fixture(params=["fibre first", "time first"])
def mapped(request, tmp_path):
    """10 s of 6 channels at 5 m; the map has 3 pixels of 10 m and 20 of 0.5 s: an earthquake and a blast."""
    write_file(tmp_path / "a.h5")
    write_file(tmp_path / "b.h5", seed=1)
    image = np.zeros((3, 20), np.int32)
    image[0, 4:8], image[2, 6:9], image[1, 15:17], image[:, 0:2] = 1, 1, 3, 2
    image = image if request.param == "fibre first" else image.T
    add_region_map(tmp_path / "a.h5", image, distance=np.arange(3) * 10.0, time=np.arange(20) * 0.5)
    return tmp_path


def test_region_maps_are_intervals_along_time_where_the_class_covers_channels(mapped):
    found, _ = build_index(mapped, DasDataRecipe(window_samples=100))
    by_key = {r.path.name: r for r in found}
    whole = read_region_maps(by_key, CLASSES)
    assert whole.for_record("a.h5").intervals == (Interval(200, 450, 0, "a:earthquake"),
                                                  Interval(750, 850, 1, "a:quarry_blast"))
    assert whole.for_record("b.h5") is None
    first = read_region_maps(by_key, CLASSES, (0, 2)).for_record("a.h5").intervals
    assert [(i.start, i.stop, i.label) for i in first] == [(200, 400, 0), (750, 850, 1)]
    last = read_region_maps(by_key, CLASSES, (4, 6)).for_record("a.h5").intervals
    assert [(i.start, i.stop, i.label) for i in last] == [(300, 450, 0)]


def test_region_maps_make_a_table_with_noise(mapped):
    _, table = build_index(mapped, DasDataRecipe(window_samples=100, stride_samples=100, region_labels=True))
    assert table.classes == (*CLASSES, "noise")
    frame = table.frame.set_index("record")
    assert frame.loc["a.h5", "label"].tolist() == [2, 2, 0, 0, 0, 2, 2, 1, 1, 2]
    assert frame.loc["b.h5", "label"].isna().all() and frame.loc["a.h5", "group"].nunique() == 1


def test_a_region_map_that_does_not_fit_is_refused(tmp_path):
    write_file(tmp_path / "a.h5")
    add_region_map(tmp_path / "a.h5", np.zeros((3, 19), int), distance=np.arange(3.0), time=np.arange(20.0))
    with pytest.raises(InputError, match=r"shape \(3, 19\).*a\.h5"):
        build_index(tmp_path, DasDataRecipe(window_samples=100, region_labels=True))
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["region/classe_str"]
    with pytest.raises(InputError, match="lacks classe_str"):
        build_index(tmp_path, DasDataRecipe(window_samples=100, region_labels=True))
    assert len(build_index(tmp_path, DasDataRecipe(window_samples=100))[0]) == 1
