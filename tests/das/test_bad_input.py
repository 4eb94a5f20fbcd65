"""Records, labels, splits and models that cannot be used: one paragraph with file and key, and nothing half-written.

Everything goes through the command line's own entry point, in this process.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from groundswell.cli.main import main
from groundswell.core.recipe import dump_recipe, load_recipe
from groundswell.core.run import RunFolder
from groundswell.pipelines.das.data import WORKFLOW
from groundswell.pipelines.das.recipe import DasRecipe
from groundswell.pipelines.workflow import start_run

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated archive of a dozen records and a recipe that trains on it in a second."""
    folder = tmp_path_factory.mktemp("bad input")
    recipe = WORKFLOW.small(folder, 3)
    (folder / "recipe.yaml").write_text(dump_recipe(recipe))
    return folder


@pytest.fixture(scope="module")
def bound(place: Path) -> Path:
    """A trained run whose network is bound to the archive's 24 channels."""
    assert main(["das", "train", str(place / "recipe.yaml"), "--set", "model.type=temporal_cnn", "--set",
                 "train.epochs=1", "--out", str(place / "bound")]) == 0
    return place / "bound"


@pytest.fixture
def archive(place: Path, tmp_path: Path) -> Path:
    """A copy of the archive that a test may spoil."""
    return Path(shutil.copytree(place / "archive", tmp_path / "archive",
                                ignore=shutil.ignore_patterns(".groundswell")))


def listing(folder: Path) -> dict[str, int]:
    """Every file below, hidden ones too, with its size; the index of records, which is only a cache, left out."""
    return {str(p.relative_to(folder)): p.stat().st_size if p.is_file() else -1
            for p in folder.rglob("*") if ".groundswell" not in p.parts}


def refused(capsys: Capture, words: list[str], status: int = 2) -> str:
    """Run a command that must end with ``status`` and one paragraph; what it says."""
    capsys.readouterr()
    assert main(["--quiet", *words]) == status
    said = capsys.readouterr().err
    lines = [line for line in said.splitlines() if line.startswith("groundswell: ")]
    assert len(lines) == 1, said
    assert said.endswith(lines[0] + "\n"), said
    assert "Traceback" not in said
    assert "should not have happened" not in said
    return lines[0]


def refused_training(capsys: Capture, place: Path, archive: Path, *sets: str, status: int = 2) -> str:
    """Train on ``archive``; what is said when it is refused. Nothing may be left beside it."""
    out = archive.parent / "run"
    before = listing(archive.parent)
    words = ["das", "train", str(place / "recipe.yaml"), "--set", f"data.folder={archive}", "--out", str(out)]
    said = refused(capsys, [*words, *(word for one in sets for word in ("--set", one))], status)
    assert listing(archive.parent) == before
    assert not out.exists()
    return said


def first(archive: Path) -> Path:
    return sorted(archive.glob("*.h5"))[0]


# -- recipes that do not fit the records ------------------------------------------------------------------------------

@pytest.mark.parametrize(("setting", "expected"), [
    ("preprocess.bandpass_hz=[5,60]", ["preprocess.bandpass_hz", "60 Hz"]),
    ("preprocess.average_channels=50", ["preprocess.average_channels", "24 channel"]),
    ("data.window_samples=100000", ["data.window_samples", "1600", "archive"]),
    ("data.channels=[30,40]", ["data.channels", "24 channels"]),
    ("data.channels=[5,5]", ["data.channels", "[5, 5]"]),
    ("data.rate_hz=50", ["data.rate_hz", "50 Hz", "100 Hz"]),
    ("data.labels=none.csv", ["data.labels=none.csv"]),
    ("data.folder=/no/such/folder", ["/no/such/folder"]),
    ("split.folds=50", ["split.folds", "earthquake 6", "12 or less"]),
    ("train.monitor=val_nonsense", ["train.monitor", "val_nonsense", "val_loss"]),
    ("train.devices=3", ["train.devices"]),
    ("evaluate.controls=[majority,clock]", ["evaluate.controls", "'clock'", "start_hour"]),
])
def test_a_recipe_that_does_not_fit_the_records_is_refused_before_a_folder_is_made(
        setting: str, expected: list[str], place: Path, archive: Path, capsys: Capture) -> None:
    more = ["train.accelerator=cuda"] if setting.startswith("train.devices") else []
    if setting.startswith("data.folder"):
        before = listing(archive.parent)
        said = refused(capsys, ["das", "train", str(place / "recipe.yaml"), "--set", setting, "--out",
                                str(archive.parent / "run")])
        assert listing(archive.parent) == before
    else:
        said = refused_training(capsys, place, archive, setting, *more)
    for text in expected:
        assert text in said


