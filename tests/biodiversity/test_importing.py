"""Importing published embeddings: nothing lost, nothing invented, nothing half-written."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from published_files import (
    SHAPE,
    SPECIES,
    VALUES,
    WIDTH,
    hub_folder,
    language,
    mapped_folder,
    observations,
    vision,
    write_observations,
    write_vectors,
)

from groundswell.core.errors import BusyError, FailureError, InputError
from groundswell.core.locks import held
from groundswell.data.embeddings.store import EmbeddingStore
from groundswell.data.embeddings.writing import TableWriter
from groundswell.pipelines.biodiversity import importing
from groundswell.pipelines.biodiversity.batch import get_training_batch
from groundswell.pipelines.biodiversity.importing import import_dataset


def imported(source: Path, out: Path, **options: Any) -> tuple[EmbeddingStore, list[str]]:
    lines = import_dataset(source, out, **{"vision_shape": SHAPE, "language_width": WIDTH, **options})
    return EmbeddingStore.open(out, verify=True), lines


def refused(source: Path, out: Path, match: str, **options: Any) -> None:
    """One InputError, and nothing beside the source."""
    before = sorted(out.parent.iterdir())
    with pytest.raises(InputError, match=match):
        imported(source, out, **options)
    assert sorted(out.parent.iterdir()) == before


# -- both layouts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["hub", "mapped", "mapped and observations"])
def test_every_vector_arrives_under_its_observation_bit_for_bit(tmp_path: Path, layout: str) -> None:
    source = tmp_path / "set"
    if layout == "hub":
        hub_folder(source)
    else:
        mapped_folder(source, parquet="and" in layout)
    store, lines = imported(source, tmp_path / "store", rows_per_part=3)
    frame = observations()
    ids = frame["gbif_id"].to_numpy()[:10]
    assert np.array_equal(store.read("vision", ids), vision(10).reshape(-1, *SHAPE))
    assert store.observations()["observation_id"].tolist() == [f"{i}_1" for i in frame["gbif_id"]]
    for name in ("latitude", "longitude", "taxon_name", "split", "has_vision"):
        assert store.observations()[name].tolist() == frame[name].tolist()
    assert "language_embedding" not in store.observations()
    if layout != "mapped":
        assert store.taxa == tuple(sorted(SPECIES))
        assert np.array_equal(store.gather("language"), [language()[name] for name in store.taxa])
    assert any("10 vectors" in line and "0 missing" in line for line in lines)
    assert not list(tmp_path.glob(".*"))


def test_a_batch_can_be_read_from_what_was_imported(tmp_path: Path) -> None:
    store, _ = imported(hub_folder(tmp_path / "set"), tmp_path / "store")
    batch = get_training_batch(store, ["4000000014_1", "4000000007_1"])
    assert batch["species"] == [SPECIES[2], SPECIES[1]]
    assert np.array_equal(batch["vision_embeddings"].numpy(), vision(10).reshape(-1, *SHAPE)[[2, 1]])
    assert np.array_equal(batch["language_embeddings"].numpy(), [language()[SPECIES[2]], language()[SPECIES[1]]])


def test_a_vector_of_the_published_size_arrives(tmp_path: Path) -> None:
    frame = observations(4)
    rows = np.random.default_rng(3).standard_normal((2, 8 * 24 * 24 * 1408), np.float32)
    write_observations(tmp_path / "set", frame)
    write_vectors(tmp_path / "set", frame["gbif_id"][:2], rows)
    import_dataset(tmp_path / "set", tmp_path / "store", dtype="bfloat16")
    store = EmbeddingStore.open(tmp_path / "store")
    assert store.tables["vision"].shape == (8, 24, 24, 1408)
    read = store.read("vision", frame["gbif_id"].to_numpy()[:2]).reshape(2, -1)
    assert np.abs(read - rows).max() <= store.manifest("vision").rounding.max_abs <= 0.02


def test_rounding_is_measured_and_said(tmp_path: Path) -> None:
    store, lines = imported(hub_folder(tmp_path / "set"), tmp_path / "store", dtype="float16")
    away = np.abs(store.read("vision", store.ids("vision")).reshape(10, -1) - vision(10)).max()
    assert store.manifest("vision").rounding.max_abs == away > 0
    assert store.tables["language"].dtype == "float32"
    assert any(f"{away:.3g}" in line for line in lines)


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float32(), VALUES)])
def test_lists_of_every_kind_are_read(tmp_path: Path, kind: pa.DataType) -> None:
    frame = observations()
    write_observations(tmp_path / "set", frame)
    write_vectors(tmp_path / "set", frame["gbif_id"][:10], vision(10).astype(np.float64 if "double" in str(kind) else
                                                                            np.float32), kind=kind)
    store, _ = imported(tmp_path / "set", tmp_path / "store")
    assert np.array_equal(store.read("vision", frame["gbif_id"].to_numpy()[:10]).reshape(10, -1), vision(10))


# -- what is not there ------------------------------------------------------------------------------------------------


def test_missing_vectors_are_marked_and_counted_never_zeros(tmp_path: Path) -> None:
    frame, rows = observations(), list(vision(9))
    rows[2], rows[5] = None, np.zeros(VALUES, np.float32)
    write_observations(tmp_path / "set", frame)  # the tenth is promised by has_vision alone
    write_vectors(tmp_path / "set", frame["gbif_id"][:9], rows)
    store, lines = imported(tmp_path / "set", tmp_path / "store")
    ids = frame["gbif_id"].to_numpy()
    assert store.present("vision", ids).tolist() == [i not in (2, 5, 9, 10, 11) for i in range(12)]
    assert len(store.ids("vision")) == 10
    with pytest.raises(InputError, match="missing"):
        store.read("vision", ids[[2]])
    assert any("7 vectors" in line and "3 missing" in line for line in lines)


def test_a_promise_without_a_place_is_a_missing_vector(tmp_path: Path) -> None:
    mapped_folder(tmp_path / "set", more=[{"at": 3, "file_offset": None}])
    store, lines = imported(tmp_path / "set", tmp_path / "store")
    there = store.present("vision", observations()["gbif_id"].to_numpy())
    assert there.tolist() == [i not in (3, 10, 11) for i in range(12)]
    assert any("9 vectors" in line and "1 missing" in line for line in lines)
    assert "left out: 1 vector(s) in the files that the index does not list" in lines


def test_vectors_of_no_observation_are_left_out_and_counted(tmp_path: Path) -> None:
    hub_folder(tmp_path / "set")
    few = observations().drop(columns=["has_vision", "image_urls"]).iloc[[1, 4, 11]]
    few.to_csv(tmp_path / "few.csv", index=False)
    (tmp_path / "set" / "vision_embeddings" / "embeddings_000002.parquet").unlink()  # none of the three is in it
    store, lines = imported(tmp_path / "set", tmp_path / "store", observations=tmp_path / "few.csv")
    assert store.ids("vision").tolist() == few["gbif_id"].tolist()[:2]
    assert store.observations()["has_vision"].tolist() == [True, True, False]
    assert "left out: 8 listed vector(s) of no observation in the table" in lines
    assert store.taxa == (SPECIES[2], SPECIES[1]), "species of other observations are not imported"


def test_further_images_are_kept_apart(tmp_path: Path) -> None:
    frame = pd.concat([observations(5), observations(5)], ignore_index=True)
    frame["image_index"], frame["has_vision"] = [1] * 5 + [2] * 5, True
    write_observations(tmp_path / "set", frame)
    write_vectors(tmp_path / "set", frame["gbif_id"], vision(10), index={"image_index": frame["image_index"]})
    store, _ = imported(tmp_path / "set", tmp_path / "store")
    assert len(store.observations()) == 10
    ids = frame["gbif_id"].to_numpy()[:5]
    assert np.array_equal(store.read("vision", ids).reshape(5, -1), vision(10)[:5])
    assert np.array_equal(store.read("image_2_vision", ids).reshape(5, -1), vision(10)[5:])


def test_a_species_without_a_language_vector_is_missing(tmp_path: Path) -> None:
    frame, vectors = observations(), language()
    rows = [None if name == SPECIES[1] or i == 0 else vectors[name] for i, name in enumerate(frame["taxon_name"])]
    write_observations(tmp_path / "set", frame, rows)
    store, lines = imported(tmp_path / "set", tmp_path / "store")
    there = store.present("language", np.arange(3))
    assert [name for name, has in zip(store.taxa, there, strict=True) if has] == [SPECIES[2], SPECIES[0]]
    assert any(SPECIES[1] in line and "1 missing" in line for line in lines)


# -- interruptions ----------------------------------------------------------------------------------------------------


def test_an_interrupted_import_goes_on_and_gives_the_same_store(tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    hub_folder(tmp_path / "set")
    whole, _ = imported(tmp_path / "set", tmp_path / "whole", rows_per_part=2)
    calls, added = itertools.count(), []
    add = TableWriter.add

    def stopping(self: TableWriter, ids: Any, rows: Any, missing: Any = None) -> None:
        if self.manifest.spec.name == "vision":
            if next(calls) == 2:
                raise KeyboardInterrupt
            added.extend(np.asarray(ids).tolist())
        add(self, ids, rows, missing)

    monkeypatch.setattr(importing, "BLOCK_BYTES", 8 * VALUES)
    monkeypatch.setattr("groundswell.pipelines.biodiversity.published_layouts.BLOCK_BYTES", 8 * VALUES)
    monkeypatch.setattr(TableWriter, "add", stopping)
    with pytest.raises(KeyboardInterrupt):
        imported(tmp_path / "set", tmp_path / "store", rows_per_part=2)
    assert not (tmp_path / "store").exists()
    first = list(added)
    added.clear()
    store, _ = imported(tmp_path / "set", tmp_path / "store", rows_per_part=2)
    assert store.fingerprint("vision") == whole.fingerprint("vision")
    assert len(first) > 0 and not set(added) >= set(first), "what was finished is not read again"
    assert store.fingerprint("language") == whole.fingerprint("language")


def test_kill_minus_nine_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    hub_folder(tmp_path / "set")
    program = f"""
