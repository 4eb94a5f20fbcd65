"""Observations, stores and recipes that cannot be used: one paragraph, exit status 2, and nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from groundswell.cli.main import main
from groundswell.data.embeddings.store import EmbeddingStore
from groundswell.pipelines.biodiversity.observations import read_observations
from groundswell.pipelines.biodiversity.simulate.simulating import simulate_store, small_store

Capture = pytest.CaptureFixture[str]
Frame = pd.DataFrame

QUICK = ["train.epochs=1", "train.threads=1", "train.tensorboard=false", "loader.threads=1", "evaluate.bootstrap=100",
         "model.hidden_dim=8", "pretrain.fusion_dim=8", "pretrain.heads=2", "pretrain.hidden_dim=8"]
FOLDS = ["split.regime=kfold", "split.folds=2", "split.buffer_m=0"]


def sets(*texts: str) -> list[str]:
    return [word for text in texts for word in ("--set", text)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, a run on it and its table as CSV, which tests leave as they are."""
    folder = tmp_path_factory.mktemp("made")
    store = small_store(folder / "store", 7)
    read_observations(store).to_csv(folder / "good.csv", index=False)
    words = ["biodiversity", "train", "quick", *sets(f"data.store={store}", *QUICK, *FOLDS)]
    assert main([*words, "--out", str(folder / "run")]) == 0
    return folder


def refused(capsys: Capture, out: Path, words: list[str], *messages: str) -> None:
    """The command ends with exit status 2 and one paragraph that says all of ``messages``, and ``out`` is not there."""
    capsys.readouterr()
    assert main(words) == 2
    captured = capsys.readouterr()
    paragraphs = [line for line in captured.err.splitlines() if line.startswith("groundswell: ")]
    assert len(paragraphs) == 1, captured.err
    for message in messages:
        assert message in paragraphs[0]
    assert "Traceback" not in captured.err
    assert not out.exists()


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# -- tables of observations --------------------------------------------------------------------------------------------


def put(column: str, value: Any) -> Callable[[Frame], Frame]:
    def change(frame: Frame) -> Frame:
        frame = frame.astype({column: object})
        frame.loc[3, column] = value
        return frame

    return change


