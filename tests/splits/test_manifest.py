"""A manifest is read back whole, for the table it was made for and no other, and a leaking one is refused."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from split_tables import make_table

from groundswell.core.errors import InputError, RefusedError
from groundswell.splits.audit import require_clean
from groundswell.splits.make import make_split
from groundswell.splits.manifest import TEST, TRAIN, SplitManifest
from groundswell.splits.recipe import SplitRecipe

TABLE = make_table([0] * 6 + [1] * 6)


@pytest.mark.parametrize("regime", ["grouped", "kfold", "leave_one_out", "ungrouped"])
def test_a_manifest_read_back_is_the_same(tmp_path, regime):
    made = make_split(TABLE, SplitRecipe(regime=regime, seed=3))
    made.write(tmp_path)
    read = SplitManifest.read(tmp_path, TABLE)
    assert (read.assignment == made.assignment).all() and read.assignment.dtype == np.int8
    assert (read.sample_id == made.sample_id).all()
    for name in ("table_fingerprint", "regime", "seed", "audit", "settings", "folds"):
        assert getattr(read, name) == getattr(made, name)
    assert read.folds == {"grouped": 1, "kfold": 5, "leave_one_out": 12, "ungrouped": 1}[regime]


def test_the_files_can_be_read_without_us(tmp_path):
    made = make_split(TABLE, SplitRecipe(regime="kfold", folds=3))
    made.write(tmp_path)
    facts = json.loads((tmp_path / "split.json").read_text())
    assert facts["audit"]["passed"] is True and facts["regime"] == "kfold"
    assert facts["settings"] == {"validation": 0.2, "folds": 3}
    assert facts["parts"] == {"train": 1, "validation": 2, "test": 3}
    frame = pq.read_table(tmp_path / "split.parquet").to_pandas()
    assert list(frame.columns) == ["sample_id", "fold_0", "fold_1", "fold_2"]
    assert (frame["fold_1"] == facts["parts"]["test"]).sum() == facts["counts"][1]["test"] == len(made.rows(TEST, 1))
    assert frame["sample_id"].tolist() == TABLE.column("sample_id").tolist()


def test_rows_of_a_part_ascend_and_are_positions():
    made = make_split(TABLE, SplitRecipe())
    rows = made.rows(TRAIN)
    assert rows.dtype == np.int64 and (np.diff(rows) > 0).all()
    assert (made.assignment[rows, 0] == TRAIN).all()


@pytest.mark.parametrize("change", [
    lambda t: t.take(np.arange(len(t) - 1)), lambda t: t.take(np.arange(len(t))[::-1]),
    lambda t: t.replaced(label=[1] * len(t)), lambda t: t.replaced(extra=1)])
def test_a_manifest_of_another_table_is_refused(tmp_path, change):
    make_split(TABLE, SplitRecipe()).write(tmp_path)
    with pytest.raises(InputError, match="made for another sample table"):
        SplitManifest.read(tmp_path, change(TABLE))


def test_damaged_and_missing_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        SplitManifest.read(tmp_path, TABLE)
    make_split(TABLE, SplitRecipe()).write(tmp_path)
    facts = json.loads((tmp_path / "split.json").read_text())
    for wrong, message in ([], "cannot be read"), ({}, "cannot be read"), ({**facts, "format": 9}, "format 9"), \
            ({**facts, "audit": {}}, "cannot be read"), ({**facts, "folds": 2}, "cannot be read"), \
            ({name: fact for name, fact in facts.items() if name != "assignment_digest"}, "cannot be read"):
        (tmp_path / "split.json").write_text(json.dumps(wrong))
        with pytest.raises(InputError, match=message):
            SplitManifest.read(tmp_path, TABLE)
    (tmp_path / "split.json").write_text(json.dumps(facts))
    whole = (tmp_path / "split.parquet").read_bytes()
    (tmp_path / "split.parquet").write_bytes(whole[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        SplitManifest.read(tmp_path, TABLE)
    (tmp_path / "split.parquet").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        SplitManifest.read(tmp_path, TABLE)


def test_a_table_and_facts_of_different_splits_are_refused(tmp_path):
    for seed in (1, 2):
        make_split(TABLE, SplitRecipe(seed=seed)).write(tmp_path / str(seed))
    (tmp_path / "1" / "split.parquet").write_bytes((tmp_path / "2" / "split.parquet").read_bytes())
    with pytest.raises(InputError, match="does not belong to"):
        SplitManifest.read(tmp_path / "1", TABLE)


def test_an_assignment_of_ones_own_is_audited_too():
    own = np.where(np.arange(len(TABLE)) % 2, TRAIN, TEST)
    manifest = SplitManifest.of(TABLE, own, "by hand", 0, {})
    assert manifest.folds == 1 and not manifest.audit.passed


def test_a_leaking_split_is_refused_unless_there_is_a_reason():
    clean = make_split(TABLE, SplitRecipe())
    assert require_clean(clean, "") == {} and require_clean(clean, "not needed") == {}
    leaking = make_split(TABLE, SplitRecipe(regime="ungrouped"))
    for none in ("", "  \n"):
        with pytest.raises(RefusedError, match=r"\d+ groups are in more than one part.*\d+ samples overlap") as caught:
            require_clean(leaking, none)
        assert caught.value.exit_status == 3 and "split.allow_leakage" in caught.value.fix
    assert require_clean(leaking, " to show what it does ") == {"allow_leakage": "to show what it does"}


def test_a_split_written_over_a_split_is_the_new_one(tmp_path):
    make_split(TABLE, SplitRecipe(regime="leave_one_out")).write(tmp_path)
    made = make_split(TABLE, SplitRecipe())
    made.write(tmp_path)
    assert (SplitManifest.read(tmp_path, TABLE).assignment == made.assignment).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["split.json", "split.parquet"]