import os, signal
from groundswell.data.embeddings.writing import TableWriter
from groundswell.pipelines.biodiversity.importing import import_dataset
flush = TableWriter.flush
def dying(self):
    flush(self)
    if self.manifest.spec.name == "vision":
        os.kill(os.getpid(), signal.SIGKILL)
TableWriter.flush = dying
import_dataset({str(tmp_path / "set")!r}, {str(tmp_path / "store")!r}, rows_per_part=3, vision_shape={SHAPE},
               language_width={WIDTH})
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == -9
    assert not (tmp_path / "store").exists()
    store, _ = imported(tmp_path / "set", tmp_path / "store", rows_per_part=3)
    assert len(store.ids("vision")) == 10 and not list(tmp_path.glob(".*"))


def test_an_import_of_changed_files_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub_folder(tmp_path / "set")
    with monkeypatch.context() as patched:
        patched.setattr(EmbeddingStore, "write_observations", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            imported(tmp_path / "set", tmp_path / "store")
    write_vectors(tmp_path / "set", observations()["gbif_id"][:10], vision(10, seed=9))
    store, _ = imported(tmp_path / "set", tmp_path / "store")
    assert np.array_equal(store.read("vision", store.ids("vision")).reshape(10, -1), vision(10, seed=9))


def test_a_second_import_at_the_same_time_is_refused(tmp_path: Path) -> None:
    hub_folder(tmp_path / "set")
    (tmp_path / ".store.importing").mkdir()
    with held(tmp_path / ".store.importing" / ".import.lock"), pytest.raises(BusyError):
        imported(tmp_path / "set", tmp_path / "store")
    imported(tmp_path / "set", tmp_path / "store")


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    hub_folder(tmp_path / "set")
    monkeypatch.setattr(importing, "free_gib", lambda _: 1e-9)
    with pytest.raises(FailureError, match="GiB"):
        imported(tmp_path / "set", tmp_path / "store")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


# -- bad input --------------------------------------------------------------------------------------------------------


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    refused(tmp_path / "set", tmp_path / "store", "no published data set")
    refused(tmp_path / "nothing", tmp_path / "store", "no published data set")
    write_observations(tmp_path / "set", observations())
    refused(tmp_path / "set", tmp_path / "store", "neither vision nor language")


def test_a_store_that_exists_is_not_touched(tmp_path: Path) -> None:
    hub_folder(tmp_path / "set")
    imported(tmp_path / "set", tmp_path / "store")
    refused(tmp_path / "set", tmp_path / "store", "not empty")


def test_two_different_language_vectors_of_a_species_are_refused(tmp_path: Path) -> None:
    frame, vectors = observations(), language()
    rows = [vectors[name] for name in frame["taxon_name"]]
    rows[7] = np.nextafter(rows[7], np.float32(9))
    write_observations(tmp_path / "set", frame, rows)
    refused(tmp_path / "set", tmp_path / "store", f"two different language vectors of {SPECIES[1]}.*row 8")


@pytest.mark.parametrize(("change", "match"), [
    ({"gbif_id": 4_000_000_000 + 7 * np.array([0, 0, 2, 3, 4, 5, 6, 7, 8, 9])}, r"lists 1 vector\(s\) twice"),
    ({"row_idx": np.zeros(10, np.int64), "file_idx": np.zeros(10, np.int64)}, r"place\(s\) twice"),
    ({"row_idx": np.array([0, 1, 2, 3] * 2 + [0, 99])}, "in row 99"),
    ({"row_idx": np.array([1, 0, 2, 3] * 2 + [0, 1])}, "holds the observation"),
    ({"file_idx": np.array([0] * 4 + [1] * 4 + [7] * 2)}, "embeddings_000007.parquet"),
    ({"file_idx": np.array([0] * 4 + [1] * 4 + [-1] * 2)}, "file_idx of an entry"),
])
def test_an_index_that_contradicts_its_files_is_refused(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    frame = observations()
    write_observations(tmp_path / "set", frame, language())
    write_vectors(tmp_path / "set", frame["gbif_id"][:10], vision(10), index=change)
    refused(tmp_path / "set", tmp_path / "store", match)


@pytest.mark.parametrize(("spoil", "match"), [
    (lambda rows: rows.__setitem__(8, rows[8][:-1]), "has 359 numbers, not 360"),
    (lambda rows: rows[8].__setitem__(3, np.nan), "value of the vector is nan"),
    (lambda rows: rows[8].__setitem__(3, 1e30), "too large for float16"),
])
def test_a_vector_that_is_none_is_refused_and_named(tmp_path: Path, spoil: Any, match: str) -> None:
    frame, rows = observations(), list(vision(10))
    spoil(rows)
    write_observations(tmp_path / "set", frame, language())
    write_vectors(tmp_path / "set", frame["gbif_id"][:10], rows)
    refused(tmp_path / "set", tmp_path / "store", f"({match}.*4000000056)|(4000000056.*{match})", dtype="float16")


def test_duplicated_observations_are_refused(tmp_path: Path) -> None:
    hub_folder(tmp_path / "set")
    frame = observations()
    write_observations(tmp_path / "set", pd.concat([frame, frame[3:4]], ignore_index=True), language())
    refused(tmp_path / "set", tmp_path / "store", "repeats an observation_id")


@pytest.mark.parametrize("broken", ["observations.parquet", "vision_index.parquet",
                                    "vision_embeddings/embeddings_000001.parquet"])
def test_a_broken_file_is_refused_and_named(tmp_path: Path, broken: str) -> None:
    hub_folder(tmp_path / "set")
    data = (tmp_path / "set" / broken).read_bytes()
    (tmp_path / "set" / broken).write_bytes(data[:len(data) // 2])
    refused(tmp_path / "set", tmp_path / "store", Path(broken).name)


@pytest.mark.parametrize(("more", "match"), [
    ([{"at": 3, "file_offset": 10 * 4 * VALUES}], "not that of one of the 10 vectors"),
    ([{"at": 3, "file_offset": 6}], "The offset 6 of the observation 4000000021"),
    ([{"at": 3, "file_offset": -4 * VALUES}], "file_offset of an entry"),
    ([{"at": 3, "file_offset": "elsewhere"}], "file_offset of an entry"),
    ([{"at": 3, "file_offset": 0}], r"place\(s\) twice"),
    ([{"at": 3, "gbif_id": 4_000_000_000}], r"vector\(s\) twice: 4000000000_1"),
    ([{"at": 3, "gbif_id": "4; DROP TABLE embedding_index"}], "gbif_id of an entry"),
    ([{"at": 3, "lat": 91.0}], "latitude that is not between"),
])
def test_a_database_that_contradicts_its_file_is_refused(tmp_path: Path, more: list[dict[str, Any]],
                                                         match: str) -> None:
    mapped_folder(tmp_path / "set", more=more)
    before = (tmp_path / "set" / "embeddings_index.db").read_bytes()
    refused(tmp_path / "set", tmp_path / "store", match)
    assert (tmp_path / "set" / "embeddings_index.db").read_bytes() == before


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    mapped_folder(tmp_path / "set")
    mmap = tmp_path / "set" / "embeddings.mmap"
    data = mmap.read_bytes()
    mmap.write_bytes(data[:-5])
    refused(tmp_path / "set", tmp_path / "store", "no whole number of vectors")
    mmap.write_bytes(data[:-4 * VALUES])
    refused(tmp_path / "set", tmp_path / "store", "not that of one of the 9 vectors")


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    mapped_folder(tmp_path / "set")
    (tmp_path / "set" / "embeddings_index.db").write_bytes(b"no database at all, however long this text may be")
    refused(tmp_path / "set", tmp_path / "store", "cannot be read")
    (tmp_path / "set" / "embeddings_index.db").write_bytes(b"")
    refused(tmp_path / "set", tmp_path / "store", "no table embedding_index")