TABLES: dict[str, tuple[Callable[[Frame], Frame], tuple[str, ...]]] = {
    "an id of a wrong shape": (put("observation_id", "4171912265-1"), ("'4171912265-1' is not the id", "Ids are")),
    "an id without an image": (put("observation_id", "4171912265"), ("'4171912265' is not the id", "Ids are")),
    "an id with image 0": (put("observation_id", "4171912265_0"), ("'4171912265_0' is not the id", "from 1 on")),
    "an id that is another's": (put("observation_id", "5_1"), ("does not agree with its gbif_id", "row 4")),
    "a latitude beyond the pole": (put("latitude", 91.0), ("not between -90 and 90", "row 4", "column 'latitude'")),
    "a longitude in words": (put("longitude", "east"), ("not between -180 and 180", "row 4", "column 'longitude'")),
    "a place that is missing": (put("latitude", ""), ("not between -90 and 90", "row 4", "Correct or remove")),
    "a month that is none": (put("month", 13), ("whole number from 1 to 12", "row 4", "column 'month'")),
    "a day that is none": (lambda frame: frame.assign(month=2, day=30), ("The calendar has no", "row 1", "empty")),
    "a species without a name": (put("taxon_name", "  "), ("has no taxon_name", "row 4", "Correct or remove")),
    "rows that are there twice": (lambda frame: pd.concat([frame, frame[5:7]]),
                                  ("repeats an observation_id (and 1 more)", "row 61", "Correct or remove")),
    "no columns of places": (lambda frame: frame.drop(columns=["latitude", "longitude"]),
                             ("no column 'latitude' and no 'longitude'", "It has: ")),
    "no column of ids": (lambda frame: frame.drop(columns=["observation_id", "gbif_id"]), ("no column 'gbif_id'",)),
    "no rows": (lambda frame: frame[:0], ("has no rows", "Give one with observations")),
}
VERBS: dict[str, list[str]] = {
    "split": ["biodiversity", "split", "--regime", "published", "--observations", "{table}", "--out", "{out}.json"],
    "simulate": ["biodiversity", "simulate", "{out}", "--observations", "{table}"],
    "train": ["biodiversity", "train", "quick", *sets("data.store={made}/store", "data.observations={table}", *QUICK,
                                                      *FOLDS), "--out", "{out}"],
    "pretrain": ["biodiversity", "pretrain", "quick", *sets("data.store={made}/store", "data.observations={table}",
                                                            *QUICK, *FOLDS), "--out", "{out}"],
    "predict": ["predict", "{made}/run", "{made}/store", "{table}", "--out", "{out}.csv"],
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("case", TABLES)
def test_tables_that_cannot_be_used(made: Path, tmp_path: Path, capsys: Capture, case: str, verb: str) -> None:
    change, messages = TABLES[case]
    table, work = tmp_path / "table.csv", tmp_path / "work"
    work.mkdir()
    change(read_observations(made / "good.csv")).to_csv(table, index=False)
    words = [word.format(made=made, table=table, out=work / "out") for word in VERBS[verb]]
    refused(capsys, work / "out", words, str(table), *messages)
    assert not list(work.iterdir())


@pytest.mark.parametrize("content", [b"\xff\xfe\x00garbage", b"", b"a,b\n1,2,3,4\n"])
def test_files_that_are_no_tables(made: Path, tmp_path: Path, capsys: Capture, content: bytes) -> None:
    (tmp_path / "table.csv").write_bytes(content)
    for verb in ("split", "predict"):
        words = [word.format(made=made, table=tmp_path / "table.csv", out=tmp_path / "out") for word in VERBS[verb]]
        refused(capsys, tmp_path / "out", words, str(tmp_path / "table.csv"))
        assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("change", [lambda frame: frame.drop(columns=["year", "month", "day"]), put("year", "")])
@pytest.mark.parametrize(("words", "message"), [
    (["split", "--regime", "published", "--observations", "{table}"], "no year"),
    (["split", "--regime", "temporal", "--set", "split.test_from=2020-01-01", "--observations", "{table}"], "no time"),
    (["train", "quick", *sets("data.store={made}/store", "data.observations={table}", *FOLDS), "--modalities", "place"],
     "have no date"),
], ids=["published", "temporal", "place"])
def test_missing_dates_where_dates_are_needed(made: Path, tmp_path: Path, capsys: Capture, words: list[str],
                                              message: str, change: Callable[[Frame], Frame]) -> None:
    change(read_observations(made / "good.csv")).to_csv(tmp_path / "table.csv", index=False)
    words = [word.format(made=made, table=tmp_path / "table.csv") for word in words]
    refused(capsys, tmp_path / "out", ["biodiversity", *words, "--out", str(tmp_path / "out")], message,
            "eave them out")


def test_ids_that_the_store_does_not_know(made: Path, tmp_path: Path, capsys: Capture) -> None:
    frame = read_observations(made / "good.csv")
    for rows, messages in ((slice(0, 1), ("1 id(s) are not in", "5000000000")), (slice(None), ("60 id(s)", "..."))):
        odd = frame.copy()
        odd.loc[odd.index[rows], "gbif_id"] = 5_000_000_000 + np.arange(len(odd.index[rows]))
        odd["observation_id"] = [f"{number}_1" for number in odd["gbif_id"]]
        odd.to_csv(tmp_path / "odd.csv", index=False)
        refused(capsys, tmp_path / "out", [word.format(made=made, table=tmp_path / "odd.csv", out=tmp_path / "out")
                                           for word in VERBS["predict"]], *messages)
        assert list(tmp_path.iterdir()) == [tmp_path / "odd.csv"]
    refused(capsys, tmp_path / "out", [word.format(made=made, table=tmp_path / "odd.csv", out=tmp_path / "out")
                                       for word in VERBS["train"]],
            "None of 60 observations has a vector", "5000000000_1", "store")


# -- stores ------------------------------------------------------------------------------------------------------------


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


ON_STORE = [*sets("data.store={store}", *QUICK, *FOLDS), "--out", "{out}"]


@pytest.mark.parametrize(("table", "words"), [
    ("vision_mean", ["biodiversity", "train", "quick", *ON_STORE]),
    ("vision_mean", ["biodiversity", "pretrain", "quick", *ON_STORE]),
    ("language", ["biodiversity", "train", "quick", *ON_STORE, "--mode", "both"]),
    ("vision_mean", ["predict", "{made}/run", "{store}", "--out", "{out}.csv"]),
], ids=["train", "pretrain", "language", "predict"])
def test_a_part_with_a_wrong_checksum(made: Path, tmp_path: Path, capsys: Capture, table: str,
                                      words: list[str]) -> None:
    store, out = tmp_path / "store", tmp_path / "out"
    shutil.copytree(made / "store", store)
    damage(store / table / "part-00000.bin")
    refused(capsys, out, [word.format(made=made, store=store, out=out) for word in words],
            f"The part 'part-00000.bin' of the table '{table}' does not have the checksum", str(store / table), "again")
    assert list(tmp_path.iterdir()) == [store]


def test_a_part_with_a_wrong_checksum_after_training(tmp_path: Path, capsys: Capture) -> None:
    store = small_store(tmp_path / "store", 7)
    run = tmp_path / "run"
    words = ["biodiversity", "train", "quick", *(word.format(store=store, out=run) for word in ON_STORE)]
    assert main(words) == 0
    damage(store / "vision_mean" / "part-00000.bin")
    before = tree(run)
    refused(capsys, run / "metrics.json", ["evaluate", str(run)], "does not have the checksum")
    assert tree(run).keys() == before.keys()


def test_a_damaged_part_is_not_pooled(tmp_path: Path, capsys: Capture) -> None:
    store = tmp_path / "store"
    simulate_store(store, count=4, species=2, tiers=("vision",), language=False, dtype="float16").close()
    damage(store / "vision" / "part-00000.bin")
    refused(capsys, store / "vision_mean", ["biodiversity", "pool", str(store)], "does not have the checksum")
    assert set(EmbeddingStore.open(store).tables) == {"vision"} and not (store / ".pooling").exists()


@pytest.mark.parametrize("spoil", [lambda store: shutil.rmtree(store), lambda store: (store / "store.json").unlink(),
                                   lambda store: (store / "store.json").write_text("[]"),
                                   lambda store: (store / "vision_mean" / "manifest.json").unlink(),
                                   lambda store: (store / "vision_mean" / "part-00000.bin").unlink()],
                         ids=["no folder", "no listing", "a strange listing", "no manifest", "no part"])
def test_stores_that_are_not_whole(made: Path, tmp_path: Path, capsys: Capture, spoil: Callable[[Path], Any]) -> None:
    store, out = tmp_path / "store", tmp_path / "out"
    shutil.copytree(made / "store", store)
    spoil(store)
    for words in (["biodiversity", "train", "quick", *sets(f"data.store={store}", *QUICK, *FOLDS), "--out", str(out)],
                  ["biodiversity", "bench", str(store)], ["biodiversity", "pool", str(store)],
                  ["predict", str(made / "run"), str(store), "--out", str(out)]):
        refused(capsys, out, words)


# -- divisions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("texts", "message"), [
    (["split.regime=temporal", "split.buffer_m=0", "split.test_from=2090-01-01"], "test"),
    (["split.regime=temporal", "split.buffer_m=0", "split.test_from=1990-01-01"], "no sample before"),
    (["split.regime=spatial", "split.buffer_m=900000"], "train"),
    (["split.regime=spatial", "split.cell_km=5000"], "cell"),
    (["split.regime=published", "split.buffer_m=0", "data.store={made}/store"], "2025"),
    (["split.regime=temporal", "split.buffer_m=0"], "test_from"),
    (["split.regime=temporal", "split.buffer_m=0", "split.test_from=soon"], "2025-01-01"),
], ids=["no future", "no past", "a buffer over all", "one cell", "no 2025", "no date", "a date in words"])
@pytest.mark.parametrize("verb", ["split", "train"])
def test_divisions_with_an_empty_part(made: Path, tmp_path: Path, capsys: Capture, verb: str, texts: list[str],
                                      message: str) -> None:
    texts = [f"data.store={made / 'store'}", *(text.format(made=made) for text in texts), *QUICK]
    refused(capsys, tmp_path / "out", ["biodiversity", verb, "quick", *sets(*texts), "--out", str(tmp_path / "out")],
            message)


