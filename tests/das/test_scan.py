"""The table of an archive: every array with its facts and health, every bad file with its reason."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import record_files as made
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from groundswell.core.errors import InputError
from groundswell.pipelines.das import formats, scan
from groundswell.pipelines.das.formats import health
from groundswell.pipelines.das.record import Record

NEEDED = ["path", "dataset", "format", "samples", "channels", "rate_hz", "spacing_m", "gauge_m", "start_time",
          "duration_s", "axis_order", "axis_order_known", "dtype", "units", "layout", "verdict"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good records, records that are not fit, and files that cannot be read."""
    folder = tmp_path_factory.mktemp("archive")
    made.plain(folder / "good_2022-09-03_08-14-22.h5", made.values(400, 12), order="channel,time")
    made.plain(folder / "zeros.h5", np.zeros((400, 12), "float32"))
    made.plain(folder / "guess.h5", made.values(400, 12), axes=False)
    with h5py.File(folder / "guess.h5", "a") as file:
        file.attrs["fs"] = 100.0
    (folder / "sub").mkdir()
    made.prodml(folder / "sub" / "p.h5", made.values(200, 30, "int16"))
    (folder / "empty.h5").touch()
    (folder / "text.h5").write_text("[dB] is no markup")
    made.plain(folder / "cut.h5", made.values(400, 12))
    with open(folder / "cut.h5", "r+b") as file:
        file.truncate(9000)
    with h5py.File(folder / "psd.h5", "w") as file:
        file["PSD [dB]"] = made.values(40, 12)
    return folder


@pytest.fixture(scope="module")
def frame(archive: Path) -> pd.DataFrame:
    return scan.scan([archive])


def test_every_file_is_in_the_table_good_or_bad(archive: Path, frame: pd.DataFrame) -> None:
    assert set(NEEDED) <= set(frame.columns)
    assert list(frame["path"]) == sorted(str(path) for path in archive.rglob("*.h5"))
    verdicts = {Path(row.path).name: row.verdict for row in frame.itertuples()}
    assert verdicts["good_2022-09-03_08-14-22.h5"] == verdicts["p.h5"] == verdicts["guess.h5"] == "ok"
    assert verdicts["zeros.h5"] == "all zeros"
    assert verdicts["psd.h5"] == "not a waveform: spectrum"
    assert verdicts["empty.h5"] == "The file is empty"
    assert "no format that is known" in verdicts["text.h5"]
    assert "truncated" in verdicts["cut.h5"]
    failed = frame[frame["format"] == ""]
    assert {Path(path).name for path in failed["path"]} == {"empty.h5", "text.h5", "cut.h5"}
    assert len(scan.bad_rows(frame)) == 5


def test_the_facts_of_a_row(frame: pd.DataFrame) -> None:
    row = frame[frame["path"].str.contains("good_")].iloc[0]
    assert (row["dataset"], row["format"], row["samples"], row["channels"]) == ("data", "hdf5", 400, 12)
    assert (row["rate_hz"], row["duration_s"], row["axis_order"]) == (250.0, 1.6, "channel,time")
    assert row["start_time"] == pd.Timestamp("2022-09-03T08:14:22Z")
    assert (row["start_time_known"], row["axis_order_known"], row["layout"]) == ("file name", "metadata", "contiguous")
    assert (row["health_share"], row["nan_samples"], row["dead_channels"], row["gaps"]) == (1.0, 0, 0, 0)
    assert pd.isna(row["gauge_m"])
    guess = frame[frame["path"].str.contains("guess")].iloc[0]
    assert guess["axis_order_known"] == "guess"


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_the_table_is_written_and_reads_back(frame: pd.DataFrame, tmp_path: Path, suffix: str) -> None:
    scan.write_table(frame, tmp_path / f"t{suffix}")
    if suffix == ".parquet":
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), frame)
    else:
        back = pd.read_csv(tmp_path / "t.csv")
        assert list(back.columns) == list(frame.columns)
        np.testing.assert_array_equal(back["samples"].fillna(-1), frame["samples"].fillna(-1).astype(float))
    with pytest.raises(InputError, match="parquet or"):
        scan.write_table(frame, tmp_path / "t.xlsx")
    assert [path.name for path in tmp_path.iterdir()] == [f"t{suffix}"]


