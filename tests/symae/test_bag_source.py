"""Bags in the loader's buffers: every element filled, large bags cut to traces that depend on the bag alone."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from groundswell.core.errors import InputError
from groundswell.data.source import Source
from groundswell.pipelines.symae.source import BagSource
from groundswell.pipelines.symae.store import BagStore, StoreFacts

COUNTS = (3, 9, 2)


def make(path: Path, *, truth: bool = True, order: tuple[int, ...] = (0, 1, 2)) -> BagStore:
    rng = np.random.default_rng(0)
    bag = np.repeat(np.arange(3), COUNTS)
    n = len(bag)
    x = rng.normal(size=(n, 8)).astype(np.float32)
    known = {"source": rng.normal(size=(3, 8)), "shift": rng.normal(size=n), "flip": rng.choice([-1, 1], n),
             "clean": rng.normal(size=(n, 8))}
    rows = np.concatenate([np.flatnonzero(bag == k) for k in order])
    traces = pd.DataFrame({"bag": np.repeat(np.arange(3), [COUNTS[k] for k in order]), "pixel": 7,
                           "event": [f"e{k}" for k in bag[rows]], "station": [f"s{i}" for i in rows],
                           "held_out": rows % 4 == 3})
    bags = pd.DataFrame({"event": [f"e{k}" for k in order], "pixel": 7})
    arranged = {k: v[list(order)] if k == "source" else v[rows] for k, v in known.items()}
    return BagStore.create(path, StoreFacts(0.5, -4.0, 8), traces, bags, x[rows], arranged if truth else None)


def batch(source: BagSource, rows: list[int]) -> dict[str, np.ndarray]:
    out = {name: np.full((len(rows), *field.shape), 77, field.dtype) for name, field in source.fields.items()}
    source.read(np.array(rows), out)
    return out


def test_bags_come_with_their_truth_and_zeros_around(tmp_path: Path) -> None:
    store = make(tmp_path / "s")
    source = BagSource(store, store.table(), most_traces=4)
    assert isinstance(source, Source) and len(source) == 3
    out = batch(source, [2, 0])
    np.testing.assert_array_equal(out["mask"], [[True, True, False, False], [True, True, True, False]])
    np.testing.assert_array_equal(out["x"][1, :3], store.read(0))
    np.testing.assert_array_equal(out["shift"][0, :2], store.truth("shift", 2) / 0.5)
    np.testing.assert_array_equal(out["source"][0], store.truth("source", 2))
    assert set(np.unique(out["flip"])) <= {-1, 0, 1} and (out["labelled"] == 1).all()
    for name in ("x", "clean", "shift", "flip"):
        assert (out[name][~out["mask"]] == 0).all()


def test_without_truth_its_fields_are_zero(tmp_path: Path) -> None:
    store = make(tmp_path / "s", truth=False)
    out = batch(BagSource(store, store.table(), most_traces=4), [0, 1, 2])
    assert not any(out[name].any() for name in ("source", "clean", "shift", "flip", "labelled"))
    assert out["mask"].sum() == 3 + 4 + 2


def test_a_large_bag_is_cut_to_traces_that_depend_on_it_alone(tmp_path: Path) -> None:
    one, two = make(tmp_path / "one"), make(tmp_path / "two", order=(2, 1, 0))
    a = BagSource(one, one.table(), most_traces=4)
    b = BagSource(two, two.table(), most_traces=4)
    np.testing.assert_array_equal(batch(a, [1])["x"], batch(b, [1])["x"])
    np.testing.assert_array_equal(batch(a, [0, 1, 2])["x"][1], batch(a, [1])["x"][0])
    assert len(set(a.places(1).tolist())) == 4
    np.testing.assert_array_equal(batch(a, [1])["clean"][0], one.truth("clean", 1)[a.places(1)])


def test_stations_held_out_stay_out(tmp_path: Path) -> None:
    store = make(tmp_path / "s")
    kept, held = (BagSource(store, store.table().take(np.array([1])), most_traces=9, stations=s)  # type: ignore[arg-type]
                  for s in ("kept", "held_out"))
    assert sorted([*kept.places(0), *held.places(0)]) == list(range(9))
    with pytest.raises(InputError, match="e2/7"):
        BagSource(store, store.table().take(np.array([2])), most_traces=9, stations="held_out")


def test_it_can_be_pickled_and_refuses_another_stores_table(tmp_path: Path) -> None:
    store = make(tmp_path / "s")
    source = pickle.loads(pickle.dumps(BagSource(store, store.table(), most_traces=4)))
    np.testing.assert_array_equal(batch(source, [0])["x"][0, :3], store.read(0))
    with pytest.raises(InputError, match="another store"):
        BagSource(store, store.table().replaced(bag=[0, 1, 3]), most_traces=4)
