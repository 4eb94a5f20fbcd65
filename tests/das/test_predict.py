"""What predicting promises: any readable record of any length, one result each, failures among them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from energy_predictor import EnergyPredictor, burst, noise
from hypothesis import given
from hypothesis import strategies as st

from groundswell.deploy.streaming import window_starts
from groundswell.pipelines.das.predict import event_shares, predict_inputs, write_csv, write_json
from groundswell.pipelines.das.resample import resample_whole


def write(path: Path, x: np.ndarray, rate_hz: float = 100.0, spacing_m: float = 10.0,
          start: str = "2024-03-01T00:00:00Z", **storage) -> Path:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", data=x, **storage)
        data.attrs.update({"rate_hz": rate_hz, "spacing_m": spacing_m, "start_time": start,
                           "axis_order": "time,channel"})
    return path


def test_two_records_two_classes(tmp_path):
    for name, hz in (("high", 40.0), ("low", 5.0)):
        x = noise(3000, 6)
        burst(x, 1400, 400, hz=hz)
        write(tmp_path / f"{name}.h5", x)
    high, low = predict_inputs(EnergyPredictor(), [tmp_path])
    assert (high.class_name, high.predicted_class, low.class_name, low.predicted_class) == ("earthquake", 0,
                                                                                           "quarry_blast", 1)
    assert high.confidence > 0.6 and low.confidence > 0.6 and not high.error
    assert sum(high.probabilities.values()) == pytest.approx(1) == sum(high.votes.values())
    assert high.windows == len(window_starts(3000, 200, 100)) == len(high.window_start_s)
    loudest = int(np.argmin(high.window_probabilities[:, 2]))
    assert 12.0 <= high.window_start_s[loudest] <= 14.5


def test_a_record_without_an_event_says_so(tmp_path):
    write(tmp_path / "quiet.h5", noise(2000, 3))
    (quiet,) = predict_inputs(EnergyPredictor(), [tmp_path])
    assert quiet.event_probability < 0.5 and any("no window looks like an event" in n for n in quiet.notes)


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_batch_size_changes_nothing(tmp_path, batch):
    write(tmp_path / "a.h5", noise(5000, 4), chunks=(300, 3), compression="gzip")
    (one,) = predict_inputs(EnergyPredictor(), [tmp_path], batch=16)
    (other,) = predict_inputs(EnergyPredictor(), [tmp_path], batch=batch)
    np.testing.assert_allclose(one.window_probabilities, other.window_probabilities, rtol=1e-6, atol=1e-9)


def test_another_rate_is_resampled_and_said(tmp_path):
    x = noise(12_500, 3)
    burst(x, 5000, 1000, hz=20.0, rate_hz=250.0)
    write(tmp_path / "fast.h5", x, rate_hz=250.0)
    predictor = EnergyPredictor()
    (result,) = predict_inputs(predictor, [tmp_path])
    whole = resample_whole(x, 2, 5)
    starts = window_starts(len(whole), 200, 100)
    expected = predictor.predict(np.stack([whole[s : s + 200] for s in starts]), 10.0)
    np.testing.assert_allclose(result.window_probabilities, expected, atol=1e-4)
    np.testing.assert_allclose(result.window_start_s, starts / 100.0)
    assert "resampled from 250 Hz to 100 Hz" in result.notes


@pytest.mark.parametrize("dtype", ["int16", "float64", ">f4", "int32"])
def test_other_types_give_the_same_answer(tmp_path, dtype):
    x = np.rint(noise(2000, 4) * 50)
    burst(x, 800, 300, level=400.0)
    x = np.rint(x)
    write(tmp_path / "a.h5", x.astype("float32"))
    write(tmp_path / "b.h5", x.astype(dtype))
    a, b = predict_inputs(EnergyPredictor(noise_rms=50.0), [tmp_path])
    np.testing.assert_allclose(a.window_probabilities, b.window_probabilities, atol=1e-6)


def test_windows_never_cross_a_gap(tmp_path):
    stamps = np.concatenate([np.arange(1000), np.arange(1700, 2500)]) / 100.0
    with h5py.File(tmp_path / "gap.h5", "w") as file:
        file["sr/data"] = noise(1800, 4)
        file["sr/time"] = stamps
        file["sr/distance"] = np.arange(4) * 10.0
    (result,) = predict_inputs(EnergyPredictor(), [tmp_path])
    ends = result.window_start_s + 2.0
    assert not ((ends > 10.0) & (result.window_start_s < 17.0)).any()
    assert {8.0, 17.0, 23.0} <= set(result.window_start_s.tolist())
    assert any("gap(s) of 7.0 s" in n for n in result.notes)


def test_a_record_shorter_than_a_window_is_padded_and_said(tmp_path):
    write(tmp_path / "short.h5", noise(150, 4))
    (result,) = predict_inputs(EnergyPredictor(), [tmp_path])
    assert result.windows == 1 and any("padded with zeros" in n for n in result.notes)


def test_a_file_that_fails_is_in_the_output_with_its_reason(tmp_path):
    write(tmp_path / "a_good.h5", noise(1000, 4))
    write(tmp_path / "b_wide.h5", noise(1000, 5))
    write(tmp_path / "c_flat.h5", np.zeros((1000, 4), np.float32))
    (tmp_path / "d_torn.h5").write_bytes((tmp_path / "a_good.h5").read_bytes()[:3000])
    (tmp_path / "e_empty.h5").write_bytes(b"")
    with h5py.File(tmp_path / "f_nothing.h5", "w") as file:
        file["psd/data"] = np.ones((30, 4))
    results = predict_inputs(EnergyPredictor(channels=4), [tmp_path, tmp_path / "missing.h5"])
    names = [Path(r.file).name for r in results]
    assert names == ["a_good.h5", "b_wide.h5", "c_flat.h5", "d_torn.h5", "e_empty.h5", "f_nothing.h5", "missing.h5"]
    assert not results[0].error and all(r.error for r in results[1:])
    assert "needs exactly 4 channels and is given 5" in results[1].error
    write_json(results, tmp_path / "out.json")
    write_csv(results, tmp_path / "out.csv")
    good, wide, *_ = json.loads((tmp_path / "out.json").read_text())
    assert {"file", "predicted_class", "class_name", "confidence"} <= set(good) and "error" not in good
    assert set(wide) == {"file", "error"}
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert len(rows) == 7 and rows[0]["class_name"] == results[0].class_name and rows[1]["class_name"] == ""
    assert float(rows[0]["p_earthquake"]) == pytest.approx(results[0].probabilities["earthquake"])
    assert rows[0]["start_time"] == "2024-03-01T00:00:00.000Z" and rows[6]["error"]


def test_a_range_of_channels_makes_a_wide_cable_fit(tmp_path):
    x = noise(1000, 9)
    write(tmp_path / "wide.h5", x)
    write(tmp_path / "x_narrow.h5", x[:, 3:7])
    wide, narrow = (predict_inputs(EnergyPredictor(channels=4), [tmp_path / name], channels=channels)[0]
                    for name, channels in (("wide.h5", (3, 7)), ("x_narrow.h5", None)))
    np.testing.assert_allclose(wide.window_probabilities, narrow.window_probabilities)
    (beyond,) = predict_inputs(EnergyPredictor(), [tmp_path / "wide.h5"], channels=(3, 11))
    assert "no channels 3 to 11" in beyond.error


def test_values_that_are_not_numbers_are_zeroed_and_said(tmp_path):
    x = noise(1000, 4)
    x[500:510, 2] = np.nan
    write(tmp_path / "nan.h5", x)
    (result,) = predict_inputs(EnergyPredictor(), [tmp_path])
    assert np.isfinite(result.window_probabilities).all() and any("10 values that are not numbers" in n
                                                                  for n in result.notes)


def test_progress_reaches_the_end(tmp_path):
    write(tmp_path / "a.h5", noise(5000, 2))
    write(tmp_path / "b.h5", noise(5000, 2))
    told = []
    predict_inputs(EnergyPredictor(), [tmp_path], progress=lambda done, total, name: told.append((done, total, name)))
    assert all(total == 100.0 for _, total, _ in told) and told[-1][0] >= 95
    assert [t[0] for t in told] == sorted(t[0] for t in told)


@given(data=st.data(), windows=st.integers(1, 20), noisy=st.booleans())
def test_shares_are_probabilities_that_weigh_windows_by_their_event(data, windows, noisy):
    classes = ("earthquake", "quarry_blast", "noise") if noisy else ("earthquake", "quarry_blast")
    raw = np.array(data.draw(st.lists(st.lists(st.floats(0, 1), min_size=len(classes), max_size=len(classes)),
                                      min_size=windows, max_size=windows))) + 1e-3
    p = raw / raw.sum(axis=1, keepdims=True)
    average, votes = event_shares(p, classes)
    assert average.sum() == pytest.approx(1) and votes.sum() == pytest.approx(1)
    if noisy:  # windows of certain noise change nothing
        more = np.concatenate([p, [[0.0, 0.0, 1.0]] * 5])
        np.testing.assert_allclose(event_shares(more, classes)[0], average)
        np.testing.assert_allclose(event_shares(more, classes)[1], votes)
    else:
        np.testing.assert_allclose(average, p.mean(axis=0))
        assert votes[0] == pytest.approx((p[:, 0] >= p[:, 1]).mean())


def test_shares_without_any_event_are_even():
    for shares in event_shares(np.array([[0.0, 0.0, 1.0]]), ("a", "b", "noise")):
        np.testing.assert_array_equal(shares, [0.5, 0.5])


def test_vote_and_average_can_differ(tmp_path, monkeypatch):
    write(tmp_path / "a.h5", noise(500, 2))
    predictor = EnergyPredictor(classes=("earthquake", "quarry_blast"))
    p = np.array([[0.6, 0.4], [0.6, 0.4], [0.6, 0.4], [0.05, 0.95]])
    monkeypatch.setattr(predictor, "predict", lambda x, spacing_m: p[: len(x)])
    (vote,) = predict_inputs(predictor, [tmp_path], aggregate="vote")
    (average,) = predict_inputs(predictor, [tmp_path], aggregate="average")
    assert (vote.class_name, average.class_name) == ("earthquake", "quarry_blast")
    assert vote.confidence == pytest.approx(p[:, 0].mean()) and average.confidence == pytest.approx(p[:, 1].mean())


def test_neither_torch_nor_pandas_is_imported(tmp_path):
    write(tmp_path / "a.h5", noise(2500, 4), rate_hz=250.0)
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from energy_predictor import EnergyPredictor
from groundswell.pipelines.das.predict import predict_inputs, write_csv, write_json
results = predict_inputs(EnergyPredictor(), [Path({str(tmp_path)!r})])
write_json(results, Path({str(tmp_path)!r}) / "out.json")
write_csv(results, Path({str(tmp_path)!r}) / "out.csv")
assert not results[0].error, results[0].error
print(sorted({{"torch", "pandas", "sklearn", "obspy", "dascore"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_real_records_of_every_format_give_a_result_or_a_reason(real_das):
    names = ["valencia_febus_example.h5", "prodml_2.0.h5", "decimated_optodas.hdf5", "gdr_1.h5", "febus_2.h5",
             "neubrex_das_1.h5", "fiberis_sensor_2019-03-28T160419Z.h5"]
    results = predict_inputs(EnergyPredictor(rate_hz=250.0, window_samples=1024, stride_samples=512),
                             [real_das / name for name in names])
    assert [bool(r.error) for r in results] == [False, False, False, False, True, True, True]
    assert "resampled from 200 Hz to 250 Hz; nothing above 100 Hz was recorded" in results[1].notes
    assert "not a waveform" in results[4].error and "the same" in results[5].error
