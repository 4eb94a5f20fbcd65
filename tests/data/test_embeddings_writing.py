"""Writing a store of embeddings: a kill leaves what was finished, tables only grow, and harm is named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from groundswell.core import locks
from groundswell.core.errors import BusyError, FailureError, InputError
from groundswell.data.embeddings import store as store_module
from groundswell.data.embeddings import writing
from groundswell.data.embeddings.spec import TableSpec
from groundswell.data.embeddings.store import EmbeddingStore

SPEC = TableSpec("vision_mean", (5,))
ROWS = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32)
IDS = np.arange(12) * 2

WRITER = """
import os, signal, sys
import numpy as np
from groundswell.data.embeddings.store import EmbeddingStore
from groundswell.data.embeddings.spec import TableSpec

path, moment, when = sys.argv[1], int(sys.argv[2]), sys.argv[3]
replace, done = os.replace, 0

def dying(source, target):
    global done
    done += 1
    if done == moment and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
    if done == moment and when == "after":
        os.kill(os.getpid(), signal.SIGKILL)

os.replace = dying
rows = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32)
with EmbeddingStore.open(path).writer(TableSpec("vision_mean", (5,)), rows_per_part=4) as writer:
    writer.add(np.arange(12) * 2, rows)
"""


def written(folder: Path, rows_per_part=4, spec=SPEC):
    store = EmbeddingStore.create(folder)
    with store.writer(spec, rows_per_part=rows_per_part) as writer:
        writer.add(IDS, ROWS)
    return store


# Renames of one import, in order: part, manifest, store.json, and again for each of three parts.
@pytest.mark.parametrize(("moment", "when", "finished"), [
    (1, "before", 0), (1, "after", 0), (2, "before", 0), (2, "after", 4), (3, "after", 4), (4, "after", 4),
    (5, "before", 4), (5, "after", 8)])
def test_a_killed_writer_leaves_what_was_finished_and_the_next_goes_on(tmp_path, moment, when, finished):
    EmbeddingStore.create(tmp_path / "s")
    killed = subprocess.run([sys.executable, "-c", WRITER, str(tmp_path / "s"), str(moment), when], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    store = EmbeddingStore.open(tmp_path / "s", verify=True)
    assert set(store.tables) == ({"vision_mean"} if finished else set())
    if finished:
        np.testing.assert_array_equal(store.gather("vision_mean"), ROWS[:finished])
    with store.writer(SPEC, rows_per_part=4) as writer:
        writer.add(IDS[finished:], ROWS[finished:])
    store = EmbeddingStore.open(tmp_path / "s", verify=True)
    np.testing.assert_array_equal(store.read("vision_mean", IDS), ROWS)
    assert sorted(path.name for path in (store.path / "vision_mean").iterdir()) == [
        "manifest.json", "part-00000.bin", "part-00001.bin", "part-00002.bin"], "nothing half-written lies about"
    assert store.fingerprint("vision_mean") == written(tmp_path / "whole").fingerprint("vision_mean")


def test_an_error_while_writing_keeps_finished_parts_and_drops_the_rest(tmp_path):
    store = EmbeddingStore.create(tmp_path / "s")
    with pytest.raises(RuntimeError, match="elsewhere"), store.writer(SPEC, rows_per_part=4) as writer:
        writer.add(IDS[:6], ROWS[:6])
        raise RuntimeError("elsewhere")
    for opened in (store, EmbeddingStore.open(store.path, verify=True)):
        np.testing.assert_array_equal(opened.gather("vision_mean"), ROWS[:4])


def test_a_table_is_not_there_before_it_has_rows(tmp_path):
    store = EmbeddingStore.create(tmp_path / "s")
    with store.writer(SPEC) as writer:
        writer.add(IDS[:0], ROWS[:0])
    with pytest.raises(InputError), store.writer(SPEC) as writer:
        writer.add(IDS[:2], ROWS[:3])
    assert EmbeddingStore.open(store.path).tables == {} and not (store.path / "vision_mean").exists()


def test_a_full_disk_leaves_the_table_as_it_was(tmp_path, monkeypatch):
    store = written(tmp_path / "s")
    before = {path: path.read_bytes() for path in (store.path / "vision_mean").iterdir()}

    def full(self, path, order):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing.TableWriter, "_write", full)
    with pytest.raises(FailureError, match="No space left"), store.writer(SPEC) as writer:
        writer.add(IDS + 1, ROWS)
    assert {path: path.read_bytes() for path in (store.path / "vision_mean").iterdir()} == before


def test_a_table_only_grows(tmp_path):
    store = written(tmp_path / "s")
    first = {path.name: path.read_bytes() for path in (store.path / "vision_mean").glob("*.bin")}
    with store.writer(SPEC, facts={"pooled_from": "vision"}) as writer:
        for ids, said in ((IDS[:7], r"7 id\(s\) are in the table: 0, 2, 4, 6, 8, \.\.\."), ([1, 1], "given twice: 1")):
            with pytest.raises(InputError, match=said):
                writer.add(np.array(ids), ROWS[:len(ids)])
        writer.add(np.array([1]), ROWS[:1])
        with pytest.raises(InputError, match="added already: 1"):
            writer.add(np.array([3, 1]), ROWS[:2])
    after = EmbeddingStore.open(store.path, verify=True)
    np.testing.assert_array_equal(after.ids("vision_mean"), [0, 1, *range(2, 23, 2)])
    assert {name: (store.path / "vision_mean" / name).read_bytes() for name in first} == first
    assert after.manifest("vision_mean").facts == {"pooled_from": "vision"}
    for other in (TableSpec("vision_mean", (6,)), TableSpec("vision_mean", (5,), "float16"),
                  TableSpec("vision_mean", (5,), key="taxon")):
        with pytest.raises(InputError, match="Append rows of the same kind"), after.writer(other):
            pass


@pytest.mark.parametrize(("ids", "rows", "missing"), [
    (np.arange(3), ROWS[:2], None), (np.arange(2), ROWS[:2, :4], None), (np.arange(2), ROWS[:2].astype(int), None),
    (np.array([0.5, 1]), ROWS[:2], None), (np.array([0, 2**63], np.uint64), ROWS[:2], None),
    (np.array([["1", "2"]]), ROWS[:2], None),
    (np.arange(2), ROWS[:2], np.zeros(3, bool)), (np.arange(2), ROWS[:2].astype(np.longdouble), None)])
def test_rows_that_do_not_go_with_the_table_are_refused(tmp_path, ids, rows, missing):
    store = EmbeddingStore.create(tmp_path / "s")
    with pytest.raises(InputError, match="do not"), store.writer(SPEC) as writer:
        writer.add(ids, rows, missing)


def test_two_writers_of_a_table_are_one_too_many_but_two_tables_are_written_at_once(tmp_path):
    store = EmbeddingStore.create(tmp_path / "s")
    with store.writer(SPEC) as one, store.writer(TableSpec("other", (5,))) as two:
        with pytest.raises(BusyError, match="Another process"), EmbeddingStore.open(store.path).writer(SPEC):
            pass
        threads = [threading.Thread(target=lambda w=w, i=i: [w.add(IDS[k:k + 1], ROWS[k:k + 1]) or w.flush()
                                                             for k in range(i, 12)]) for i, w in enumerate((one, two))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {name: len(EmbeddingStore.open(store.path).ids(name)) for name in store.tables} == {
        "vision_mean": 12, "other": 11}


def test_a_part_holds_about_as_many_bytes_as_stated(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "PART_BYTES", 5 * SPEC.row_bytes + 3)
    store = EmbeddingStore.create(tmp_path / "s")
    with store.writer(SPEC) as writer:
        writer.add(IDS, ROWS)
    assert [part.rows for part in store.manifest("vision_mean").parts] == [5, 5, 2]


def test_files_are_plain_rows_with_a_checksum_anyone_can_compute(tmp_path):
    import hashlib

    store = EmbeddingStore.create(tmp_path / "s")
    with store.writer(SPEC) as writer:
        writer.add(IDS[::-1], ROWS[::-1])
    manifest = json.loads((store.path / "vision_mean" / "manifest.json").read_text())
    data = (store.path / "vision_mean" / "part-00000.bin").read_bytes()
    np.testing.assert_array_equal(np.frombuffer(data, "<f4").reshape(-1, 5), ROWS)
    part = manifest["parts"][0]
    assert part == {"file": "part-00000.bin", "rows": 12, "bytes": 240, "sha256": hashlib.sha256(data).hexdigest(),
                    "ids": IDS.tolist(), "missing": []}
    assert (manifest["dtype"], manifest["shape"], manifest["key"]) == ("float32", [5], "observation")


def test_a_wrong_checksum_names_the_part(tmp_path):
    store = written(tmp_path / "s")
    part = store.path / "vision_mean" / "part-00001.bin"
    data = bytearray(part.read_bytes())
    data[17] ^= 4
    part.write_bytes(data)
    EmbeddingStore.open(store.path)
    with pytest.raises(InputError, match=r"part 'part-00001\.bin' of the table 'vision_mean' does not have"):
        EmbeddingStore.open(store.path, verify=True)
    with pytest.raises(InputError, match="no table 'vision'"):
        store.verify(["vision"])


@pytest.mark.parametrize("length", [0, 79, 81])
def test_a_part_of_another_length_is_found_on_opening(tmp_path, length):
    store = written(tmp_path / "s")
    os.truncate(store.path / "vision_mean" / "part-00002.bin", length)
    with pytest.raises(InputError, match=f"part 'part-00002.bin' has {length} bytes, not 80"):
        EmbeddingStore.open(store.path)
    (store.path / "vision_mean" / "part-00002.bin").unlink()
    with pytest.raises(InputError, match=r"part 'part-00002\.bin' is not there"):
        EmbeddingStore.open(store.path)


@pytest.mark.parametrize("change", [
    lambda m: m.update(format="other"), lambda m: m.update(dtype="float64"), lambda m: m.update(name="vision"),
    lambda m: m.update(shape=[6]), lambda m: m.pop("parts"), lambda m: m.update(shape="x"),
    lambda m: m["parts"][0].update(ids=[2, 0, 4, 6]), lambda m: m["parts"][0].update(ids=[0, 2, 4]),
    lambda m: m["parts"][1].update(ids=[0, 10, 12, 14]), lambda m: m["parts"][0].update(missing=[4]),
    lambda m: m["parts"][0].update(sha256="0"), lambda m: m["parts"][0].update(rows=3),
    lambda m: m["parts"][1].update(file="part-00000.bin"), lambda m: m["parts"][0].update(ids=["a", 2, 4, 6]),
    lambda m: m["parts"][0].update(ids=[0, 2, 4, 2**64]), lambda m: m.update(rounding={"worst": 1}),
    lambda m: m.update(facts=None), lambda m: m.update(parts=[1])])
def test_a_manifest_that_contradicts_itself_is_one_clear_paragraph(tmp_path, change):
    store = written(tmp_path / "s")
    path = store.path / "vision_mean" / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(InputError) as error:
        EmbeddingStore.open(store.path)
    assert "\n" not in str(error.value) and "vision_mean" in str(error.value)


@pytest.mark.parametrize("name", ["../../outside.bin", "/etc/passwd", "../link.bin", "link.bin"])
def test_a_part_outside_the_folder_is_refused(tmp_path, name):
    store = written(tmp_path / "s")
    folder = store.path / "vision_mean"
    outside = tmp_path / "outside.bin"
    outside.write_bytes((folder / "part-00000.bin").read_bytes())
    (folder / "link.bin").symlink_to(outside)
    (store.path / "link.bin").symlink_to(outside)
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace("part-00000.bin", name))
    with pytest.raises(InputError, match="leads outside its folder"):
        EmbeddingStore.open(store.path)


@pytest.mark.parametrize("change", [
    lambda s: s.update(tables=["../other"]), lambda s: s.update(tables=["absent"]),
    lambda s: s.update(taxa=["a", "a"]), lambda s: s.update(taxa=[1]), lambda s: s.update(format="x"),
    lambda s: s.update(note=[]), lambda s: s.pop("tables")])
def test_a_store_that_is_not_as_it_is_written_is_refused(tmp_path, change):
    store = written(tmp_path / "s")
    listing = json.loads((store.path / "store.json").read_text())
    change(listing)
    (store.path / "store.json").write_text(json.dumps(listing))
    with pytest.raises(InputError):
        EmbeddingStore.open(store.path)


def test_a_folder_that_cannot_be_written_to_is_said_so(tmp_path, monkeypatch):
    store = written(tmp_path / "s")

    def refused(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(locks.os, "open", refused)
    with pytest.raises(InputError, match="Cannot write here: Permission denied"), store.writer(SPEC):
        pass


def test_the_fingerprint_is_of_ids_marks_and_content(tmp_path):
    store = written(tmp_path / "a")
    assert store.fingerprint("vision_mean") == written(tmp_path / "b").fingerprint("vision_mean")
    prints = {store.fingerprint("vision_mean")}
    for name, ids, rows, missing in (("c", IDS + 1, ROWS, None), ("d", IDS, ROWS + 1, None),
                                     ("e", IDS, ROWS, IDS == 4)):
        other = EmbeddingStore.create(tmp_path / name)
        with other.writer(SPEC, rows_per_part=4) as writer:
            writer.add(ids, rows, missing)
        prints.add(other.fingerprint("vision_mean"))
    assert len(prints) == 4


def test_verifying_shows_progress_only_where_it_takes_long(tmp_path, monkeypatch):
    shown = []
    real = store_module.progress

    def spying(*args, **settings):
        shown.append(settings["quiet"])
        return real(*args, **{**settings, "quiet": True})

    monkeypatch.setattr(store_module, "progress", spying)
    written(tmp_path / "s").verify()
    assert shown == [True]
