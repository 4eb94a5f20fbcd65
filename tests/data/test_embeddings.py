"""The store of embeddings: what goes in comes out, by id and in the order asked for."""

from __future__ import annotations

import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.data.embeddings import reading, transfer
from groundswell.data.embeddings.spec import TableSpec
from groundswell.data.embeddings.store import EmbeddingStore

SMALL = TableSpec("vision_mean", (6,))


def vectors(count, shape, seed=0):
    return np.random.default_rng(seed).standard_normal((count, *shape), dtype=np.float32)


def filled(folder: Path, spec=SMALL, count=23, rows_per_part=5, seed=0):
    """A store with one table of shuffled ids 7, 10, 13, ... and the vectors by id."""
    store = EmbeddingStore.create(folder)
    ids = np.random.default_rng(seed).permutation(np.arange(count) * 3 + 7)
    rows = vectors(count, spec.shape, seed)
    with store.writer(spec, rows_per_part=rows_per_part) as writer:
        for start in range(0, count, 4):
            writer.add(ids[start:start + 4], rows[start:start + 4])
    return store, dict(zip(ids.tolist(), rows, strict=True))


@settings(max_examples=30)
@given(st.data())
def test_rows_come_back_by_id_in_the_order_asked_for(tmp_path_factory, data):
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    ids = data.draw(st.lists(st.integers(-2**63, 2**63 - 1), min_size=1, max_size=30, unique=True))
    rows = vectors(len(ids), shape)
    store = EmbeddingStore.create(tmp_path_factory.mktemp("store") / "s")
    with store.writer(TableSpec("t", shape), rows_per_part=data.draw(st.integers(1, 40))) as writer:
        cut = data.draw(st.integers(0, len(ids)))
        writer.add(np.array(ids[:cut], np.int64), rows[:cut])
        writer.add(np.array(ids[cut:], np.int64), rows[cut:])
    asked = data.draw(st.lists(st.integers(0, len(ids) - 1), max_size=50))
    for opened in (store, EmbeddingStore.open(store.path, verify=True)):
        np.testing.assert_array_equal(opened.read("t", np.array([ids[i] for i in asked], np.int64)), rows[asked])
        np.testing.assert_array_equal(opened.ids("t"), np.sort(ids))
        np.testing.assert_array_equal(opened.gather("t"), rows[np.argsort(ids)])


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("cached", [True, False, None])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_large_rows_are_the_same_copied_from_maps_or_read_from_files(tmp_path, monkeypatch, dtype, cached, alone):
    spec = TableSpec("vision", (3, 1000), dtype)
    store, by_id = filled(tmp_path / "s", spec)
    ids = np.array([7, 10, 13, 70, 16, 10, 40, 43, 46, 73])
    small = store.read("vision", ids)
    monkeypatch.setattr(reading, "LARGE_ROW_BYTES", 1)
    monkeypatch.setattr(reading, "TASK_BYTES", 2 * spec.row_bytes)
    monkeypatch.setattr(reading, "PARALLEL_BYTES", (1 << 30) * alone)
    monkeypatch.setattr(transfer, "BLOCK", 700)
    monkeypatch.setattr(transfer.MappedPart, "cached", lambda *place: cached)
    out = np.full((len(ids), 3, 1000), np.nan, np.float32)
    assert store.read("vision", ids, out) is out
    np.testing.assert_array_equal(out, small)
    tolerance = {"float32": 0, "float16": 2**-11, "bfloat16": 2**-8}[dtype]
    np.testing.assert_allclose(out, [by_id[i] for i in ids.tolist()], rtol=tolerance, atol=1e-6 * (dtype == "float16"))


@pytest.mark.parametrize("long", [1, 1 << 30])
def test_small_rows_of_several_parts_are_the_same_one_by_one_and_all_at_once(tmp_path, monkeypatch, long):
    store, by_id = filled(tmp_path / "s", count=80, rows_per_part=40)
    monkeypatch.setattr(transfer, "LONG_ROW_BYTES", long)
    ids = np.random.default_rng(3).choice(sorted(by_id), 100)
    np.testing.assert_array_equal(store.read("vision_mean", ids), [by_id[i] for i in ids.tolist()])


def test_a_read_that_the_system_cuts_short_is_gone_on_with(tmp_path, monkeypatch):
    spec = TableSpec("vision", (50,))
    store, by_id = filled(tmp_path / "s", spec)
    monkeypatch.setattr(reading, "LARGE_ROW_BYTES", 1)
    monkeypatch.setattr(transfer.MappedPart, "cached", lambda *place: False)
    whole = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset: whole(fd, [buffers[0][:77]], offset))
    np.testing.assert_array_equal(store.gather("vision"), [by_id[i] for i in sorted(by_id)])