def test_a_split_file_without_a_test_part_or_of_another_table(made: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ["biodiversity", "split", "quick", *sets(f"data.store={made / 'store'}", "split.buffer_m=0",
                                                     "split.regime=grouped")]
    assert main([*words, "--out", str(tmp_path / "split.json")]) == 0
    document = json.loads((tmp_path / "split.json").read_text())
    untested = json.loads((tmp_path / "split.json").read_text())
    for entry in untested["observation_mappings"].values():
        entry["split"] = "train"
    (tmp_path / "untested.json").write_text(json.dumps(untested))
    document["observation_mappings"] = {
        f"{7_000_000_000 + k}_1": {**entry, "gbif_id": 7_000_000_000 + k}
        for k, entry in enumerate(document["observation_mappings"].values())}
    (tmp_path / "foreign.json").write_text(json.dumps(document))
    (tmp_path / "no.json").write_text("{}")
    for name, message in (("untested.json", "none in its test part"), ("foreign.json", "it names 0 of them"),
                          ("no.json", "no split of observations"), ("absent.json", "absent.json")):
        train = ["biodiversity", "train", "quick", *sets(f"data.store={made / 'store'}", *QUICK,
                                                         f"data.split_file={tmp_path / name}")]
        refused(capsys, tmp_path / "out", [*train, "--out", str(tmp_path / "out")], message, name)
    for name in ("no.json", "absent.json"):
        words = ["biodiversity", "audit", str(tmp_path / name), "--out", str(tmp_path / "out")]
        refused(capsys, tmp_path / "out", words, name)


# -- recipes and words -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("texts", "message"), [
    (["train.epoch=3"], "train.epochs"), (["model.modalities=[sound]"], "no modality 'sound'"),
    (["data.vision=vision_gird"], "vision_grid"),
    (["model.modalities=[]"], "at least one"), (["data.vision=vision_grid"], "no table 'vision_grid'"),
    (["evaluate.controls=[chance]"], "There is no control 'chance'"), (["model.init_from=/nowhere"], "/nowhere"),
    (["data.group=observer", "data.observations={made}/no.csv"], "no.csv"), (["split.folds=90"], "folds"),
], ids=lambda value: value[0] if isinstance(value, list) else "")
def test_recipes_that_cannot_be_used(made: Path, tmp_path: Path, capsys: Capture, texts: list[str],
                                     message: str) -> None:
    words = sets(f"data.store={made / 'store'}", *QUICK, *FOLDS, *(text.format(made=made) for text in texts))
    words = ["biodiversity", "train", "quick", *words, "--out", str(tmp_path / "out")]
    refused(capsys, tmp_path / "out", words, message)


