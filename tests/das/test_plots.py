"""What pictures promise: they are made of every record, from bounded memory, and lose nothing that stands out."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import h5py
import matplotlib as mpl
import numpy as np
import pytest
from energy_predictor import EnergyPredictor, burst, noise
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread

from groundswell.core.errors import InputError
from groundswell.pipelines.das import plots
from groundswell.pipelines.das.detect import Detections, detect
from groundswell.pipelines.das.detect_output import TrueEvent, write_detections
from groundswell.pipelines.das.extremes import Reduced, reduce_record, spectrogram
from groundswell.pipelines.das.formats import find_records
from groundswell.pipelines.das.plots import Mark, marks_of, plot_detections, plot_predictions, plot_waterfall
from groundswell.pipelines.das.predict import Prediction, predict_inputs
from groundswell.pipelines.das.record import Record

START = np.datetime64("2024-03-01T00:00:00", "ns")


@pytest.fixture(autouse=True)
def _headless():
    mpl.use("Agg")


def write(path: Path, x: np.ndarray, start: str | None = "2024-03-01T00:00:00Z", units: str = "nstrain/s") -> Path:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", data=x)
        data.attrs.update({"rate_hz": 100.0, "spacing_m": 10.0, "axis_order": "time,channel", "units": units})
        if start is not None:
            data.attrs["start_time"] = start
    return path


@dataclass
class Held:
    """A reader of an array in memory, or of a function of the sample number."""

    record: Record
    array: np.ndarray | None = None
    pieces: int = 0

    def read(self, start, stop, channel_start, channel_stop, out):
        self.pieces += 1
        if self.array is None:
            out[...] = 0
            if start <= 3_333_333 < stop:
                out[3_333_333 - start, 1 - channel_start] = -7
        else:
            out[...] = self.array[start:stop, channel_start:channel_stop]

    def close(self):
        pass


def held(x: np.ndarray | None, samples: int, channels: int, gaps=()) -> Held:
    record = Record(Path("held.h5"), "", "hdf5", samples, channels, 100.0, 10.0, None, START, "time,channel",
                    "metadata", "float32", "", "waveform", "contiguous", gaps, "ok", 0, 0, {})
    return Held(record, x)


def looks_like_a_picture(path: Path) -> np.ndarray:
    pixels = imread(path)[:, :, :3]
    assert pixels.shape[0] > 300 and pixels.shape[1] > 900
    assert pixels[::3, ::3].std() > 0.02
    return pixels


@settings(max_examples=60, deadline=None)
@given(samples=st.integers(1, 400), channels=st.integers(1, 7), columns=st.integers(1, 60), rows=st.integers(1, 8),
       data=st.data())
def test_pieces_reduce_to_the_extremes_of_the_whole(samples, channels, columns, rows, data):
    x = np.random.default_rng(samples * 7 + channels).normal(size=(samples, channels)).astype(np.float32)
    start = data.draw(st.integers(0, samples - 1))
    stop = data.draw(st.integers(start + 1, samples))
    first = data.draw(st.integers(0, channels - 1))
    gap_at = data.draw(st.integers(0, samples))
    gap = (gap_at, data.draw(st.integers(gap_at, samples)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("groundswell.pipelines.das.extremes._PIECE_BYTES", 4 * 7 * 13)
        reader = held(x, samples, channels, (gap,) if gap[1] > gap[0] else ())
        reduced = reduce_record(reader, start, stop, (first, channels), columns)
    x[gap[0] : gap[1]] = np.nan
    bins = min(columns, stop - start)
    edges = start + np.linspace(0, stop - start, bins + 1).round().astype(int)
    for k, (a, b) in enumerate(pairwise(edges)):
        part = x[a:b, first:]
        if np.isnan(part).all():
            assert np.isnan(reduced.high[k]).all()
        else:
            np.testing.assert_array_equal(reduced.high[k], np.nanmax(part, axis=0))
            np.testing.assert_array_equal(reduced.low[k], np.nanmin(part, axis=0))
    image = reduced.peaks(rows)
    assert image.shape == (min(rows, channels - first), bins)
    centred = x[start:stop, first:] - reduced.mean.astype(np.float32)
    if np.isfinite(centred).any():
        assert np.nanmax(np.abs(image)) == pytest.approx(np.nanmax(np.abs(centred)), rel=1e-5)


def test_one_sample_among_millions_survives_and_memory_stays_small():
    reader = held(None, 5_000_000, 3)
    tracemalloc.start()
    reduced = reduce_record(reader, 0, 5_000_000, (0, 3), 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    image = reduced.peaks(3)
    assert image[1, 666] == pytest.approx(-7, abs=1e-3) and (np.abs(image) > 1).sum() == 1
    assert peak < 120 << 20  # the record is 60 MB a channel; a piece with its masks is what counts
    assert reader.pieces > 1


def test_the_spectrogram_knows_the_pitch():
    t = np.arange(200_000) / 100
    x = np.where(t < 1000, np.sin(2 * np.pi * 10 * t), np.sin(2 * np.pi * 30 * t)).astype(np.float32)[:, None]
    reader = held(x, len(x), 1, ((50_000, 60_000),))
    x[50_000:60_000] = 1e6  # what lies in a gap is never looked at
    hz, density = spectrogram(reader, 0, len(x), 0, 100, 100.0)
    early, late = (hz[int(np.nanargmax(density[:, k]))] for k in (10, 80))
    assert abs(early - 10) < 0.5 and abs(late - 30) < 0.5
    assert np.isnan(density[:, 27]).all() and np.isfinite(density[:, [10, 80]]).all()
    power = (10 ** (density[:, 10] / 10)).sum() * (hz[1] - hz[0])
    assert power == pytest.approx(0.5, rel=0.05)  # a sine's mean square


def test_a_waterfall_with_events_picks_and_a_gap(tmp_path):
    x = noise(6000, 30)
    burst(x, 3000, 500, level=10, delay=5)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["sr/data"] = np.delete(x, slice(4500, 5000), axis=0)
        file["sr/time"] = np.delete(np.arange(6000), slice(4500, 5000)) / 100.0
        file["sr/distance"] = np.arange(30) * 10.0
    marks = [Mark(30.0, 35.0, "earthquake"), Mark(12.0, None, "pick"), Mark(40.0, 42.0, "far", (3, 9)), Mark(900.0)]
    picks = {"P": 30 + np.arange(30) * 0.05, "S": np.where(np.arange(30) < 5, np.nan, 33.0)}
    plot_waterfall(tmp_path / "a.h5", tmp_path / "a.png", events=marks, picks=picks)
    marked = looks_like_a_picture(tmp_path / "a.png")
    plot_waterfall(find_records(tmp_path / "a.h5")[0], tmp_path / "plain.png")
    assert np.abs(marked - looks_like_a_picture(tmp_path / "plain.png")).max() > 0.5
    grey = np.abs(marked - np.array([0xBB, 0xBB, 0xBB]) / 255).max(axis=2) < 0.01
    assert grey.sum() > 5000  # the gap is shown as one


def test_the_burst_is_where_it_should_be(tmp_path):
    x = noise(6000, 40)
    x[4000:4300, 30:35] *= 60
    plot_waterfall(write(tmp_path / "a.h5", x), tmp_path / "a.png", clip_percentile=100)
    pixels = looks_like_a_picture(tmp_path / "a.png")
    strong = (pixels.max(axis=2) - pixels.min(axis=2)) > 0.45
    strong[:, int(0.88 * strong.shape[1]) :] = False  # the colour bar
    strong[int(0.74 * strong.shape[0]) :] = False  # the trace
    rows, columns = np.nonzero(strong)
    assert abs(np.median(columns) / pixels.shape[1] - (0.055 + 0.835 * 0.69)) < 0.06
    assert abs(1 - np.median(rows) / pixels.shape[0] - 0.84) < 0.06


@pytest.mark.parametrize(("x", "start"), [(noise(5000, 1), None), (np.zeros((500, 12), np.float32), None),
                                          (noise(40, 3), "2024-03-01T00:00:00Z"),
                                          (np.full((300, 4), np.nan, np.float32), None), (noise(9, 1), None)])
def test_odd_records_are_drawn_too(tmp_path, x, start):
    plot_waterfall(write(tmp_path / "a.h5", x, start), tmp_path / "a.png", events=[Mark(1.0, 2.0, "x")])
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_a_saturated_channel_does_not_hide_the_others(tmp_path):
    x = noise(3000, 40)
    plot_waterfall(write(tmp_path / "plain.h5", x), tmp_path / "plain.png")
    x[:, 17] = 1e4 * np.sign(x[:, 17])
    plot_waterfall(write(tmp_path / "loud.h5", x), tmp_path / "loud.png")
    plain, loud = (looks_like_a_picture(tmp_path / f"{n}.png")[100:300, 200:1200].std() for n in ("plain", "loud"))
    assert loud > 0.8 * plain


def test_the_trace_below_is_of_the_middle_living_channel():
    from matplotlib.figure import Figure

    x = noise(3000, 9)
    x[:, 4] = 0  # the channel in the middle is dead: the next living one is drawn
    x[1500, 5] = 500
    cells = x.reshape(300, 10, 9)
    reduced = Reduced(cells.max(1), cells.min(1), x.mean(0, dtype=np.float64), 0, 3000)
    axes = Figure().add_subplot()
    plots._middle_trace(axes, reduced, 100, 0.0, 30.0)
    assert axes.get_ylabel() == "channel 105"
    corners = axes.collections[0].get_paths()[0].vertices
    assert corners[corners[:, 1].argmax(), 0] == pytest.approx(15.05, abs=0.06)


def test_a_stretch_and_a_range_of_channels(tmp_path):
    path = write(tmp_path / "a.h5", noise(3000, 20))
    plot_waterfall(path, tmp_path / "a.png", start_s=10, length_s=5, channels=(5, 9))
    looks_like_a_picture(tmp_path / "a.png")
    for bad in ({"start_s": 31.0}, {"channels": (5, 40)}, {"clip_percentile": 0.0}, {"length_s": 0.0}):
        with pytest.raises(InputError):
            plot_waterfall(path, tmp_path / "bad.png", **bad)
    assert not (tmp_path / "bad.png").exists()


def test_marks_from_catalogues_and_interval_tables(tmp_path):
    x = noise(12_000, 6)
    burst(x, 6000, 600, level=8.0)
    record = find_records(write(tmp_path / "a.h5", x))[0]
    found = detect(EnergyPredictor(), [tmp_path / "a.h5"])
    for name in ("events.csv", "events.xml"):
        write_detections(found, tmp_path / name)
        (mark,) = marks_of(tmp_path / name, record)
        assert mark.start_s == pytest.approx(found.events[0].start_s, abs=1e-3) and "earthquake" in mark.name
        assert mark.stop_s == pytest.approx(mark.start_s + found.events[0].duration_s, abs=1e-3)
    (tmp_path / "intervals.csv").write_text("record,start,stop,label,event_id\na.h5,60,66,1,e1\na.h5,,,noise,\n"
                                            "b.h5,1,2,0,e2\n")
    (mark,) = marks_of(tmp_path / "intervals.csv", record)
    assert (mark.start_s, mark.stop_s, mark.name) == (60.0, 66.0, "quarry_blast")
    with pytest.raises(InputError, match="when it starts"):
        marks_of(tmp_path / "events.csv", replace(record, start_time=None))
    with pytest.raises(InputError):
        marks_of(tmp_path / "nothing.csv", record)


def test_overview_of_predictions(tmp_path):
    for k, hz in enumerate((40.0, 5.0)):
        x = noise(4000, 4)
        burst(x, 2000, 500, hz=hz)
        write(tmp_path / f"{k}.h5", x)
    results = predict_inputs(EnergyPredictor(), [tmp_path, tmp_path / "missing.h5"])
    plot_predictions(results, tmp_path / "p.png")
    looks_like_a_picture(tmp_path / "p.png")
    plot_predictions([Prediction("a.h5", error="no")], tmp_path / "none.png")
    assert (tmp_path / "none.png").exists()


def test_overview_of_detections(tmp_path):
    x = noise(20_000, 4)
    burst(x, 5000, 600, level=8.0)
    write(tmp_path / "a.h5", x)
    write(tmp_path / "b.h5", x, "2024-03-01T00:10:00Z")
    write(tmp_path / "c.h5", x, None)
    found = detect(EnergyPredictor(), [tmp_path])
    assert len(found.curves) == 3 and len(found.events) == 3
    at = START + np.timedelta64(50, "s")
    plot_detections(found, tmp_path / "d.png", [TrueEvent(at, at + np.timedelta64(6, "s"), "earthquake")])
    looks_like_a_picture(tmp_path / "d.png")
    plot_detections(Detections(), tmp_path / "empty.png")
    assert (tmp_path / "empty.png").exists()


@pytest.mark.parametrize("name", ["valencia_febus_example.h5", "prodml_2.0.h5", "decimated_optodas.hdf5",
                                  "geofon_ZH_HSF.mseed"])
def test_real_records_are_drawn(real_das, tmp_path, name):
    plot_waterfall(real_das / name, tmp_path / "a.png")
    looks_like_a_picture(tmp_path / "a.png")
