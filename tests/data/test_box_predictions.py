"""Predicted and true boxes survive the disk, join and select without mixing up images, and refuse what they cannot
be."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.data.boxes import BoxPredictions, BoxTruth, boxes_of

ARRAYS = ("sample_id", "member", "fold", "count", "boxes", "score", "label")
CLASSES = ("grouper", "shrimp")


def predicted(counts=(2, 0, 3), *, first=0, **options):
    rng = np.random.default_rng(sum(counts) + first)
    return BoxPredictions.of(
        [f"clip/{k}" for k in range(first, first + len(counts))],
        [(rng.uniform(0, 50, (k, 4)), rng.uniform(0, 1, k), rng.integers(0, 2, k)) for k in counts], CLASSES, **options)


def annotated(boxes, label, crowd=None):
    return SimpleNamespace(boxes=np.asarray(boxes, float).reshape(-1, 4), label=np.asarray(label, int),
                           crowd=np.zeros(len(label), bool) if crowd is None else np.asarray(crowd))


def true(**options):
    return BoxTruth.of(["a", "b", "c"], [annotated([[0, 0, 4, 4]], [1]), annotated([], []),
                                         annotated([[1, 1, 2, 2], [3, 3, 9, 9]], [0, 1], [False, True])],
                       CLASSES, **options)


def equal(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) and getattr(a, name).dtype == getattr(b, name).dtype
               for name in ARRAYS) and (a.classes, a.note) == (b.classes, b.note)


@pytest.mark.parametrize("made", [predicted(), predicted(()), predicted((0, 0)),
                                  predicted((1,), member="seed 1", fold=2, note={"simulated": True})])
def test_boxes_read_back_are_the_same(tmp_path, made):
    made.write(tmp_path / "boxes.parquet")
    assert equal(BoxPredictions.read(tmp_path / "boxes.parquet"), made)
    assert not list(tmp_path.glob(".*"))


def test_the_file_can_be_read_without_us(tmp_path):
    made = predicted()
    made.write(tmp_path / "b.parquet")
    frame = pq.read_table(tmp_path / "b.parquet").to_pandas()
    assert list(frame.columns) == ["sample_id", "member", "fold", "left", "top", "right", "bottom", "score", "label"]
    assert np.array_equal(np.concatenate(frame["right"]), made.boxes[:, 2]) and len(frame["score"][1]) == 0


@given(st.lists(st.integers(0, 4), max_size=6), st.data())
def test_selecting_keeps_each_image_with_its_boxes(counts, data):
    made = predicted(tuple(counts))
    rows = np.array(data.draw(st.permutations(range(len(counts)))), np.int64)[:data.draw(st.integers(0, len(counts)))]
    taken = made.take(rows)
    assert taken.sample_id.tolist() == made.sample_id[rows].tolist()
    for k, row in enumerate(rows):
        assert all(np.array_equal(x, y) for x, y in zip(taken.of_image(k), made.of_image(row), strict=True))
    mask = np.isin(np.arange(len(counts)), rows)
    assert equal(made.take(mask), made.take(np.sort(rows)))
    assert equal(BoxPredictions.concatenate([made.take(mask), made.take(~mask)]),
                 made.take(np.concatenate([np.flatnonzero(mask), np.flatnonzero(~mask)])))


def test_joining_keeps_order_and_the_first_note():
    joined = BoxPredictions.concatenate([predicted(note={"a": 1}), predicted((1,), first=3, member="b", fold=1,
                                                                             note={"a": 2, "b": 3})])
    assert joined.count.tolist() == [2, 0, 3, 1] and joined.note == {"a": 1, "b": 3}
    assert joined.member.tolist() == ["model"] * 3 + ["b"] and joined.fold.tolist() == [-1, -1, -1, 1]
    with pytest.raises(InputError, match="classes agree"):
        BoxPredictions.concatenate([predicted(), BoxPredictions.of([], [], ("other",))])


def test_boxes_can_be_dropped_while_images_stay():
    made = predicted()
    kept = made.keep(made.score > 2)
    assert kept.count.tolist() == [0, 0, 0] and len(kept) == 3
    some = made.keep(np.array([True, False, False, True, True]))
    assert some.count.tolist() == [1, 0, 2] and np.array_equal(some.boxes, made.boxes[[0, 3, 4]])
    assert made.frame()["sample_id"].tolist() == ["clip/0"] * 2 + ["clip/2"] * 3
    assert set(made.frame()["class"]) <= set(CLASSES)


@pytest.mark.parametrize(("boxes", "score", "label", "message"), [
    ([[0, 0, np.nan, 1]], [0.5], [0], r"not finite \(b\)"), ([[0, 0, 1, 1]], [1.5], [0], r"between 0 and 1 \(b\)"),
    ([[0, 0, 1, 1]], [np.nan], [0], r"between 0 and 1"), ([[0, 0, 1, 1]], [0.5], [2], r"one of 0 to 1 \(b\)"),
    ([[0, 0, 1, 1]], [0.5], [0, 1], "shape")])
def test_what_is_no_detection_is_refused_by_name(boxes, score, label, message):
    nothing = (np.zeros((0, 4)), np.zeros(0), np.zeros(0))
    with pytest.raises(InputError, match=message):
        BoxPredictions.of(["a", "b"], [nothing, (np.array(boxes), np.array(score), np.array(label))], CLASSES)


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "b.parquet"
    with pytest.raises(InputError, match="cannot be read"):
        BoxPredictions.read(path)
    path.write_bytes(b"no parquet")
    with pytest.raises(InputError, match="cannot be read"):
        BoxPredictions.read(path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(InputError, match="does not hold predicted boxes"):
        BoxPredictions.read(path)
    predicted().write(path)
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["score"]), path)
    with pytest.raises(InputError, match="damaged"):
        BoxPredictions.read(path)
    ragged = table.set_column(table.column_names.index("label"), "label", pa.array([[0], [], [0, 0, 0, 1]]))
    pq.write_table(ragged, path)
    with pytest.raises(InputError, match="damaged"):
        BoxPredictions.read(path)


def test_truth_is_found_by_image_and_never_taken_for_empty():
    truth = true(priority=("critical", None), group=["one", "one", "two"])
    swapped = truth.beside(np.array(["c", "b"], object))
    assert swapped.count.tolist() == [2, 0] and swapped.group.tolist() == ["two", "one"]
    assert swapped.of_image(0)[2].tolist() == [False, True] and swapped.priority == ("critical", None)
    assert true().group.tolist() == ["a", "b", "c"] and true().image.tolist() == [0, 2, 2]
    with pytest.raises(InputError, match=r"not known \(d\)"):
        truth.beside(np.array(["a", "d"], object))
    with pytest.raises(InputError, match="given twice"):
        BoxTruth.of(["a", "a"], [annotated([], [])] * 2, CLASSES)


def test_positions_of_boxes_follow_the_rows():
    assert boxes_of(np.array([2, 0, 3]), np.array([2, 0, 2])).tolist() == [2, 3, 4, 0, 1, 2, 3, 4]
