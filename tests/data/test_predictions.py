"""Predictions survive the disk, join and select without mixing anything up, and refuse what they cannot be."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from groundswell.core.errors import InputError
from groundswell.data.predictions import Predictions

CLASSES = ("earthquake", "quarry_blast", "noise")


def predictions(n=4, *, first=0, **options):
    probability = np.random.default_rng(n + first).dirichlet(np.ones(3), n)
    ids = [f"r:{k}" for k in range(first, first + n)]
    return Predictions.of(ids, np.arange(n) % 3 - 1, probability, CLASSES, **options)


def equal(a, b):
    return (a.classes, a.note) == (b.classes, b.note) and all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for name in ("sample_id", "truth", "probability", "member", "fold"))


def test_predictions_read_back_are_the_same(tmp_path):
    made = predictions(7, member="seed 1", fold=3, note={"simulated": True, "allow_leakage": "to show it"})
    made.write(tmp_path / "predictions.parquet")
    read = Predictions.read(tmp_path / "predictions.parquet")
    assert equal(read, made)
    assert read.probability.dtype == np.float64 and read.truth.dtype == np.int64


def test_the_file_can_be_read_without_us(tmp_path):
    made = predictions()
    made.write(tmp_path / "p.parquet")
    frame = pq.read_table(tmp_path / "p.parquet").to_pandas()
    assert list(frame.columns) == ["sample_id", "truth", "predicted", "p_earthquake", "p_quarry_blast", "p_noise",
                                   "member", "fold"]
    assert (frame["predicted"].to_numpy() == made.probability.argmax(axis=1)).all()


def test_joining_keeps_order_and_the_first_note():
    joined = Predictions.concatenate([predictions(3, fold=0, note={"a": 1}),
                                      predictions(2, first=3, fold=1, member="b", note={"a": 2, "b": 3})])
    assert joined.sample_id.tolist() == ["r:0", "r:1", "r:2", "r:3", "r:4"]
    assert joined.fold.tolist() == [0, 0, 0, 1, 1] and joined.member.tolist() == ["model"] * 3 + ["b"] * 2
    assert joined.note == {"a": 1, "b": 3} and len(joined) == 5
    other = Predictions.of(["x"], np.array([0]), np.array([[1.0]]), ("earthquake",))
    for parts in ([], [joined, other]):
        with pytest.raises(InputError, match="classes agree"):
            Predictions.concatenate(parts)


def test_selecting_by_mask_and_position_agree():
    made = predictions(5, note={"a": 1})
    mask = np.array([True, False, False, True, False])
    assert equal(made.take(mask), made.take(np.array([0, 3])))
    assert made.take(np.array([4, 4])).sample_id.tolist() == ["r:4", "r:4"]


@pytest.mark.parametrize(("probability", "truth", "message"), [
    (np.ones((2, 2)), [0, 1], "cannot have the shape"), (np.ones((3, 3)), [0, 1], "cannot have the shape"),
    (np.array([[1.0, 0, 0], [np.nan, 0, 1]]), [0, 1], "not finite \\(b\\)"),
    (np.array([[1.0, 0, 0], [0, np.inf, 1]]), [0, 1], "not finite \\(b\\)"),
    (np.full((2, 3), 1 / 3), [0], "as many truths"),
])
def test_what_cannot_be_predictions_is_refused(probability, truth, message):
    with pytest.raises(InputError, match=message):
        Predictions.of(["a", "b"], np.array(truth), probability, CLASSES)


def test_files_that_are_something_else_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        Predictions.read(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cannot be read"):
        Predictions.read(tmp_path / "bad.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="does not hold predictions"):
        Predictions.read(tmp_path / "other.parquet")