def test_an_empty_folder_is_an_empty_table_of_the_same_columns(tmp_path: Path, frame: pd.DataFrame) -> None:
    nothing = scan.scan([tmp_path])
    assert list(nothing.dtypes) == list(frame.dtypes)
    assert len(nothing) == len(scan.bad_rows(nothing)) == 0
    with pytest.raises(InputError, match="no such file"):
        scan.scan([tmp_path / "absent"])


def test_the_table_for_the_terminal_names_every_file_and_marks_guesses(frame: pd.DataFrame) -> None:
    console = Console(width=220, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(scan.render(frame))
    console.file.close()
    text = console.export_text()
    assert all(Path(path).name[:14] in text for path in frame["path"])
    assert "time,channel ?" in text
    assert "2022-09-03 08:14:22 ?" in text
    assert "8 arrays, 5 not ok" in text


def test_progress_is_told_of_every_file(archive: Path) -> None:
    told: list[tuple[int, int, str]] = []
    scan.scan([archive / "good_2022-09-03_08-14-22.h5", archive / "text.h5"], health=False,
              progress=lambda done, total, path: told.append((done, total, path.name)))
    assert told == [(1, 2, "good_2022-09-03_08-14-22.h5"), (2, 2, "text.h5")]


def test_without_health_values_are_not_counted(archive: Path) -> None:
    frame = scan.scan([archive], health=False)
    assert frame["dead_channels"].isna().all()
    assert frame[frame["path"].str.contains("zeros")].iloc[0]["verdict"] == "all zeros"


def sick() -> np.ndarray:
    data = made.values(2000, 20)
    data[:, 3] = 0
    data[:, 4] = 7.5
    data[:, 5] = np.clip(data[:, 5], -800, 800)
    data[10:13, 6] = np.nan
    data[:, 7] = np.nan
    data[50, 8] = np.inf
    return data


@settings(deadline=None, max_examples=30)
@given(block=st.integers(1, 2500), order=st.sampled_from(["time,channel", "channel,time"]))
def test_health_is_the_same_in_blocks_of_any_size(tmp_path_factory: pytest.TempPathFactory, block: int,
                                                  order: str) -> None:
    path = tmp_path_factory.mktemp("sick") / "a.h5"
    made.plain(path, sick(), order=order)
    reader = formats.open_reader(made.only(path))
    found = health.examine(reader, block_bytes=block * 20 * 4, most_blocks=2000)
    reader.close()
    assert found == health.Health(1.0, 3 + 2000 + 1, dead_channels=2, constant_channels=1, saturated_channels=1)


def test_clipped_counts_are_saturated_and_coarse_ones_are_not(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    data = np.stack([np.clip(random.normal(size=3000) * 20000, -32768, 32767), random.integers(-1, 2, 3000),
                     random.normal(size=3000) * 300, np.full(3000, 12)], axis=1).astype("int16")
    made.plain(tmp_path / "a.h5", data)
    reader = formats.open_reader(made.only(tmp_path / "a.h5"))
    found = health.examine(reader)
    reader.close()
    assert found == health.Health(1.0, 0, dead_channels=0, constant_channels=1, saturated_channels=1)


@pytest.mark.parametrize(("spoil", "verdict"), [
    (lambda data: data.__setitem__((slice(None), slice(0, 11)), 0), "dead or constant channels: 11 of 20"),
    (lambda data: data.__setitem__((slice(None), slice(0, 10)), 0), "ok"),
    (lambda data: data.__setitem__((5, 5), np.nan), "values that are not finite: 1 in the part read"),
    (lambda data: data.__setitem__(slice(None), np.nan), "no finite values"),
    (lambda data: np.clip(data, -500, 500, out=data), "saturated channels: 20 of 20")])
def test_verdicts_on_sick_records(tmp_path: Path, spoil: object, verdict: str) -> None:
    data = made.values(2000, 20)
    spoil(data)  # type: ignore[operator]
    made.plain(tmp_path / "a.h5", data)
    assert scan.scan([tmp_path])["verdict"].iloc[0] == verdict


def test_a_large_record_is_sampled_and_says_how_much_of_it(tmp_path: Path) -> None:
    made.plain(tmp_path / "a.h5", made.values(20000, 10))

    class Counting:
        def __init__(self, record: Record) -> None:
            self.record, self.inner = record, formats.open_reader(record)
            self.spans: list[tuple[int, int]] = []

        def read(self, start: int, stop: int, first: int, last: int, out: np.ndarray) -> None:
            self.spans.append((start, stop))
            self.inner.read(start, stop, first, last, out)

        def close(self) -> None:
            self.inner.close()

    reader = Counting(made.only(tmp_path / "a.h5"))
    found = health.examine(reader, block_bytes=100 * 40, most_blocks=16)
    reader.close()
    assert found.share == pytest.approx(1600 / 20000)
    assert len(reader.spans) == 16
    assert (reader.spans[0], reader.spans[-1]) == ((0, 100), (19900, 20000))
    assert max(stop - start for start, stop in reader.spans) == 100
    made.plain(tmp_path / "zeros.h5", np.zeros((20000, 10), "float32"))
    zeros = formats.open_reader(made.only(tmp_path / "zeros.h5"))
    assert health.examine(zeros, block_bytes=4000).verdict(10) == "all zeros in the 8.0% that was read"
    zeros.close()
    few = health.examine(reader, block_bytes=100 * 40, most_blocks=16, most_bytes=5 * 100 * 40 * 2)
    reader.close()
    assert 0 < few.share < found.share


def test_gaps_are_not_taken_for_dead_samples(tmp_path: Path) -> None:
    times = np.arange(300) / 100 + made.START_S
    times[100:] += 5.0
    data = made.values(300, 4)
    data[:, 2] = 3.0  # constant but for the gap
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"], file["time"] = data, times
    row = scan.scan([tmp_path]).iloc[0]
    assert (row["gaps"], row["gap_samples"], row["constant_channels"], row["dead_channels"]) == (1, 500, 1, 0)
    assert row["health_share"] == 1.0


def cost(path: Path, shape: tuple[int, int], order: str = "time,channel", window: int = 1024,
         **storage: object) -> float:
    data = made.values(*shape)
    made.plain(path, data, order=order, **storage)
    found = health.read_cost(made.only(path), window)
    assert found is not None
    return found


def test_read_cost_tells_layouts_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    assert cost(path, (8192, 64)) == pytest.approx(1.0, abs=0.02)
    # A window of 1024 samples in chunks of 512 touches three, except where it begins on one.
    assert cost(path, (8192, 64), chunks=(512, 64)) == pytest.approx(512 * (1023 / 512 + 1) / 1024)
    assert cost(path, (8192, 64), chunks=(8192, 4)) == pytest.approx(8.0)
    assert cost(path, (8192, 64), order="channel,time", chunks=(64, 1024)) == pytest.approx(1024 * (1023 / 1024 + 1)
                                                                                         / 1024)
    assert cost(path, (8192, 64), order="channel,time") == pytest.approx((4096 + 4092) / 4096)
    assert cost(path, (600, 64), order="channel,time") == 1.0  # the window is the whole record


@settings(deadline=None, max_examples=40)
@given(chunk=st.integers(1, 80), window=st.integers(1, 200))
def test_read_cost_of_chunks_is_the_mean_over_where_a_window_begins(chunk: int, window: int) -> None:
    record = Record(Path("x"), "d", "hdf5", 5 * chunk + window, 4, 1.0, None, None, None, "time,channel", "metadata",
                    "float32", "", "waveform", "", (), "ok", 1, 1, {"chunk": [chunk, 4]})
    starts = np.arange(chunk)  # every place within a chunk is equally likely
    touched = ((starts + window - 1) // chunk + 1) * chunk
    assert health.read_cost(record, window) == pytest.approx(touched.mean() / window)


def test_the_real_archive(real_das: Path) -> None:
    frame = scan.scan([real_das])
    assert frame["path"].nunique() == 20
    assert (frame["format"] != "").all()
    bad = {(Path(row.path).name, row.kind) for row in scan.bad_rows(frame).itertuples()}
    assert bad == {("febus_2.h5", "spectrum"), ("neubrex_das_1.h5", "waveform"), ("prodml_fbe_1.h5", "band energy")}
    assert (frame["health_share"] == 1.0).all()
    assert (frame["read_cost"] >= 1).all()
