"""Fault 8: NaN and infinite values in samples: named by file and place, or skipped, written down, and counted."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import end, start, wait_for_steps
from survivors import Command, FaultySetup, outcome
from toy import make_recipe, results

from groundswell.core.errors import FailureError, InputError
from groundswell.train.fit import fit
from groundswell.train.logs import LineLog
from groundswell.train.quarantine import unusable

RECIPE = make_recipe(checkpoint_every_steps=3)


def journal(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "logs" / "quarantine.jsonl").read_text().splitlines()]


@given(st.lists(st.sampled_from([0.0, 1.0, -3e38, 3e38, np.nan, np.inf, -np.inf]), min_size=12, max_size=12),
       st.lists(st.sampled_from([0.0, 1.0]), min_size=4, max_size=4), st.booleans())
@settings(deadline=None)
def test_exactly_the_samples_that_count_and_are_not_finite_are_found(values, weight, turned) -> None:
    x = torch.tensor(values).reshape(4, 3, 1).expand(4, 3, 2).contiguous()
    if turned:  # as a source delivers whose files hold the other axis first
        x = x.transpose(1, 2).contiguous().transpose(1, 2)
    batch = {"x": x, "n": torch.arange(4), "row": torch.arange(4), "weight": torch.tensor(weight)}
    expected = ~np.isfinite(np.array(values).reshape(4, 3)).all(axis=1) & (np.array(weight) > 0)
    found = unusable(batch)
    assert (np.zeros(4, bool) if found is None else found.numpy()).tolist() == expected.tolist()


def test_by_default_the_first_one_ends_the_fit_and_is_named(tmp_path) -> None:
    for bad in ({"nan": (17,)}, {"inf": (17,)}, {"nan_validation": (30,)}):
        setup = FaultySetup(RECIPE, **bad)
        with pytest.raises(InputError, match=r"NaN or infinite values.*sample-(17|30).*loader\.bad_windows=skip"):
            fit(setup, RECIPE, tmp_path / str(bad), quiet=True)


def test_skipped_samples_weigh_nothing_and_are_written_down_once(tmp_path) -> None:
    setup = FaultySetup(RECIPE, nan=(17, 40), inf=(3,), nan_validation=(30,), policy="skip")
    result = fit(setup, RECIPE, tmp_path, quiet=True)
    lines = journal(tmp_path)
    assert {(line["part"], line["row"]) for line in lines} == {("train", 17), ("train", 40), ("train", 3),
                                                              ("validation", 30)}
    assert len(lines) == 4  # and not again in the second and third epoch
    assert all(line["sample_id"] == f"sample-{line['row']}" and "NaN" in line["reason"] for line in lines)
    assert np.isfinite(list(result.metrics.values())).all()
    # Just as if they had never been there: what counts is the weight.
    accuracy = result.metrics["val_accuracy"] * 32
    assert accuracy == pytest.approx(round(accuracy), abs=1e-6)


def test_the_journal_is_cut_back_with_the_logs_and_resumes_to_the_byte(tmp_path) -> None:
    setup = FaultySetup(RECIPE, nan=(17, 40), inf=(3,), nan_validation=(30,), policy="skip")
    fit(setup, RECIPE, tmp_path / "whole", quiet=True)
    slow = FaultySetup(RECIPE, nan=(17, 40), inf=(3,), nan_validation=(30,), policy="skip",
                       options=(("slow_s", 0.05),))
    for steps in (5, 10):
        process = start(slow, tmp_path / "killed")
        wait_for_steps(tmp_path / "killed", steps, process)
        os.kill(process.pid, signal.SIGKILL)
        assert end(process) == -signal.SIGKILL
    assert end(start(setup, tmp_path / "killed")) == 0
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
    assert journal(tmp_path / "killed") == journal(tmp_path / "whole")


def test_more_than_may_be_skipped_end_the_fit(tmp_path) -> None:
    with pytest.raises(FailureError, match=r"3 samples cannot be used, and loader\.bad_windows_most allows 2"):
        fit(FaultySetup(RECIPE, nan=(3, 17, 40), policy="skip", most=2), RECIPE, tmp_path, quiet=True)
    fit(FaultySetup(RECIPE, nan=(3, 17, 40), policy="skip", most=3), RECIPE, tmp_path, resume=True, quiet=True)
    fit(FaultySetup(RECIPE, nan=(3, 17, 40), policy="skip", most=3), RECIPE, tmp_path / "whole", quiet=True)
    assert results(tmp_path) == results(tmp_path / "whole")


def test_the_journal_names_also_the_ones_that_were_too_many(tmp_path) -> None:
    setup = FaultySetup(RECIPE, nan=(3, 17, 40), policy="skip", most=0)
    with pytest.raises(FailureError, match="bad_windows_most allows 0"):
        fit(setup, RECIPE, tmp_path, quiet=True)
    assert journal(tmp_path)


def test_a_journal_holds_any_path(tmp_path) -> None:
    log = LineLog(tmp_path / "quarantine.jsonl")
    lines = [{"record": "a\u2028b\x85c"}, {"record": os.fsdecode(b"a\xff.h5")}]
    for line in lines:
        log.write(line)
    log.close()
    assert log.lines() == lines


def test_a_fit_that_was_stopped_by_one_goes_on_when_it_may_be_skipped(tmp_path) -> None:
    with pytest.raises(InputError):
        fit(FaultySetup(RECIPE, nan=(17,)), RECIPE, tmp_path, quiet=True)
    skipping = FaultySetup(RECIPE, nan=(17,), policy="skip")
    fit(skipping, RECIPE, tmp_path, resume=True, quiet=True)
    fit(skipping, RECIPE, tmp_path / "whole", quiet=True)
    assert results(tmp_path) == results(tmp_path / "whole")


def test_fits_without_such_samples_have_no_journal_and_are_what_they_were(tmp_path) -> None:
    fit(FaultySetup(RECIPE), RECIPE, tmp_path / "stop", quiet=True)
    fit(FaultySetup(RECIPE, policy="skip"), RECIPE, tmp_path / "skip", quiet=True)
    assert results(tmp_path / "stop") == results(tmp_path / "skip")
    assert not (tmp_path / "stop" / "logs" / "quarantine.jsonl").exists()


def test_windows_of_an_archive_are_named_by_file_and_samples(place: Path, tmp_path: Path) -> None:
    archive = shutil.copytree(place / "archive", tmp_path / "archive")
    for path in sorted(archive.glob("*.h5")):
        with h5py.File(path, "a") as file:
            file["sr/data"][700, 3] = np.nan
    words = ["das", "train", place / "recipe.yaml", "--set", f"data.folder={archive}", "--out"]
    stopped = Command(tmp_path / "said", *words, tmp_path / "stop")
    assert stopped.end() == 2
    assert ".h5, samples 512 to 1024)" in stopped.complaint or ".h5, samples 256 to 768)" in stopped.complaint
    skipped = Command(tmp_path / "said", *words, tmp_path / "skip", "--set", "loader.bad_windows=skip")
    assert skipped.end() == 0, skipped.said
    lines = journal(tmp_path / "skip" / "fold-1")
    assert lines
    for line in lines:
        assert line["start"] <= 700 < line["stop"]
        assert Path(line["path"]).is_file()
    assert "predictions.parquet" in outcome(tmp_path / "skip")
    judged = Command(tmp_path / "said", "evaluate", tmp_path / "skip", "--no-controls")
    assert judged.end() == 0, judged.said
    few = Command(tmp_path / "said", *words, tmp_path / "few", "--set", "loader.bad_windows=skip", "--set",
                  "loader.bad_windows_most=1")
    assert few.end() == 1
    assert "loader.bad_windows_most allows 1" in few.complaint