@pytest.mark.parametrize(("words", "message"), [
    (["export", "{made}/run", "--to", "onnx", "--out", "{out}.txt"], ".onnx"),
    (["export", "{made}/run", "--to", "pickle", "--out", "{out}"], "onnx or weights"),
    (["export", "{made}/run", "--fold", "9", "--out", "{out}.onnx"], "fold"),
    (["export", "{made}/store", "--out", "{out}.onnx"], "store"),
    (["predict", "{made}/run", "{made}/store", "--out", "{out}.xlsx"], ".json or .csv"),
    (["predict", "{made}/run", "{made}/good.csv", "--out", "{out}.csv"], "One store's folder"),
    (["predict", "{made}/run", "{made}/store", "--out", "{out}.csv", "--plot", "{out}.jpg"], ".png"),
    (["predict", "{made}/good.csv", "{made}/store", "--out", "{out}.csv"], "good.csv"),
    (["biodiversity", "simulate", "{made}/store"], "not empty"),
    (["biodiversity", "simulate"], "is missing"),
    (["biodiversity", "simulate", "{out}", "--set", "class_efect=1"], "class_effect"),
    (["biodiversity", "simulate", "{out}", "--set", "tiers=[vision]", "--set", "count=7000"], "GiB"),
    (["biodiversity", "import", "/nowhere", "--out", "{out}"], "/nowhere"),
    (["biodiversity", "pool", "{made}/store"], "no full vision vectors"),
    (["biodiversity", "train", "quick", "--mode", "smell", "--out", "{out}"], "no mode 'smell'"),
    (["biodiversity", "train", "nowhere.yaml", "--out", "{out}"], "nowhere"),
    (["biodiversity", "train", "quick", *sets("data.store={made}/store"), "--out", "{made}/run"], "run in this folder"),
    (["biodiversity", "pretrain", "quick", *sets("data.store={made}/store"), "--modalities", "vision", "--out",
      "{out}"], "at least two"),
])
def test_other_words(made: Path, tmp_path: Path, capsys: Capture, words: list[str], message: str) -> None:
    before = tree(made)
    refused(capsys, tmp_path / "out", [word.format(made=made, out=tmp_path / "out") for word in words], message)
    assert not list(tmp_path.iterdir())
    assert tree(made) == before
