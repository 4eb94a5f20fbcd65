"""Windows: what is cut, what they are labelled, which records are used, and what the index notices."""

from __future__ import annotations

import json
import os
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from window_archive import memory_record, write_file

from groundswell.core.errors import InputError
from groundswell.pipelines.das import formats, record_index
from groundswell.pipelines.das.labels import Interval, RecordLabels
from groundswell.pipelines.das.recipe import DasDataRecipe, DasRecipe
from groundswell.pipelines.das.windows import build_index, check_trainable, cut, label_windows, segments

START = "DAS-BIGORRE_2022-09-{day:02d}_08-00-00_UTC.h5"


def day_file(day):
    return START.format(day=day)


@pytest.fixture
def archive(tmp_path):
    """Four files in the seed's layout with a labels.json: two earthquakes, two blasts."""
    folder = tmp_path / "data"
    for day in (1, 2, 3, 4):
        write_file(folder / day_file(day), seed=day)
    (folder / "labels.json").write_text(json.dumps({day_file(d): int(d > 2) for d in (1, 2, 3, 4)}))
    return folder


def recipe(**values):
    return DasDataRecipe(**{"window_samples": 200, "stride_samples": 100, **values})


@st.composite
def gapped(draw):
    samples = draw(st.integers(1, 300))
    edges = sorted(draw(st.sets(st.integers(0, samples), max_size=8)))
    gaps = list(zip(edges[::2], edges[1::2], strict=False))
    return memory_record("gapped", np.zeros((samples, 1), np.float32), gaps=gaps)


