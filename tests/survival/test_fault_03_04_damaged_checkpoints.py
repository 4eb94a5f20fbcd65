"""Faults 3 and 4: flipped bits and truncation: the checkpoint before is used, and said; a named one is an error."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from survivors import Command, outcome
from toy import ToySetup, make_recipe, results

from groundswell.core.errors import InputError
from groundswell.train.checkpoint import HEADER_BYTES, CheckpointFolder
from groundswell.train.fit import fit

RECIPE = make_recipe(checkpoint_every_steps=3, keep=100)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    fit(ToySetup(RECIPE), RECIPE, folder, quiet=True)
    return folder


def newest(folder: Path) -> Path:
    return sorted((folder / "checkpoints").glob("step-*.ckpt"))[-1]


def regions(good: bytes) -> dict[str, tuple[int, int]]:
    """Every part of a checkpoint, as a range of its bytes."""
    text = int.from_bytes(good[12:20], "little")
    body = HEADER_BYTES + text
    index = body + 8 + int.from_bytes(good[body:body + 8], "little")
    return {"magic": (0, 8), "version": (8, 12), "lengths": (12, 28), "checksum": (28, HEADER_BYTES),
            "state": (HEADER_BYTES, body), "index of the tensors": (body, index), "tensors": (index, len(good))}


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_wrong_with_the_last_one_the_one_before_is_used_and_that_is_said(
        whole: Path, tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "checkpoints"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole / "checkpoints", folder)
    last = newest(tmp_path)
    good = last.read_bytes()
    damage = data.draw(st.sampled_from(["flipped", "cut off", "grown", "emptied"]))
    region = data.draw(st.sampled_from(sorted(regions(good))))
    first, end = regions(good)[region]
    at = data.draw(st.integers(first, end - 1))
    bad = bytearray(good)
    if damage == "flipped":
        bad[at] ^= 1 << data.draw(st.integers(0, 7))
    elif damage == "cut off":
        del bad[at:]
    elif damage == "grown":
        bad += data.draw(st.binary(min_size=1, max_size=9))
    else:
        bad.clear()
    last.write_bytes(bad)
    told: list[str] = []
    kept = CheckpointFolder(folder, keep=1, every=0, report=told.append)
    found = kept.latest()
    kept.close()
    assert found is not None
    assert found.name == sorted((whole / "checkpoints").glob("step-*.ckpt"))[-2].name
    assert len(told) == 1
    assert str(last) in told[0]
    assert last.with_suffix(".damaged").read_bytes() == bytes(bad)


@pytest.mark.parametrize("damage", ["flipped", "cut off"])
def test_a_run_goes_on_from_the_one_before_and_ends_as_it_would_have(
        damage: str, whole_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole_run, tmp_path / "run"))
    expected = outcome(run)
    for name in ("predictions.parquet", "validation.parquet", "fold-1/test.parquet", "fold-1/validation.parquet"):
        (run / name).unlink()
    (run / "status.json").write_text('{"state": "training"}')
    last = newest(run / "fold-1")
    content = bytearray(last.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 8
    else:
        del content[len(content) // 2:]
    last.write_bytes(content)
    command = Command(tmp_path / "said", "resume", run)
    assert command.end() == 0, command.said
    assert "damaged" in command.said or "not whole" in command.said
    assert str(last) in command.said
    assert outcome(run) == expected


@pytest.fixture(scope="module")
def whole_run(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    command = Command(folder / "said", "das", "train", place / "recipe.yaml", "--out", folder / "run")
    assert command.end() == 0, command.said
    return folder / "run"


def test_one_that_is_named_is_an_error_and_never_a_fresh_start(whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    named = newest(run)
    named.write_bytes(named.read_bytes()[:-1])
    before = results(run)
    for path in (named, named.with_name("step-000000999.ckpt")):
        with pytest.raises(InputError, match=r"not whole|no such checkpoint"):
            fit(ToySetup(RECIPE), RECIPE, run, resume=path, quiet=True)
    assert results(run) == before