def test_a_dry_run_finds_the_same_faults_and_writes_nothing(place: Path, archive: Path, capsys: Capture) -> None:
    words = ["das", "train", str(place / "recipe.yaml"), "--dry-run", "--out", str(archive.parent / "run")]
    assert "train.monitor" in refused(capsys, [*words, "--set", "train.monitor=val_nonsense"])
    assert "evaluate.controls" in refused(capsys, [*words, "--set", "evaluate.controls=[clock]"])
    assert not (archive.parent / "run").exists()


# -- labels -----------------------------------------------------------------------------------------------------------

INTERVALS = "record,start,stop,label,event_id\n"


@pytest.mark.parametrize(("rows", "expected"), [
    ("gone.h5,1,5,0,x\n", ["gone.h5", "intervals.csv"]),
    ("../../etc/passwd,1,5,0,x\n", ["../../etc/passwd", "intervals.csv"]),
    ("/etc/passwd,1,5,0,x\n", ["/etc/passwd", "intervals.csv"]),
    ("RECORD,1,5,0,a\nRECORD,6,9,zebra,b\n", ["'zebra'", "row 2", "quarry_blast"]),
    ("RECORD,1,5,0,a\nRECORD,soon,9,0,b\n", ["'soon'", "'start'", "row 2"]),
    ("RECORD,9,5,0,a\n", ["9.0 to 5.0", "row 1"]),
    ("RECORD,1,,0,a\n", ["start without a stop", "row 1"]),
    ("RECORD,900,950,0,a\n", ["RECORD", "16.00 s long", "row 1"]),
    (",1,5,0,a\n", ["not named", "row 1"]),
    ("RECORD,1,5,0,a,b,c\n", ["more fields than its header", "intervals.csv"]),
    ("RECORD,1,5,0,a\nRECORD,1,5,0,a,b,c\n", ["line 3", "intervals.csv"]),
])
def test_a_malformed_interval_table_is_refused_with_its_row(
        rows: str, expected: list[str], place: Path, archive: Path, capsys: Capture) -> None:
    name = first(archive).name
    (archive / "intervals.csv").write_text(INTERVALS + rows.replace("RECORD", name))
    said = refused_training(capsys, place, archive)
    for text in expected:
        assert text.replace("RECORD", name) in said


@pytest.mark.parametrize(("content", "expected"), [
    (b"", ["intervals.csv"]),
    (b"\xff\xfe\x00\x01", ["intervals.csv"]),
    (b"record,stop,label\na,1,2\n", ["column", "start"]),
])
def test_a_file_that_is_no_interval_table_is_named(
        content: bytes, expected: list[str], place: Path, archive: Path, capsys: Capture) -> None:
    (archive / "intervals.csv").write_bytes(content)
    said = refused_training(capsys, place, archive)
    for text in expected:
        assert text in said


@pytest.mark.parametrize(("content", "expected"), [
    ("{", ["line 1"]),
    ("[1, 2]", ["maps file names to labels"]),
    ('{"RECORD": 7}', ["RECORD", "7", "0 (earthquake)"]),
    ('{"RECORD": {"a": 1}}', ["RECORD", "0 (earthquake)"]),
    ('{"RECORD": NaN}', ["RECORD", "nan"]),
    ('{"gone.h5": 0}', ["gone.h5"]),
    ('{"../outside.h5": 0}', ["../outside.h5"]),
])
def test_a_malformed_labels_json_is_refused_with_its_entry(
        content: str, expected: list[str], place: Path, archive: Path, capsys: Capture) -> None:
    name = first(archive).name
    (archive / "intervals.csv").unlink()
    (archive / "labels.json").write_text(content.replace("RECORD", name))
    (archive.parent / "outside.h5").write_bytes(first(archive).read_bytes())
    said = refused_training(capsys, place, archive)
    assert "labels.json" in said
    for text in expected:
        assert text.replace("RECORD", name) in said


