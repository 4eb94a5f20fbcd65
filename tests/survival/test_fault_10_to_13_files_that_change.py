"""Faults 10 to 13: records that are cut off, shrink, are damaged or replaced: named before and during a training."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from survivors import At, Command, outcome

from groundswell.train.checkpoint import read_checkpoint

TRAINING = At("groundswell.train.training:Training.batch", 4)


@pytest.fixture
def archive(place: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(place / "archive", tmp_path / "archive"))


def words(place: Path, archive: Path, out: Path, *sets: str) -> list[str | Path]:
    more = [part for setting in sets for part in ("--set", setting)]
    # Read when asked, so that the file changes before the batch that holds it is there.
    return ["das", "train", place / "recipe.yaml", "--set", f"data.folder={archive}", "--set",
            "loader.prefetch_batches=0", "--set", "loader.read_once=never", *more, "--out", out]


def used_in_training(run: Path) -> list[Path]:
    """Records of the run whose windows train."""
    from groundswell.pipelines.archive import load_archive
    from groundswell.splits.manifest import TRAIN, SplitManifest

    archive = load_archive(run)
    rows = SplitManifest.read(run, archive.table).rows(TRAIN, 0)
    rows = rows[archive.table.labels()[rows] >= 0]
    return [Path(archive.records[k]["path"]) for k in sorted(set(archive.table.column("record_index").iloc[rows]))]


def shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replace(path: Path) -> None:
    fresh = path.with_suffix(".new")
    shutil.copy(path, fresh)
    with h5py.File(fresh, "a") as file:
        file["sr/data"][...] = 2 * file["sr/data"][...]
    os.replace(fresh, path)


def damage(path: Path) -> None:
    """Destroy all chunks of a compressed record but leave its size and time as they were."""
    facts = path.stat()
    with h5py.File(path) as file:
        chunks = [file["sr/data"].id.get_chunk_info(k) for k in range(file["sr/data"].id.get_num_chunks())]
    with open(path, "r+b") as raw:
        for chunk in chunks:
            raw.seek(chunk.byte_offset)
            raw.write(b"\x55\xaa" * (chunk.size // 2))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def compress(archive: Path) -> None:
    for path in archive.glob("*.h5"):
        with h5py.File(path, "a") as file:
            old = file["sr/data"]
            data, attributes = old[...], dict(old.attrs)
            del file["sr/data"]
            new = file.create_dataset("sr/data", data=data, chunks=(200, data.shape[1]), compression="gzip",
                                      fletcher32=True)
            new.attrs.update(attributes)


FAULTS = {"shrinks": (shrink, "changed since it was scanned"), "is replaced": (replace, "changed since it was scanned"),
          "is gone": (Path.unlink, "can no longer be read"), "has damaged chunks": (damage, "damaged")}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_file_that_changes_under_a_training_is_named_and_the_process_lives(
        fault: str, place: Path, archive: Path, tmp_path: Path) -> None:
    change, what = FAULTS[fault]
    compress(archive)
    run = tmp_path / "run"
    command = Command(tmp_path / "said", *words(place, archive, run), at=TRAINING).met()
    files = used_in_training(run)
    for path in files:
        change(path)
    assert command.let_go().end() == 2, command.said
    assert what in command.complaint
    assert any(str(path) in command.complaint for path in files)
    kept = [read_checkpoint(path)["place"]["step"] for path in run.glob("fold-1/checkpoints/*.ckpt")]
    assert 2 in kept


@pytest.mark.parametrize(("fault", "read_once"), [("shrinks", "never"), ("has damaged chunks", "never"),
                                                  ("has damaged chunks", "always")])
def test_windows_of_such_a_file_are_skipped_where_that_is_asked_for(
        fault: str, read_once: str, place: Path, archive: Path, tmp_path: Path) -> None:
    compress(archive)
    run = tmp_path / "run"
    # Blocks that are read once are in memory soon: there the file has to change before the first batch.
    at = TRAINING if read_once == "never" else At("groundswell.train.fit:_loop")
    command = Command(tmp_path / "said", *words(place, archive, run, "loader.bad_windows=skip",
                                                f"loader.read_once={read_once}"), at=at).met()
    bad = used_in_training(run)[0]
    FAULTS[fault][0](bad)
    assert command.let_go().end() == 0, command.said
    lines = [json.loads(line) for line in (run / "fold-1" / "logs" / "quarantine.jsonl").read_text().splitlines()]
    assert lines
    assert {line["path"] for line in lines} == {str(bad)}
    assert all(FAULTS[fault][1] in line["reason"] for line in lines)
    assert "predictions.parquet" in outcome(run)


def test_a_record_that_is_cut_off_is_named_before_the_training(place: Path, archive: Path, tmp_path: Path) -> None:
    bad = sorted(archive.glob("*.h5"))[0]
    shrink(bad)
    command = Command(tmp_path / "said", *words(place, archive, tmp_path / "run"), "--dry-run")
    command.end()
    assert bad.name in command.said
    assert not (tmp_path / "run").exists()


def test_a_changed_file_is_refused_on_resuming_until_it_is_back(place: Path, archive: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = Command(tmp_path / "said", *words(place, archive, run), at=TRAINING).met()
    command.process.kill()
    command.end()
    bad = used_in_training(run)[0]
    facts, content = bad.stat(), bad.read_bytes()
    replace(bad)
    refused = Command(tmp_path / "said", "resume", run)
    assert refused.end() == 2
    assert bad.name in refused.complaint
    bad.write_bytes(content)
    os.utime(bad, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    again = Command(tmp_path / "said", "resume", run)
    assert again.end() == 0, again.said
    assert np.isfinite(np.loadtxt(run / "fold-1" / "logs" / "steps.csv", delimiter=",", skiprows=1)).all()
