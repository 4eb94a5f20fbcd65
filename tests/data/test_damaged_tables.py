"""A bit that flips in a table of a run is noticed, or changes nothing of what is read: never a score or a traceback."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from groundswell.core.errors import InputError
from groundswell.data.boxes import BoxPredictions
from groundswell.data.parquet import read_with_facts, write_with_facts
from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.data.waveforms import WaveformPredictions

IDS = [f"record-{k}" for k in range(6)]
RANDOM = np.random.default_rng(7)


def sample_table() -> SampleTable:
    frame = pd.DataFrame({"sample_id": IDS, "record": "r", "group": "g", "label": [0, 1, None, 1, 0, 1],
                          "time": pd.date_range("2022-09-01", periods=6, tz="UTC")})
    return SampleTable(frame, ["a", "b"], pipeline="das", origin={"simulated": True})


def predictions() -> Predictions:
    return Predictions.of(IDS, np.arange(6) % 2, RANDOM.dirichlet(np.ones(2), 6), ("a", "b"), note={"simulated": True})


def waveforms() -> WaveformPredictions:
    return WaveformPredictions.of(IDS, RANDOM.normal(size=(6, 16)).astype("float32"), dt=0.01, t0=-0.02)


def boxes() -> BoxPredictions:
    some = [(RANDOM.random((k, 4)).astype("float32").cumsum(1), RANDOM.random(k), np.arange(k) % 2) for k in range(6)]
    return BoxPredictions.of(IDS, some, ("a", "b"))


def content(made: SampleTable | Predictions | WaveformPredictions | BoxPredictions) -> str:
    """All of it, to the bit."""
    if isinstance(made, SampleTable):
        return made.fingerprint + made.pipeline + str(made.origin) + made.frame.to_csv()
    return "".join(f"{name}: {value.tolist() if isinstance(value, np.ndarray) else value}\n"
                   for name, value in vars(made).items())


@pytest.mark.parametrize("make", [sample_table, predictions, waveforms, boxes])
def test_a_flipped_bit_is_noticed_or_harmless(tmp_path, make):
    path, made = tmp_path / "table.parquet", make()
    made.write(path)
    whole, expected = path.read_bytes(), content(made)
    assert content(type(made).read(path)) == expected
    noticed = 0
    for place in range(0, len(whole), 19):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << RANDOM.integers(8)
        path.write_bytes(flipped)
        try:
            assert content(type(made).read(path)) == expected, place
        except InputError:
            noticed += 1
    assert noticed > len(whole) / 19 / 3


def test_a_probability_that_was_overwritten_is_noticed(tmp_path):
    path, made = tmp_path / "predictions.parquet", predictions()
    made.write(path)
    whole, number = path.read_bytes(), made.probability[3, 0].tobytes()
    assert number in whole
    path.write_bytes(whole.replace(number, made.probability[3, 1].tobytes(), 1))
    with pytest.raises(InputError, match=r"predictions cannot be read.*predictions\.parquet"):
        Predictions.read(path)


def test_facts_of_earlier_versions_are_read(tmp_path: Path):
    path, key = tmp_path / "old.parquet", b"key"
    write_with_facts(path, pq.ParquetFile(_plain(tmp_path)).read(), key, {"note": {}})
    table, facts = read_with_facts(path, key, "facts")
    assert facts == {"note": {}}
    pq.write_table(table.replace_schema_metadata({key: b'{"note": {"old": 1}}'}), path)
    assert read_with_facts(path, key, "facts")[1] == {"note": {"old": 1}}


def _plain(folder: Path) -> Path:
    predictions().frame().to_parquet(folder / "plain.parquet")
    return folder / "plain.parquet"