def test_no_labels_one_class_and_too_few_of_a_class_are_told_apart(
        place: Path, archive: Path, capsys: Capture) -> None:
    (archive / "intervals.csv").unlink()
    names = [path.name for path in sorted(archive.glob("*.h5"))]
    (archive / "labels.json").unlink()
    said = refused_training(capsys, place, archive)
    assert "Not one window has a label" in said
    assert "das label" in said
    (archive / "labels.json").write_text(json.dumps(dict.fromkeys(names, 0)))
    assert "of one class, 'earthquake'" in refused_training(capsys, place, archive)
    (archive / "labels.json").write_text(json.dumps({name: int(k == 0) for k, name in enumerate(names[:4])}))
    assert "quarry_blast has 1" in refused_training(capsys, place, archive)


# -- catalogues -------------------------------------------------------------------------------------------------------

BOMB = ('<?xml version="1.0"?><!DOCTYPE q [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
        '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><quakeml><eventParameters>&c;</eventParameters></quakeml>')
OUTSIDE = ('<?xml version="1.0"?><!DOCTYPE q [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
           '<quakeml><eventParameters><event><type>&a;</type></event></eventParameters></quakeml>')


@pytest.mark.parametrize(("name", "content", "expected"), [
    ("c.csv", "event_id,time,kind\na,2022-09-03T20:21:40Z,earthquake\nb,2022-13-45,earthquake\n",
     ["'2022-13-45'", "event 2"]),
    ("c.csv", "event_id,time,kind\na,,earthquake\n", ["neither an origin time nor a start", "event 1"]),
    ("c.csv", "event_id,when\na,2022-09-03\n", ["no column of times", "when"]),
    ("c.csv", "event_id,time,kind\na,2022-09-03T20:21:40Z,earthquake,1,2\n", ["more fields than its header"]),
    ("c.csv", "event_id,time,kind\na,1999-09-03T20:21:40Z,earthquake\n", ["1 lie in no record"]),
    ("c.csv", "event_id,time,kind\na,1999-09-03T20:21:40Z,zebra\n", ["1 are of no kind", "quarry_blast"]),
    ("c.csv", "", ["c.csv"]),
    ("c.xml", BOMB, ["entities"]),
    ("c.xml", OUTSIDE, ["entities"]),
    ("c.xml", "<quakeml>", ["XML", "line 1"]),
    ("c.xml", "<html/>", ["not QuakeML"]),
    ("c.xml", "<q><eventParameters><event><origin><time><value>never</value></time></origin></event>"
              "</eventParameters></q>", ["'never'", "event 1"]),
])
def test_a_bad_catalogue_is_refused_with_its_event(
        name: str, content: str, expected: list[str], archive: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / name).write_text(content)
    before = listing(tmp_path)
    said = refused(capsys, ["das", "label", str(archive), "--events", str(tmp_path / name)])
    assert name in said
    for text in expected:
        assert text in said
    assert listing(tmp_path) == before


def test_labels_that_a_catalogue_replaces_are_kept(archive: Path, capsys: Capture) -> None:
    old = (archive / "intervals.csv").read_text()
    assert main(["das", "label", str(archive), "--events", str(archive / "catalogue.csv")]) == 0
    assert "intervals.csv.before" in capsys.readouterr().out
    assert (archive / "intervals.csv.before").read_text() == old
    assert (archive / "intervals.csv").read_text() != old


def test_both_catalogues_of_a_simulation_make_the_same_labels(archive: Path, tmp_path: Path) -> None:
    made = []
    for name in ("catalogue.csv", "catalogue.xml"):
        out = tmp_path / f"{name}.csv"
        assert main(["das", "label", str(archive), "--events", str(archive / name), "--out", str(out)]) == 0
        made.append(out.read_text())
    assert made[0] == made[1]