def test_what_the_system_holds_is_recognised(tmp_path):
    spec = TableSpec("vision", (100_000,))
    store, _ = filled(tmp_path / "s", spec, count=3)
    part = transfer.MappedPart(store.path / "vision" / "part-00000.bin", spec)
    part.path.read_bytes()
    if part.cached(0, 1) is None:
        pytest.skip("this system cannot say what it holds")
    assert part.cached(0, 3 * spec.row_bytes) and part.cached(3 * spec.row_bytes - 1, 1)
    assert not part.cached(0, 4 * spec.row_bytes), "bytes after the end are not held"


@pytest.mark.parametrize("cached", [True, False, None])
def test_rows_that_are_not_held_are_asked_for_beforehand_all_at_once(tmp_path, monkeypatch, cached):
    store, by_id = filled(tmp_path / "s", rows_per_part=100)
    asked = []
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, offset, length, advice: asked.append((offset, length)))
    monkeypatch.setattr(transfer.MappedPart, "cached", lambda *place: cached)
    np.testing.assert_array_equal(store.read("vision_mean", np.array([13, 7, 13])), [by_id[i] for i in (13, 7, 13)])
    assert asked == ([(0, 24), (48, 24)] if cached is False else [])


def test_what_was_held_is_asked_about_again_after_a_moment_and_what_was_not_at_once(tmp_path, monkeypatch):
    store, _ = filled(tmp_path / "s", rows_per_part=100)
    said, asked, now = [False, True, False], [], [100.0]
    monkeypatch.setattr(transfer.MappedPart, "cached", lambda *place: asked.append(place) or said[len(asked) - 1])
    monkeypatch.setattr(transfer.time, "monotonic", lambda: now[0])
    part = store.reader("vision_mean")._map(0)
    assert [part.held(0), part.held(1), part.held(2)] == [False, True, True] and len(asked) == 2
    now[0] += 2 * transfer.HELD_S
    assert part.held(3) is False and len(asked) == 3


@pytest.mark.parametrize("lost", [[1], [7, 8, 9], list(range(100, 200))])
def test_unknown_ids_are_named(tmp_path, lost):
    store, _ = filled(tmp_path / "s")
    named = [i for i in lost if i != 7]
    with pytest.raises(InputError) as error:
        store.read("vision_mean", np.array([10, *lost]))
    said = f"{len(named)} id(s) are not in the table 'vision_mean': " + ", ".join(map(str, named[:5]))
    assert said in str(error.value)
    assert ("..." in str(error.value)) == (len(named) > 5)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_missing_vector_is_never_zeros(tmp_path, dtype):
    store = EmbeddingStore.create(tmp_path / "s")
    rows = np.zeros((3, 6), np.float32)
    with store.writer(TableSpec("vision_mean", (6,), dtype)) as writer:
        writer.add(np.array([5, 3, 4]), rows, np.array([False, True, False]))
        writer.add(np.array([1]), np.full((1, 6), np.inf), np.array([True]))
    with pytest.raises(InputError, match=r"1 vector\(s\) of the table 'vision_mean' are missing, of the id\(s\) 3"):
        store.read("vision_mean", np.array([4, 3]))
    got = EmbeddingStore.open(store.path).read("vision_mean", np.array([4, 3, 1, 5]), missing="nan")
    np.testing.assert_array_equal(np.isnan(got), np.array([False, True, True, False])[:, None].repeat(6, 1))
    assert np.isnan(store.gather("vision_mean")[:2]).all()
    np.testing.assert_array_equal(store.present("vision_mean", np.array([1, 2, 3, 4, 5])), [0, 0, 0, 1, 1])
    assert store.manifest("vision_mean").rounding.rows == 2, "the rounding is measured on vectors that are there"