@given(record=gapped(), window=st.integers(1, 60), stride=st.integers(1, 80), tail=st.sampled_from(["drop", "pad"]))
@settings(max_examples=300, deadline=None)
def test_every_recorded_sample_is_in_a_window_or_reported_and_no_window_crosses_a_gap(record, window, stride, tail):
    pieces = cut(record, window, stride, tail)
    recorded = np.ones(record.samples, bool)
    for a, b in record.gaps:
        recorded[a:b] = False
    in_window, in_left = np.zeros(record.samples, bool), np.zeros(record.samples, bool)
    for a, b in pieces.windows:
        assert 0 <= a < b <= record.samples and recorded[a:b].all()
        assert b - a == window or tail == "pad"
        in_window[a:b] = True
    for a, b in pieces.left:
        assert a < b and not in_left[a:b].any()
        in_left[a:b] = True
    assert not (in_window & in_left).any()
    assert ((in_window | in_left) == recorded).all()
    for begin, end in segments(record):
        its = pieces.windows[(pieces.windows[:, 0] >= begin) & (pieces.windows[:, 0] < end)]
        assert (its[:, 0] == begin + stride * np.arange(len(its))).all()
        if tail == "pad" and stride <= window:
            assert in_window[begin:end].all()
        if tail == "drop":
            assert len(its) == max(0, (end - begin - window) // stride + 1)


def test_the_seed_files_give_the_number_of_windows_that_the_seed_counted():
    record = memory_record("ten minutes at 250 Hz", np.zeros((1, 1)), samples=150_000)
    assert len(cut(record, 2000, 1000).windows) == 149
    assert cut(record, 1024, 512).left == ((149_504, 150_000),)


@given(starts=st.lists(st.integers(-40, 240), max_size=4), length=st.integers(1, 60), share=st.floats(0.05, 1))
@settings(max_examples=200, deadline=None)
def test_labels_of_windows_follow_the_overlap_rule(starts, length, share):
    windows = cut(memory_record("r", np.zeros((200, 1))), 20, 10).windows
    intervals = tuple(Interval(s, s + length, k % 2, f"e{k}") for k, s in enumerate(sorted(starts)))
    got = label_windows(windows, RecordLabels(intervals=intervals), share)
    for (a, b), label, noise, event in zip(windows, got.label, got.noise, got.event, strict=True):
        shared = [max(0, min(b, i.stop) - max(a, i.start)) for i in intervals]
        assert noise == (max(shared, default=0) == 0)
        if noise:
            assert label == -1
        elif max(shared) >= share * min(20, length):
            assert label in {i.label for i, n in zip(intervals, shared, strict=True) if n == max(shared)}
        else:
            assert label == -1
        if len(intervals) == 1:
            assert event == "e0"
        elif noise:
            assert event == ""


def test_a_whole_label_is_on_every_window_and_an_unlabelled_record_has_none():
    windows = cut(memory_record("r", np.zeros((100, 1))), 20, 20).windows
    whole = label_windows(windows, RecordLabels(1, "quarry"), 0.5)
    assert whole.label.tolist() == [1] * 5 and set(whole.event) == {"quarry"} and not whole.noise.any()
    unknown = label_windows(windows, None, 0.5)
    assert unknown.label.tolist() == [-1] * 5 and not unknown.noise.any()


def test_the_table_has_the_columns_that_the_other_rooms_rely_on(archive):
    records, table = build_index(archive, recipe())
    assert [r.path.name for r in records] == [day_file(d) for d in (1, 2, 3, 4)]
    assert table.classes == ("earthquake", "quarry_blast") and len(table) == 4 * 9
    frame = table.frame
    row = frame.iloc[10]
    assert row["sample_id"] == f"{day_file(2)}:100" and row["record"] == day_file(2)
    assert row["event"] == day_file(2).removesuffix(".h5") and row["group"] == f"event {row['event']}"
    assert (row["start"], row["stop"], row["record_index"], row["channels"]) == (100, 300, 1, 6)
    assert (row["rate_hz"], row["spacing_m"]) == (100.0, 5.0)
    assert row["time"] == pd.Timestamp("2022-09-02T08:00:01", tz="UTC")
    assert frame["label"].tolist() == [0] * 18 + [1] * 18
    assert frame["content"].is_unique and frame["group"].nunique() == 4
    for column in ("start", "stop", "record_index", "channels"):
        assert frame[column].dtype == np.int64
    check_trainable(table, DasRecipe(data=recipe(folder=str(archive))))


def test_a_table_of_simulated_records_says_so(archive):
    assert "simulated" not in build_index(archive, recipe())[1].origin
    (archive / "truth.json").write_text('{"simulated": true}')
    assert build_index(archive, recipe())[1].origin["simulated"] is True


def test_numbered_suffixes_are_events_of_their_own(tmp_path):
    names = ["DAS_2022-09-01_UTC.h5", "DAS_2022-09-01_UTC-005.h5"]
    for k, name in enumerate(names):
        write_file(tmp_path / name, seed=k)
    (tmp_path / "labels.json").write_text(json.dumps(dict.fromkeys(names, 0)))
    assert build_index(tmp_path, recipe())[1].column("group").nunique() == 2


def test_an_event_in_several_files_is_one_group_with_all_their_other_events(tmp_path):
    for k in range(4):
        write_file(tmp_path / f"{k}.h5", seed=k)
    rows = [("0.h5", 2, 4, 0, "A"), ("1.h5", 1, 3, 0, "A"), ("1.h5", 6, 8, 1, "B"), ("2.h5", 1, 3, 1, "B"),
            ("3.h5", 1, 3, 1, "C")]
    pd.DataFrame(rows, columns=["record", "start", "stop", "label", "event_id"]).to_csv(tmp_path / "intervals.csv",
                                                                                     index=False)
    frame = build_index(tmp_path, recipe())[1].frame
    groups = frame.groupby("record")["group"].first()
    assert groups["0.h5"] == groups["1.h5"] == groups["2.h5"] == "record 0.h5"
    assert groups["3.h5"] == "event C" and frame.groupby("record")["group"].nunique().eq(1).all()


def test_interval_labels_make_noise_of_the_rest(archive):
    name = day_file(1)
    pd.DataFrame({"record": [name, day_file(2)], "start": [3.0, None], "stop": [5.0, None],
                  "label": ["earthquake", "noise"], "event_id": ["E1", ""]}).to_csv(archive / "intervals.csv",
                                                                                    index=False)
    _, table = build_index(archive, recipe())
    assert table.classes == ("earthquake", "quarry_blast", "noise")
    first = table.frame[table.frame["record"] == name]
    # Windows of 2 s every second: [3, 5) fills that of 3 s, and half of those of 2 s and 4 s.
    assert first["label"].tolist() == [2, 2, 0, 0, 0, 2, 2, 2, 2]
    assert set(first["event"]) == {"E1"}
    second = table.frame[table.frame["record"] == day_file(2)]
    assert set(second["label"]) == {2} and set(second["event"]) == {""}
    assert table.frame[table.frame["record"] == day_file(3)]["label"].isna().all()
    strict = build_index(archive, recipe(event_overlap=0.6))[1].frame
    assert strict[strict["record"] == name]["label"].fillna(-1).tolist() == [2, 2, -1, 0, -1, 2, 2, 2, 2]
    without = build_index(archive, recipe(noise_class=False))[1]
    assert without.classes == ("earthquake", "quarry_blast")
    assert without.frame[without.frame["record"] == name]["start"].tolist() == [200, 300, 400]
    assert not (without.frame["record"] == day_file(2)).any()


def test_noise_windows_are_thinned_evenly(archive):
    pd.DataFrame({"record": [day_file(1)], "start": [""], "stop": [""], "label": ["noise"]}).to_csv(
        archive / "intervals.csv", index=False)
    frame = build_index(archive, recipe(noise_windows_per_record=3))[1].frame
    assert frame[frame["record"] == day_file(1)]["start"].tolist() == [100, 400, 700]


def test_windows_do_not_straddle_gaps_of_real_files(tmp_path):
    write_file(tmp_path / "a.h5", gap=(450, 1000))
    records, table = build_index(tmp_path, recipe())
    assert records[0].gaps == ((450, 1450),) and records[0].samples == 2000
    assert table.column("start").tolist() == [0, 100, 200, 1450, 1550, 1650, 1750]
    assert table.origin["samples_left"] == 50 + 50


def test_relabelling_needs_no_touch_of_the_index_and_opens_no_file(archive, monkeypatch):
    build_index(archive, recipe())
    monkeypatch.setattr(formats, "find_records", lambda path: pytest.fail(f"{path} was opened again"))
    (archive / "labels.json").write_text(json.dumps({day_file(1): 1, day_file(2): 0}))
    frame = build_index(archive, recipe())[1].frame
    assert frame.groupby("record")["label"].first().fillna(-1).tolist() == [1, 0, -1, -1]


def test_replacing_a_file_is_noticed(archive):
    path = archive / day_file(1)
    before = build_index(archive, recipe())[1].frame["content"]
    old = path.stat()
    write_file(path, seed=99)
    assert path.stat().st_size == old.st_size and path.stat().st_mtime_ns != old.st_mtime_ns
    records, table = build_index(archive, recipe())
    assert records[0].modified_ns == path.stat().st_mtime_ns
    changed = table.frame["content"] != before
    assert changed[:9].all() and not changed[9:].any()


def test_replacing_a_file_is_noticed_even_with_the_old_size_and_time(archive):
    path = archive / day_file(1)
    before = build_index(archive, recipe())[1].frame["content"]
    old = path.stat()
    write_file(path, seed=99)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert (build_index(archive, recipe())[1].frame["content"] != before)[:9].all()


def test_a_file_copied_back_unchanged_is_not_opened_again(archive, monkeypatch):
    build_index(archive, recipe())
    shutil.copy2(archive / day_file(1), archive / "kept")
    os.replace(archive / "kept", archive / day_file(1))
    monkeypatch.setattr(formats, "find_records", lambda path: pytest.fail(f"{path} was opened again"))
    build_index(archive, recipe())


def test_a_file_whose_values_lie_in_another_one_follows_that_one(archive):
    rest = archive / "parts.bin"
    write_file(rest, seed=7)
    layout = h5py.VirtualLayout((1000, 6), "float32")
    layout[...] = h5py.VirtualSource("parts.bin", "sr/data", (1000, 6))
    with h5py.File(archive / "joined.h5", "w") as file:
        file.create_virtual_dataset("sr/data", layout)
        file["sr/time"], file["sr/distance"] = np.arange(1000) / 100, np.arange(6) * 5.0

    def content():
        frame = build_index(archive, recipe())[1].frame
        return frame[frame["record"] == "joined.h5"]["content"].tolist()

    before = content()
    assert len(before) == 9 and content() == before
    rest.rename(archive / "away.bin")
    assert content() == []
    write_file(rest, seed=8)
    assert len(content()) == 9 and not set(content()) & set(before)


def test_added_and_removed_files_are_noticed(archive):
    build_index(archive, recipe())
    (archive / day_file(4)).rename(archive / "new.h5")
    (archive / "labels.json").write_text(json.dumps({day_file(1): 0, "new.h5": 1}))
    records, table = build_index(archive, recipe())
    assert [r.path.name for r in records] == [day_file(1), day_file(2), day_file(3), "new.h5"]
    assert table.frame[table.frame["record"] == "new.h5"]["label"].eq(1).all()


def test_a_damaged_index_is_made_again_and_a_moved_folder_keeps_its_own(archive, tmp_path):
    index = archive / ".groundswell" / "records.parquet"
    fingerprint = build_index(archive, recipe())[1].fingerprint
    index.write_bytes(b"PAR1 nonsense")
    assert build_index(archive, recipe())[1].fingerprint == fingerprint
    archive.rename(tmp_path / "moved")
    records, table = build_index(tmp_path / "moved", recipe())
    assert table.fingerprint == fingerprint and all(r.path.exists() for r in records)


def test_an_index_in_which_a_bit_flipped_is_not_used(archive):
    index = archive / ".groundswell" / "records.parquet"
    build_index(archive, recipe())
    whole, expected = index.read_bytes(), record_index._read(index, archive)
    assert len(expected) == 4
    for place in range(0, len(whole), 29):
        index.write_bytes(whole[:place] + bytes([whole[place] ^ 2]) + whole[place + 1:])
        assert record_index._read(index, archive) in (expected, {}), place


def test_the_index_may_be_elsewhere_or_nowhere(archive, tmp_path):
    build_index(archive, recipe(), cache=tmp_path / "index.parquet")
    assert (tmp_path / "index.parquet").exists() and not (archive / ".groundswell").exists()
    (tmp_path / "file").write_text("")
    assert len(build_index(archive, recipe(), cache=tmp_path / "file" / "index.parquet")[1]) == 36


def test_copies_are_seen_as_duplicated_content_in_either_axis_order(tmp_path):
    values = write_file(tmp_path / "a.h5", seed=1)
    write_file(tmp_path / "b.h5", values=values, order="channel,time")
    write_file(tmp_path / "c.h5", seed=2)
    frame = build_index(tmp_path, recipe())[1].frame
    a, b, c = (frame[frame["record"] == f"{n}.h5"]["content"].tolist() for n in "abc")
    assert a == b and not set(a) & set(c)


def test_records_that_are_not_fit_are_left_out_with_their_reason(tmp_path):
    write_file(tmp_path / "good.h5")
    write_file(tmp_path / "zero.h5", values=np.zeros((1000, 6), np.float32))
    (tmp_path / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    with h5py.File(tmp_path / "guess.h5", "w") as file:
        file["data"] = np.random.default_rng(0).normal(size=(1000, 6))
        file["data"].attrs["rate_hz"] = 100.0
    records, table = build_index(tmp_path, recipe())
    assert [r.path.name for r in records] == ["good.h5"]
    left_out = table.origin["left_out"]
    assert set(left_out) == {"zero.h5", "broken.h5", "guess.h5"}
    assert "zero" in left_out["zero.h5"] and "guess" in left_out["guess.h5"]
    records, table = build_index(tmp_path, recipe(allow_unfit=True, allow_guessed_axes=True))
    assert [r.path.name for r in records] == ["good.h5", "guess.h5", "zero.h5"]
    assert set(table.origin["left_out"]) == {"broken.h5"}


def test_a_file_that_no_reader_foresaw_does_not_keep_the_others_from_being_used(archive, monkeypatch):
    plain = formats.find_records

    def find(path):
        if path.name == day_file(1):
            raise ZeroDivisionError("odd header")
        return plain(path)

    monkeypatch.setattr(formats, "find_records", find)
    records, table = build_index(archive, recipe())
    assert len(records) == 3 and "odd header" in table.origin["left_out"][day_file(1)]


def test_labels_of_files_that_are_there_but_not_fit_have_no_effect(archive):
    (archive / day_file(4)).write_bytes(b"not HDF5 any more")
    records, table = build_index(archive, recipe())
    assert len(records) == 3 and list(table.origin["left_out"]) == [day_file(4)]


def test_a_rate_that_no_file_knows_comes_from_the_recipe_when_guesses_are_allowed(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.random.default_rng(0).normal(size=(1000, 6))
    with pytest.raises(InputError, match="guess"):
        build_index(tmp_path, recipe(rate_hz=50.0))
    records, table = build_index(tmp_path, recipe(rate_hz=50.0, allow_guessed_axes=True))
    assert records[0].rate_hz == 50.0 and set(table.column("rate_hz")) == {50.0}
    with pytest.raises(InputError, match=r"data\.rate_hz"):
        build_index(tmp_path, recipe(allow_guessed_axes=True))


def test_cables_of_different_length_share_a_table_and_a_channel_range_is_cut_to_each(tmp_path):
    write_file(tmp_path / "long.h5", channels=12)
    write_file(tmp_path / "short.h5", channels=6)
    by_record = build_index(tmp_path, recipe(channels=(2, 9)))[1].frame.groupby("record")["channels"].first()
    assert by_record.to_dict() == {"long.h5": 7, "short.h5": 4}
    _, table = build_index(tmp_path, recipe(channels=(6, 9)))
    assert set(table.column("record")) == {"long.h5"} and "channels" in table.origin["left_out"]["short.h5"]
    with pytest.raises(InputError, match="not a range"):
        build_index(tmp_path, recipe(channels=(5, 5)))


def test_mixed_rates_are_refused_by_name(archive):
    write_file(archive / "other.h5", rate_hz=125.0)
    with pytest.raises(InputError, match=r"mixed.*100 Hz.*other\.h5 \(125 Hz\)"):
        build_index(archive, recipe())
    with pytest.raises(InputError, match=r"data\.rate_hz has 250 Hz"):
        build_index(archive, recipe(rate_hz=250.0))


def test_windows_longer_than_every_record_are_refused(archive):
    for tail in ("drop", "pad"):
        with pytest.raises(InputError, match=r"longer than every record: the longest .* 1000 samples"):
            build_index(archive, recipe(window_samples=1001, tail=tail))


def test_labels_for_missing_files_are_refused_in_one_paragraph(archive):
    (archive / "labels.json").write_text(json.dumps({f"gone-{k}.h5": 0 for k in range(9)}))
    with pytest.raises(InputError, match=r"9 label\(s\).*gone-0\.h5.*and 4 more.*labels\.json") as caught:
        build_index(archive, recipe())
    assert "\n" not in str(caught.value)


def test_an_empty_folder_and_a_missing_one_are_refused(tmp_path):
    with pytest.raises(InputError, match="no record"):
        build_index(tmp_path, recipe())
    with pytest.raises(InputError):
        build_index(tmp_path / "nowhere", recipe())


def test_nothing_to_learn_is_refused(archive):
    whole = DasRecipe(data=recipe(folder=str(archive)))

    def table_with(labels):
        (archive / "labels.json").write_text(json.dumps(labels))
        return build_index(archive, whole.data)[1]

    with pytest.raises(InputError, match="Not one window has a label"):
        check_trainable(table_with({}), whole)
    with pytest.raises(InputError, match=r"one class, 'earthquake'.*quarry_blast"):
        check_trainable(table_with({day_file(d): 0 for d in (1, 2, 3, 4)}), whole)
    check_trainable(table_with({day_file(1): 0, day_file(2): 1}), whole)
    rows = [(day_file(1), 2, 4, 0, "A")]
    pd.DataFrame(rows, columns=["record", "start", "stop", "label", "event_id"]).to_csv(archive / "intervals.csv",
                                                                                     index=False)
    with pytest.raises(InputError, match="No window is labelled 'quarry_blast'"):
        check_trainable(build_index(archive, whole.data)[1], whole)


def test_real_files_are_indexed_and_the_traps_left_out(real_das, tmp_path):
    names = ["valencia_febus_example.h5", "febus_2.h5", "neubrex_das_1.h5", "prodml_fbe_1.h5"]
    for name in names:
        shutil.copy(real_das / name, tmp_path / name)
    records, table = build_index(tmp_path, recipe(allow_guessed_axes=True))
    assert [r.path.name for r in records] == ["valencia_febus_example.h5"]
    assert (records[0].channels, records[0].rate_hz) == (100, 250.0)
    assert {key.partition("#")[0] for key in table.origin["left_out"]} == set(names[1:])
    assert table.column("start").tolist() == list(range(0, 1001, 100))
    assert (table.column("channels") == 100).all()