@pytest.mark.parametrize(("options", "expected"), [
    (["--latitude", "43"], "longitude"),
    (["--duration-s", "-3"], "--duration-s"),
    (["--out", "intervals.txt"], "intervals.txt"),
])
def test_options_of_labelling_that_make_no_sense_are_refused(
        options: list[str], expected: str, archive: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(archive.parent)
    before = listing(archive.parent)
    assert expected in refused(capsys, ["das", "label", str(archive), "--events", str(archive / "catalogue.csv"),
                                        *options])
    assert listing(archive.parent) == before


def test_what_is_no_folder_of_records_is_not_asked_about(archive: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "empty").mkdir()
    assert "This is a file" in refused(capsys, ["das", "label", str(first(archive))])
    assert "no waveform" in refused(capsys, ["das", "label", str(tmp_path / "empty")])
    assert "cannot name a journal" in refused(capsys, ["das", "label", str(archive), "--annotator", "../me"])


# -- files ------------------------------------------------------------------------------------------------------------

def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _overwrite(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[8:200] = b"\xff" * 192
    path.write_bytes(raw)


@pytest.mark.parametrize("spoil", [_cut, _empty, _overwrite])
def test_a_damaged_file_is_named_by_scan_and_by_training_and_costs_no_other(
        spoil: Callable[[Path], None], place: Path, archive: Path, capsys: Capture) -> None:
    bad = first(archive)
    spoil(bad)
    table = archive.parent / "scan.csv"
    assert main(["das", "scan", str(archive), "--out", str(table)]) == 0
    assert main(["das", "scan", str(archive), "--strict"]) == 2
    rows = [line for line in table.read_text().splitlines() if bad.name in line]
    assert len(rows) == 1
    assert not rows[0].endswith(",ok")
    capsys.readouterr()
    assert main(["das", "train", str(place / "recipe.yaml"), "--set", f"data.folder={archive}", "--dry-run"]) == 0
    assert f"Left out: {bad.name}: " in capsys.readouterr().out
    start_run("das", load_recipe(DasRecipe, place / "recipe.yaml", [f"data.folder={archive}"]), archive.parent / "run")
    assert f"Left out: {bad.name}: " in capsys.readouterr().err
    left_out = json.loads((archive.parent / "run" / "provenance.json").read_text())
    assert bad.name in json.dumps(left_out)


def test_mixed_rates_are_refused_with_the_files(place: Path, archive: Path, capsys: Capture) -> None:
    odd = first(archive)
    with h5py.File(odd, "a") as h5:
        h5["sr/time"][...] = 2 * h5["sr/time"][...]
        for owner in (h5, h5["sr/data"]):
            owner.attrs["rate_hz"] = 50.0
    said = refused_training(capsys, place, archive)
    assert "mixed" in said
    assert odd.name in said
    assert "50 Hz" in said


def test_a_folder_without_records_is_refused(place: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "archive").mkdir()
    assert "no record in the folder" in refused_training(capsys, place, tmp_path / "archive")
    assert "no file of a known format" in refused(capsys, ["das", "scan", str(tmp_path / "archive")])
    assert "no such file or folder" in refused(capsys, ["das", "scan", str(tmp_path / "absent")])


def test_a_file_in_place_of_a_folder_is_refused(place: Path, archive: Path, capsys: Capture) -> None:
    said = refused(capsys, ["das", "train", str(place / "recipe.yaml"), "--set", f"data.folder={first(archive)}",
                            "--out", str(archive.parent / "run")])
    assert "This is a file" in said
    assert first(archive).name in said


# -- files that change after the run was made -------------------------------------------------------------------------

def test_resume_and_evaluate_refuse_a_replaced_file_and_name_it(
        place: Path, archive: Path, capsys: Capture) -> None:
    run = archive.parent / "run"
    start_run("das", load_recipe(DasRecipe, place / "recipe.yaml", [f"data.folder={archive}"]), run)
    changed = first(archive)
    whole = changed.read_bytes()
    with h5py.File(changed, "a") as h5:
        h5["sr/data"][...] = 2 * h5["sr/data"][...]
    before = listing(run)
    said = refused(capsys, ["resume", str(run)])
    assert changed.name in said
    assert "has changed" in said
    assert {**listing(run), "run.lock": 0} == {**before, "run.lock": 0}
    changed.unlink()
    assert changed.name in refused(capsys, ["resume", str(run)])
    changed.write_bytes(whole)
    # The same bytes at another time: whether that is the same file is for a person to say.
    assert changed.name in refused(capsys, ["resume", str(run)])


def test_evaluating_with_a_replaced_file_writes_no_score(
        place: Path, bound: Path, tmp_path: Path, capsys: Capture) -> None:
    run = Path(shutil.copytree(bound, tmp_path / "run"))
    records = json.loads((run / "records.json").read_text())
    records[0]["modified_ns"] += 1
    (run / "records.json").write_text(json.dumps(records))
    before = listing(run)
    said = refused(capsys, ["evaluate", str(run)])
    assert "has changed" in said
    assert Path(records[0]["path"]).name in said
    assert listing(run) == before
    assert RunFolder(run).status["state"] == "trained"


# -- a split that leaks -----------------------------------------------------------------------------------------------

def test_a_leaking_split_is_refused_with_status_3(place: Path, archive: Path, capsys: Capture) -> None:
    said = refused_training(capsys, place, archive, "split.regime=ungrouped", status=3)
    assert "leaks" in said
    assert "split.allow_leakage" in said
    assert "leaks" in refused(capsys, ["das", "split", str(place / "recipe.yaml"), "--set", "split.regime=ungrouped"],
                              status=3)


def test_the_reason_for_a_leaking_split_stands_beside_its_numbers(place: Path, tmp_path: Path) -> None:
    run, reason = tmp_path / "run", "to show what a leak does"
    assert main(["das", "train", str(place / "recipe.yaml"), "--set", "split.regime=ungrouped", "--set",
                 f"split.allow_leakage={reason}", "--set", "train.epochs=1", "--out", str(run)]) == 0
    assert main(["evaluate", str(run), "--no-controls"]) == 0
    assert json.loads((run / "metrics.json").read_text())["note"]["allow_leakage"] == reason
    assert reason in (run / "report.html").read_text()


# -- models and what they are given -----------------------------------------------------------------------------------

def _narrowed(source: Path, target: Path, channels: int) -> Path:
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        new.attrs.update(old.attrs)
        for name in ("data", "distance", "time", "latitude", "longitude"):
            values = old[f"sr/{name}"][...]
            made = new.create_dataset(f"sr/{name}", data=values if name == "time" else values[..., :channels])
            made.attrs.update(old[f"sr/{name}"].attrs)
    return target


def test_a_model_bound_to_24_channels_says_so_of_a_file_with_12(
        place: Path, bound: Path, tmp_path: Path, capsys: Capture) -> None:
    file, out = _narrowed(first(place / "archive"), tmp_path / "narrow.h5", 12), tmp_path / "p.json"
    assert main(["predict", str(bound), str(file), "--out", str(out)]) == 2
    answer, = json.loads(out.read_text())
    assert answer["file"] == str(file)
    assert "24 channels and is given 12" in answer["error"]
    assert "fibre_cnn" in capsys.readouterr().err


@pytest.mark.parametrize("spoil", [_cut, _empty, _overwrite])
def test_prediction_names_a_damaged_file_and_goes_on(
        spoil: Callable[[Path], None], place: Path, bound: Path, tmp_path: Path, capsys: Capture) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    for name in ("bad.h5", "good.h5"):
        shutil.copy(first(place / "archive"), inputs / name)
    spoil(inputs / "bad.h5")
    assert main(["predict", str(bound), str(inputs), "--out", str(tmp_path / "p.json")]) == 2
    answers = {Path(a["file"]).name: a for a in json.loads((tmp_path / "p.json").read_text())}
    assert answers["bad.h5"]["error"]
    assert answers["good.h5"]["class_name"] in ("earthquake", "quarry_blast")
    assert "bad.h5" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "expected"), [
    (["--aggregate", "median"], ["'median'", "average or vote"]),
    (["--fold", "9"], ["no fold 9", "1 to 2"]),
    (["--batch-size", "0"], ["--batch-size"]),
    (["--device", "abacus"], ["'abacus'", "--device"]),
    (["--plot", "p.jpg"], ["p.jpg", ".png"]),
    (["--out", "p.txt"], ["p.txt", ".json or .csv"]),
])
def test_options_of_prediction_that_make_no_sense_are_refused(
        options: list[str], expected: list[str], place: Path, bound: Path, tmp_path: Path, capsys: Capture,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = refused(capsys, ["predict", str(bound), str(first(place / "archive")), *options])
    for text in expected:
        assert text in said
    assert listing(tmp_path) == {}


@pytest.mark.parametrize("content", [b"", b"not a model" * 50])
def test_a_file_that_is_no_model_is_refused(content: bytes, place: Path, tmp_path: Path, capsys: Capture) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(content)
    for verb in (["predict"], ["das", "detect"]):
        assert "m.onnx" in refused(capsys, [*verb, str(model), str(first(place / "archive"))])


@pytest.mark.parametrize(("options", "expected"), [
    (["--to", "tflite"], ["'tflite'", "onnx or weights"]),
    (["--fold", "3"], ["no fold 3", "1 to 2"]),
])
def test_unknown_forms_and_folds_are_not_exported(
        options: list[str], expected: list[str], bound: Path, tmp_path: Path, capsys: Capture) -> None:
    said = refused(capsys, ["export", str(bound), "--out", str(tmp_path / "m.onnx"), *options])
    for text in expected:
        assert text in said
    assert listing(tmp_path) == {}


@pytest.mark.parametrize(("words", "expected"), [
    (["das", "detect", "MODEL", "FILE", "--out", "e.txt"], [".csv or .xml", "e.txt"]),
    (["das", "detect", "MODEL", "FILE", "--threshold", "7"], ["between 0 and 1"]),
    (["das", "detect", "MODEL", "FILE", "--plot", "e.jpg"], ["e.jpg", ".png"]),
    (["das", "plot", "FILE", "--out", "w.jpg"], ["w.jpg", ".png"]),
    (["das", "plot", "FILE", "--out", "w.png", "--start-s", "100"], ["FILE", "16 s"]),
    (["das", "plot", "FOLDER", "--out", "w.png"], ["FOLDER", "folder"]),
    (["das", "plot", "absent.h5", "--out", "w.png"], ["absent.h5"]),
    (["das", "scan", "FOLDER", "--out", "s.txt"], ["s.txt", ".parquet or .csv"]),
    (["das", "index", "RECIPE", "--out", "s.csv"], ["s.csv", ".parquet"]),
    (["das", "simulate", "FOLDER"], ["FOLDER", "not empty"]),
    (["das", "simulate", "sim", "--set", "event=3"], ["'event'", "did you mean 'events'", "--knobs"]),
    (["das", "simulate", "sim", "--set", "snr_db=.nan"], ["snr_db", "finite"]),
])
def test_what_the_other_verbs_cannot_do_is_said_before_the_work(
        words: list[str], expected: list[str], place: Path, bound: Path, tmp_path: Path, capsys: Capture,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    meant = {"MODEL": str(bound), "FILE": str(first(place / "archive")), "FOLDER": str(place / "archive"),
             "RECIPE": str(place / "recipe.yaml")}
    said = refused(capsys, [meant.get(word, word) for word in words])
    for text in expected:
        assert meant.get(text, text) in said
    assert listing(tmp_path) == {}


def test_values_that_are_all_the_same_are_not_predicted_from(bound: Path, place: Path, tmp_path: Path) -> None:
    file = tmp_path / "flat.h5"
    shutil.copy(first(place / "archive"), file)
    with h5py.File(file, "a") as h5:
        h5["sr/data"][...] = np.zeros(h5["sr/data"].shape, h5["sr/data"].dtype)
    assert main(["predict", str(bound), str(file), "--out", str(tmp_path / "p.json")]) == 2
    assert json.loads((tmp_path / "p.json").read_text())[0]["error"]


def test_the_recipe_that_a_run_keeps_is_the_whole_one(bound: Path) -> None:
    kept = yaml.safe_load((bound / "recipe.yaml").read_text())
    assert kept["train"]["epochs"] == 1
    assert kept["model"]["type"] == "temporal_cnn"


def test_the_file_being_read_and_the_array_in_it_are_named(
        place: Path, bound: Path, tmp_path: Path, capsys: Capture) -> None:
    file = first(place / "archive")
    assert main(["das", "detect", str(bound), str(file), "--out", str(tmp_path / "e.csv")]) == 0
    assert f"{file.name}, " in capsys.readouterr().err
    several = tmp_path / "several.h5"
    with h5py.File(file) as old, h5py.File(several, "w") as new:
        for name in ("one", "two"):
            old.copy("sr/data", new, name)
    main(["predict", str(bound), str(several), "--out", str(tmp_path / "p.json")])
    said = "".join(capsys.readouterr())
    assert {answer["dataset"] for answer in json.loads((tmp_path / "p.json").read_text())} == {"one", "two"}
    for name in ("one", "two"):
        assert f"{several}#{name}: " in said