def test_a_store_can_be_pickled_and_forked_and_shared_by_threads(tmp_path):
    store, by_id = filled(tmp_path / "s", TableSpec("vision_mean", (500,)), count=50)
    ids = np.array(sorted(by_id))
    wanted = np.array([by_id[i] for i in ids.tolist()])
    store.read("vision_mean", ids)
    copied = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(copied.read("vision_mean", ids), wanted)

    def work(seed):
        picked = np.random.default_rng(seed).integers(0, len(ids), 20)
        return (store.read("vision_mean", ids[picked]) == wanted[picked]).all()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(200)))

    held = threading.Event()
    release = threading.Event()

    def hold():
        with store.reader("vision_mean")._lock:
            held.set()
            release.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(20)
    child = os.fork()  # while another thread is inside the lock
    if child == 0:
        os._exit(0 if (store.read("vision_mean", ids) == wanted).all() else 1)
    release.set()
    holder.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_more_parts_than_are_mapped_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAPS", 2)
    store, by_id = filled(tmp_path / "s")
    ids = np.array(list(by_id) * 3)
    np.testing.assert_array_equal(store.read("vision_mean", ids), [by_id[i] for i in ids.tolist()])
    assert len(store.reader("vision_mean")._maps) == 2
    store.close()
    np.testing.assert_array_equal(store.read("vision_mean", ids[:3]), [by_id[i] for i in ids[:3].tolist()])


@pytest.mark.parametrize("ids", [[7.0, 10.5], ["7"], [[7]], 7, np.array([2**63], np.uint64), [None]])
def test_ids_that_are_no_whole_numbers_are_refused_not_cut(tmp_path, ids):
    store, _ = filled(tmp_path / "s")
    for asking in (store.read, store.present):
        with pytest.raises(InputError, match="not whole numbers in one row"):
            asking("vision_mean", ids)
    assert store.read("vision_mean", []).shape == (0, 6) and store.read("vision_mean", [7, 10]).shape == (2, 6)


@pytest.mark.parametrize("out", [np.empty((2, 6)), np.empty((3, 6), np.float32), np.empty((2, 12), np.float32)[:, ::2]])
def test_a_buffer_that_does_not_fit_is_refused(tmp_path, out):
    store, _ = filled(tmp_path / "s")
    with pytest.raises(ValueError, match="out must be"):
        store.read("vision_mean", np.array([7, 10]), out)


def test_taxa_keep_their_numbers(tmp_path):
    store = EmbeddingStore.create(tmp_path / "s")
    np.testing.assert_array_equal(store.add_taxa(["Quercus", "Acer", "Quercus"]), [0, 1, 0])
    other = EmbeddingStore.open(store.path)
    np.testing.assert_array_equal(other.add_taxa(["Pinus", "Acer"]), [2, 1])
    np.testing.assert_array_equal(store.add_taxa(["Ulmus"]), [3])  # the other's taxa are seen
    assert EmbeddingStore.open(store.path).taxa == store.taxa == ("Quercus", "Acer", "Pinus", "Ulmus")
    language = TableSpec("language", (4,), key="taxon")
    with store.writer(language) as writer:
        writer.add(np.arange(4), vectors(4, (4,)))
        with pytest.raises(InputError, match="not numbers of the store's 4 taxa"):
            writer.add(np.array([4]), vectors(1, (4,)))
    with pytest.raises(InputError, match="no name"):
        store.add_taxa([""])


def test_observations_are_kept_and_what_is_made_of_them_once(tmp_path):
    store = EmbeddingStore.create(tmp_path / "s", note={"simulated": True})
    with pytest.raises(InputError, match="no observations"):
        store.observations()
    frame = pd.DataFrame({"observation_id": ["1_1"], "hour": pd.array([None], "Int64"), "observer": ["a"]})
    store.write_observations(frame)
    made = []
    assert [store.once("x", lambda: made.append(1) or len(made)) for _ in range(3)] == [1, 1, 1]
    store.write_observations(frame)
    assert store.once("x", lambda: made.append(1) or len(made)) == 2
    opened = EmbeddingStore.open(store.path)
    pd.testing.assert_frame_equal(opened.observations(), frame)
    assert opened.note == {"simulated": True}


def test_a_store_is_made_only_where_nothing_is(tmp_path):
    (tmp_path / "s").mkdir()
    EmbeddingStore.create(tmp_path / "s")
    with pytest.raises(InputError, match="not empty"):
        EmbeddingStore.create(tmp_path / "s")
    with pytest.raises(InputError, match="not a store"):
        EmbeddingStore.open(tmp_path)
    with pytest.raises(InputError, match="has no table 'vision'; it has none"):
        EmbeddingStore.open(tmp_path / "s").ids("vision")


@pytest.mark.parametrize("wrong", [{"name": "../vision"}, {"name": ""}, {"name": "Vision"}, {"shape": ()},
                                   {"shape": (3, 0)}, {"dtype": "float64"}, {"key": "image"}])
def test_a_table_that_cannot_be_is_refused(wrong):
    with pytest.raises(InputError):
        TableSpec(**{"name": "vision", "shape": (3,), **wrong})
