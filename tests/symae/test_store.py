"""Stores of bags: what was written is read back, and nothing else is taken for one."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from groundswell.core.errors import InputError
from groundswell.pipelines.symae.store import BagStore, StoreFacts

NT = 16
FACTS = StoreFacts(dt=0.5, t0=-4.0, nt=NT, preparation={"least_traces": 2}, note={"simulated": True})


def parts(counts: tuple[int, ...] = (3, 2, 4)) -> dict:
    rng = np.random.default_rng(1)
    bag = np.repeat(np.arange(len(counts)), counts)
    events, pixels = np.array(["quake_a", "quake_a", "quake_b"]), np.array([14, 5, 14])
    traces = pd.DataFrame({"bag": bag, "event": events[bag], "pixel": pixels[bag],
                           "station": [f"XX.S{i}" for i in range(len(bag))], "azimuth": rng.uniform(0, 360, len(bag))})
    bags = pd.DataFrame({"event": events, "pixel": pixels, "latitude": [1.0, 1.0, -20.0],
                         "longitude": [5.0, 5.0, 178.0], "time": ["2012-01-01T05:27:55Z"] * 2 + [None]})
    n = len(bag)
    truth = {"source": rng.normal(size=(3, NT)), "shift": rng.normal(size=n), "flip": np.ones(n, np.int8),
             "clean": rng.normal(size=(n, NT)), "path": rng.normal(size=(n, NT)), "shared": np.zeros(3, bool)}
    return {"facts": FACTS, "traces": traces, "bags": bags, "x": rng.normal(size=(n, NT)).astype(np.float32),
            "truth": truth}


@pytest.fixture
def store(tmp_path: Path) -> BagStore:
    return BagStore.create(tmp_path / "store", **parts())


def test_what_was_written_is_read_back(store: BagStore) -> None:
    given = parts()
    again = BagStore.open(store.path)
    assert again.facts == FACTS and len(again) == 3 and again.simulated and again.has_truth
    for bag, rows in enumerate((slice(0, 3), slice(3, 5), slice(5, 9))):
        np.testing.assert_array_equal(again.read(bag), given["x"][rows])
        np.testing.assert_array_equal(again.truth("clean", bag), given["truth"]["clean"][rows].astype(np.float32))
        np.testing.assert_array_equal(again.truth("source", bag), given["truth"]["source"][bag].astype(np.float32))
        assert again.truth("shift", bag).shape == (rows.stop - rows.start,) and not again.truth("shared", bag)
    assert again.bags["start"].tolist() == [0, 3, 5] and again.bags["count"].tolist() == [3, 2, 4]
    assert again.traces["flip"].dtype == np.int8 and again.traces["pick"].isna().all()
    assert again.fingerprint() == store.fingerprint()
    again.verify()


def test_blocks_make_the_same_store_as_one_array(store: BagStore, tmp_path: Path) -> None:
    given = parts()
    x = given.pop("x")
    other = BagStore.create(tmp_path / "other", x=iter([x[:4], x[4:]]), **given)
    assert other.fingerprint() == store.fingerprint()


def test_the_fingerprint_is_of_the_content_and_not_of_free_facts(store: BagStore, tmp_path: Path) -> None:
    given = parts()
    noted = BagStore.create(tmp_path / "noted", **{**given, "facts": StoreFacts(0.5, -4.0, NT, note={"who": "me"})})
    assert noted.fingerprint() == store.fingerprint()
    given["x"][0, 0] += 1
    assert BagStore.create(tmp_path / "other", **given).fingerprint() != store.fingerprint()


def test_the_table_has_a_row_for_each_bag_and_holds_out_whole_events(store: BagStore) -> None:
    table = store.table()
    assert table.column("sample_id").tolist() == ["quake_a/14", "quake_a/5", "quake_b/14"]
    assert table.groups().tolist() == ["quake_a", "quake_a", "quake_b"]
    assert (table.labels() == -1).all() and table.origin["simulated"] is True and table.pipeline == "symae"
    assert table.column("count").tolist() == [3, 2, 4]


def test_a_pickled_store_opens_again(store: BagStore) -> None:
    data = pickle.dumps(store)
    assert len(data) < 500
    np.testing.assert_array_equal(pickle.loads(data).read(2), store.read(2))


def test_bags_are_found_by_event_and_pixel_or_those_there_are_named(store: BagStore) -> None:
    assert store.bag_of("quake_b", 14) == 2
    with pytest.raises(InputError, match=r"no event 'quake_c'.*quake_a, quake_b"):
        store.bag_of("quake_c", 14)
    with pytest.raises(InputError, match=r"no bag of pixel 6.*14, 5"):
        store.bag_of("quake_a", 6)
    with pytest.raises(InputError, match="no bag 3"):
        store.read(3)
    with pytest.raises(InputError, match="no true 'colour'"):
        store.truth("colour", 0)


def test_nothing_is_overwritten_unless_it_is_a_store_to_be_replaced(store: BagStore, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="something here already"):
        BagStore.create(store.path, **parts())
    given = parts() | {"truth": None}
    assert not BagStore.create(store.path, **given, replace=True).has_truth
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="no store of bags"):
        BagStore.create(tmp_path / "mine", **given, replace=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "store"]


@pytest.mark.parametrize("change", ["nan", "zeros", "short", "few", "order", "twice", "truth", "mismatch", "one"])
def test_what_does_not_fit_is_refused_and_nothing_is_left_behind(change: str, tmp_path: Path) -> None:
    given = parts()
    expected = {"nan": "quake_a/5/XX.S4", "zeros": "quake_b/14/XX.S5", "short": "come as", "few": "waveforms of 8",
                "order": "lie together", "twice": "one event and one pixel", "truth": "shape",
                "mismatch": "another event", "one": "quake_a/5"}
    if change == "nan":
        given["x"][4, 3] = np.nan
    elif change == "zeros":
        given["x"][5] = 0
    elif change == "short":
        given["x"] = given["x"][:, :-1]
    elif change == "few":
        given["x"] = given["x"][:-1]
    elif change == "order":
        given["traces"].loc[0, "bag"] = 2
    elif change == "twice":
        given["bags"].loc[1, "pixel"] = 14
    elif change == "truth":
        given["truth"]["source"] = given["truth"]["source"][:2]
    elif change == "mismatch":
        given["traces"].loc[0, "event"] = "quake_b"
    else:
        given = parts((3, 1, 4)) | {"truth": None}
    with pytest.raises(InputError, match=expected[change]):
        BagStore.create(tmp_path / "store", **given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["absent", "no json", "other", "cut", "object", "table", "rows", "truth", "dt"])
def test_a_damaged_store_is_refused_by_one_paragraph(damage: str, store: BagStore) -> None:
    path = store.path
    described = json.loads((path / "store.json").read_text())
    if damage == "absent":
        shutil.rmtree(path)
    elif damage == "no json":
        (path / "store.json").write_text("{")
    elif damage == "other":
        (path / "store.json").write_text('{"format": "soup"}')
    elif damage == "cut":
        (path / "traces.npy").write_bytes((path / "traces.npy").read_bytes()[:-8])
    elif damage == "object":
        np.save(path / "traces.npy", np.array([{}], object), allow_pickle=True)
    elif damage == "table":
        (path / "bags.parquet").write_text("event,pixel")
    elif damage == "rows":
        pd.read_parquet(path / "traces.parquet").iloc[:-1].to_parquet(path / "traces.parquet")
    elif damage == "truth":
        (path / "truth" / "shift.npy").unlink()
    else:
        (path / "store.json").write_text(json.dumps({**described, "dt": 0.25}))
    with pytest.raises(InputError) as raised:
        BagStore.open(path)
    assert raised.value.exit_status == 2 and "\n" not in str(raised.value)


def test_a_changed_value_is_found_by_verifying(store: BagStore) -> None:
    with open(store.path / "traces.npy", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    with pytest.raises(InputError, match="fingerprint"):
        BagStore.open(store.path).verify()
