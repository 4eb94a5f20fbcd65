"""Predicted waveforms survive the disk, join and select without mixing anything up, and refuse what they cannot be."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from groundswell.core.errors import InputError
from groundswell.data.waveforms import WaveformPredictions

ARRAYS = ("sample_id", "waveform", "spread", "shift_s", "flip", "member", "fold")


def waveforms(n=4, nt=16, traces=3, *, first=0, halves=False, **options):
    rng = np.random.default_rng(n + first)
    shift = rng.normal(size=(n, traces))
    flip = rng.choice([-1, 1], (n, traces))
    if n and traces > 1:
        shift[0, -1], flip[0, -1] = np.nan, 0
    return WaveformPredictions.of(
        [f"event {k}/1" for k in range(first, first + n)], rng.normal(size=(n, nt)), dt=0.5, t0=-3.0, shift_s=shift,
        flip=flip, spread=np.abs(rng.normal(size=(n, nt))),
        halves=rng.normal(size=(n, 2, nt)) if halves else None, **options)


def equal(a, b):
    same = all(np.array_equal(getattr(a, name), getattr(b, name), equal_nan=getattr(a, name).dtype.kind == "f")
               and getattr(a, name).dtype == getattr(b, name).dtype for name in ARRAYS)
    halves = (a.halves is None) == (b.halves is None) and (
        a.halves is None or np.array_equal(a.halves, b.halves, equal_nan=True))
    return same and halves and (a.dt, a.t0, a.note, a.envelope) == (b.dt, b.t0, b.note, b.envelope)


@pytest.mark.parametrize("made", [
    waveforms(5, halves=True, member="seed 1", fold=2, note={"simulated": True}), waveforms(3, envelope=True),
    waveforms(0, halves=True), WaveformPredictions.of(["a"], np.ones((1, 4)), dt=1, t0=0)])
def test_waveforms_read_back_are_the_same(tmp_path, made):
    made.write(tmp_path / "waveforms.parquet")
    read = WaveformPredictions.read(tmp_path / "waveforms.parquet")
    assert equal(read, made)
    assert read.times[0] == read.t0 and len(read.times) == read.waveform.shape[1]
    assert not list(tmp_path.glob(".*"))


def test_the_file_can_be_read_without_us(tmp_path):
    made = waveforms()
    made.write(tmp_path / "w.parquet")
    frame = pq.read_table(tmp_path / "w.parquet").to_pandas()
    assert list(frame.columns) == ["sample_id", "member", "fold", "waveform", "spread", "shift_s", "flip"]
    assert np.array_equal(np.stack(frame["waveform"]), made.waveform)


def test_joining_pads_traces_keeps_order_and_the_first_note():
    joined = WaveformPredictions.concatenate([waveforms(3, note={"a": 1}, halves=True),
                                              waveforms(2, traces=5, first=3, fold=1, member="b", note={"a": 2})])
    assert joined.sample_id.tolist() == [f"event {k}/1" for k in range(5)] and joined.note == {"a": 1}
    assert joined.shift_s.shape == joined.flip.shape == (5, 5)
    assert np.isnan(joined.shift_s[:3, 3:]).all() and not joined.flip[:3, 3:].any()
    assert np.isfinite(joined.halves[:3]).all() and np.isnan(joined.halves[3:]).all()
    assert joined.fold.tolist() == [-1, -1, -1, 1, 1] and joined.member.tolist() == ["model"] * 3 + ["b"] * 2
    for parts in ([], [waveforms(), waveforms(nt=8)], [waveforms(), waveforms(envelope=True)]):
        with pytest.raises(InputError, match="time axes agree"):
            WaveformPredictions.concatenate(parts)


def test_selecting_by_mask_and_position_agree():
    made = waveforms(5, halves=True)
    assert equal(made.take(np.array([True, False, False, True, False])), made.take(np.array([0, 3])))


@pytest.mark.parametrize(("change", "message"), [
    ({"waveform": np.array([[1.0, 2], [np.nan, 0]])}, r"waveform is not finite \(b\)"),
    ({"spread": np.array([[1.0, 2], [0, -1]])}, r"negative or infinite \(b\)"),
    ({"shift_s": np.array([[1.0], [np.inf]])}, r"shift is infinite \(b\)"),
    ({"flip": np.array([[2], [1]])}, r"neither -1 nor 1, nor 0 for unknown \(a\)"),
    ({"halves": np.full((2, 2, 2), -np.inf)}, r"half a bag is infinite \(a\)"),
    ({"waveform": np.ones((3, 2))}, "cannot have the shape"), ({"spread": np.ones((2, 3))}, "cannot have the shape"),
    ({"halves": np.ones((2, 3, 2))}, "cannot have the shape"), ({"dt": 0.0}, "No time axis"),
    ({"shift_s": np.ones((2, 1)), "flip": np.ones((2, 2))}, "cannot have the shapes"),
])
def test_what_cannot_be_waveforms_is_refused(change, message):
    given = {"waveform": np.ones((2, 2)), "dt": 1.0, "t0": 0.0} | change
    with pytest.raises(InputError, match=message):
        WaveformPredictions.of(["a", "b"], given.pop("waveform"), **given)


def test_files_that_are_something_else_or_damaged_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        WaveformPredictions.read(tmp_path / "none.parquet")
    path = tmp_path / "w.parquet"
    waveforms().write(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        WaveformPredictions.read(path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(InputError, match="does not hold predicted waveforms"):
        WaveformPredictions.read(path)


@pytest.mark.parametrize("column", ["waveform", "flip", "member", "fold"])
def test_a_file_without_a_column_or_with_another_length_is_damaged(tmp_path, column):
    path = tmp_path / "w.parquet"
    waveforms().write(path)
    table = pq.read_table(path)
    pq.write_table(table.drop_columns([column]), path)
    with pytest.raises(InputError, match="damaged"):
        WaveformPredictions.read(path)
    key = b"groundswell.waveform_predictions"
    meta = json.loads(table.schema.metadata[key]) | {"samples": 15}
    del meta["crc32"]  # as in files of earlier versions
    pq.write_table(table.replace_schema_metadata({key: json.dumps(meta).encode()}), path)
    with pytest.raises(InputError, match="does not hold 15 numbers"):
        WaveformPredictions.read(path)
