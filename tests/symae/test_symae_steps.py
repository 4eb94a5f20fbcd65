"""The verbs of symae by the command line: what they write, and bad input in one paragraph with exit status 2."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from groundswell.cli.main import main
from groundswell.pipelines.symae.store import BagStore


def event_of(store: BagStore) -> str:
    return str(store.bags["event"].iloc[0])


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str], *said: str) -> None:
    """Exit status 2 and one paragraph without a traceback that says these words."""
    assert main(["-q", "symae", *arguments]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error and error.strip().count("\n") == 0
    for text in said:
        assert text in error


def test_every_verb_has_an_example_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("simulate", "prepare", "split", "train", "extract", "align", "redatum", "regions"):
        assert main(["symae", verb, "--help"]) == 0
        assert f"Example: groundswell symae {verb}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("verb", ["simulate", "prepare"])
def test_knobs_are_listed_with_their_meaning(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["symae", verb, "--knobs"]) == 0
    assert "nt: 192" in capsys.readouterr().out


def test_simulated_records_go_through_preparation_split_and_a_dry_run(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    knobs = ["--set", "events=10", "--set", "pixels=[1,2]", "--set", "traces=[4,6]", "--set", "seed=2"]
    assert main(["-q", "symae", "simulate", str(tmp_path / "a"), "--hdf5", str(tmp_path / "a.h5"), *knobs]) == 0
    assert "Next: groundswell symae train" in capsys.readouterr().out
    assert main(["-q", "symae", "prepare", str(tmp_path / "a.h5"), str(tmp_path / "b"), "--set", "dt=0.5", "--set",
                 "nt=160", "--set", "before_p_s=30", "--set", "least_traces=2"]) == 0
    bags = BagStore.open(tmp_path / "b")
    assert bags.facts.nt == 160 and not bags.has_truth
    common = ["--set", f"data.store={tmp_path / 'b'}"]
    assert main(["-q", "symae", "split", "source", *common, "--out", str(tmp_path / "split")]) == 0
    assert (tmp_path / "split" / "split.json").exists()
    assert main(["-q", "symae", "train", "source", *common, "--out", str(tmp_path / "run"), "--dry-run"]) == 0
    assert "parameters" in capsys.readouterr().out and not (tmp_path / "run").exists()


def test_training_leaves_the_seeds_artefacts(small_bags: BagStore, tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    keys = ["train.epochs=1", "train.threads=1", "train.tensorboard=false", "model.widths=[4,4]", "loader.threads=1",
            "model.trace_widths=[4]", "model.q=4", "train.batch_size=8", f"data.store={small_bags.path}"]
    sets = [text for key in keys for text in ("--set", key)]
    assert main(["-q", "symae", "train", "source", *sets, "--out", str(tmp_path / "run")]) == 0
    assert "Next: groundswell evaluate" in capsys.readouterr().out
    assert len(list((tmp_path / "run" / "SavedModels").glob("syn_*nt=128_p=30_q=4_k=1*"))) == 3


def test_extract_align_redatum_and_regions_answer_in_sentences(source_run: Path, small_bags: BagStore, tmp_path: Path,
                                                               capsys: pytest.CaptureFixture[str]) -> None:
    event = event_of(small_bags)
    pixel = str(small_bags.bags["pixel"].iloc[0])
    run = str(source_run)
    for arguments, written in (
            (["extract", run, event, "--pixel", pixel], "signals.json"),
            (["align", run, "--event", event], "arrivals.csv"),
            (["align", "--iccs", str(small_bags.path), "--event", event], "arrivals.parquet"),
            (["redatum", run, "--source", event, "--path", f"{event}/{pixel}"], "virtual.npy"),
            (["regions", run, "--nside", "2"], "regions.json")):
        out = tmp_path / "-".join(arguments[:2]).replace("/", "_")
        assert main(["-q", "symae", *arguments, "--out", str(out), "--scale", "1"]) == 0
        assert "Wrote" in capsys.readouterr().out and (out / written).exists()


def test_predicting_reads_a_store_into_sources(source_run: Path, small_bags: BagStore, tmp_path: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    model, store = str(source_run), str(small_bags.path)
    for name in ("p.json", "p.csv"):
        plot = ["--plot", str(tmp_path / "p.png")]
        assert main(["-q", "predict", model, store, "--out", str(tmp_path / name), *plot]) == 0
    assert "simulated" in capsys.readouterr().out
    told = json.loads((tmp_path / "p.json").read_text())
    assert told["simulated"] and len(told["bags"]) == len(small_bags)
    assert len(told["bags"][0]["stations"]) == len(told["bags"][0]["shift_s"]) == small_bags.bags["count"].iloc[0]
    assert len(pd.read_csv(tmp_path / "p.csv")) == 128 * len(small_bags) and (tmp_path / "p.png").exists()


def test_an_unknown_event_is_refused_with_those_there_are(source_run: Path, small_bags: BagStore, tmp_path: Path,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "x")]
    for arguments in (["extract", str(source_run), "nope"], ["align", str(source_run), "--event", "nope"],
                      ["redatum", str(source_run), "--source", "nope", "--path", event_of(small_bags)]):
        refused([*arguments, *out], capsys, "no event 'nope'", "The events are", event_of(small_bags))
    assert not (tmp_path / "x").exists()


def test_a_missing_pixel_is_refused_with_those_there_are(source_run: Path, small_bags: BagStore,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    event = event_of(small_bags)
    there = [str(p) for p in small_bags.bags["pixel"][small_bags.bags["event"] == event]]
    refused(["extract", str(source_run), event, "--pixel", "191"], capsys, "no bag of pixel 191", *there)
    refused(["redatum", str(source_run), "--source", event, "--path", f"{event}/191"], capsys, "no bag of pixel 191")


def records(path: Path, traces: dict[str, np.ndarray]) -> Path:
    """An HDF5 archive of one event and pixel; simulated."""
    with h5py.File(path, "w") as file:
        file.attrs["sampling_rate_hz"], file.attrs["p_sample"] = 1.0, 200.0
        for name, values in traces.items():
            file.create_dataset(f"event/14/{name}", data=values)
    return path


def test_bags_of_one_trace_wrong_lengths_zeros_and_nan_are_refused(tmp_path: Path,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    good = np.random.default_rng(0).normal(size=400)
    common = [str(tmp_path / "out"), "--set", "dt=1.0", "--set", "nt=96", "--set", "least_traces=2", "--set",
              "rate_hz=1.0", "--set", "p_sample=200"]
    for name, traces, said in (("one", {"A": good}, "2 traces"), ("short", {"A": good, "B": good[:150]}, "B"),
                               ("zero", {"A": good, "B": 0 * good}, "B"),
                               ("nan", {"A": good, "B": np.where(np.arange(400) == 200, np.nan, good)}, "B")):
        refused(["prepare", str(records(tmp_path / f"{name}.h5", traces)), *common], capsys, said, "event/14")
        assert not (tmp_path / "out").exists()


def test_traces_of_another_length_than_the_networks_are_refused(source_run: Path, tmp_path: Path,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    longer = str(tmp_path / "longer")
    main(["-q", "symae", "simulate", longer, "--set", "events=1"])
    capsys.readouterr()
    refused(["extract", str(source_run), "any", "--store", longer], capsys, "192 samples; the network takes 128")
    assert main(["-q", "predict", str(source_run), longer, "--out", str(tmp_path / "p.csv")]) == 2
    assert "traces of 192 samples" in capsys.readouterr().err and not (tmp_path / "p.csv").exists()


def test_other_bad_input_is_refused(source_run: Path, small_bags: BagStore, tmp_path: Path,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    run, event = str(source_run), event_of(small_bags)
    refused(["align"], capsys, "Either a run or --iccs")
    refused(["align", run, "--iccs", str(small_bags.path)], capsys, "Either a run or --iccs")
    refused(["extract", str(tmp_path), event], capsys, "not the folder of a run")
    refused(["extract", run, event, "--store", str(tmp_path / "none")], capsys, "no such store of bags")
    refused(["extract", run, event, "--fold", "9"], capsys, "no fold 9")
    refused(["extract", run, event, "--scale", "0", "--out", str(tmp_path / "x")], capsys, "0 pixels a point")
    refused(["regions", run, "--nside", "0"], capsys, "no regions of nside 0")
    refused(["simulate"], capsys, "folder for the simulated store is missing")
    refused(["prepare"], capsys, "archive is missing")
    refused(["prepare", "a.h5", "--preset", "none"], capsys, "no preset 'none'")
    refused(["train", "none"], capsys, "none")
    assert not (tmp_path / "x").exists()
