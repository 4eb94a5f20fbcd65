"""What detecting promises: events in archives, whole across file boundaries, with onset, end and channels."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise, product
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from energy_predictor import EnergyPredictor, burst, noise
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.deploy.streaming import ArrayStream
from groundswell.pipelines.das.catalogue import read_catalogue
from groundswell.pipelines.das.detect import Detections, DetectSettings, detect, event_spans
from groundswell.pipelines.das.detect_output import (
    TrueEvent,
    detection_frame,
    evaluate_detections,
    summary,
    write_detections,
)
from groundswell.pipelines.das.formats import find_records, open_reader
from groundswell.pipelines.das.onset import locate, rise
from groundswell.pipelines.das.timeline import PieceStream, cables_of

START = np.datetime64("2024-03-01T00:00:00", "ns")
RATE = 100.0


def utc(seconds: float) -> np.datetime64:
    return START + np.timedelta64(round(seconds * 1e9), "ns")


def write(path: Path, x: np.ndarray, start_s: float | None = 0.0, **storage) -> Path:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", data=x, **storage)
        data.attrs.update({"rate_hz": RATE, "spacing_m": 10.0, "axis_order": "time,channel"})
        if start_s is not None:
            data.attrs["start_time"] = f"{utc(start_s)}Z"
    return path


def archive_of(events: list[tuple[float, float]], duration_s: float = 600.0, channels: int = 8,
               seed: int = 0) -> np.ndarray:
    """Noise with bursts at (time s, pitch Hz)."""
    x = noise(round(duration_s * RATE), channels, seed)
    for at, hz in events:
        burst(x, round(at * RATE), 800, hz=hz, level=8.0, delay=3.0)
    return x


EVENTS = [(61.3, 25.0), (199.0, 5.0), (333.7, 25.0), (471.0, 5.0)]


def files(folder: Path, x: np.ndarray, cuts: list[int], **storage) -> None:
    for k, (a, b) in enumerate(zip([0, *cuts], [*cuts, len(x)], strict=True)):
        write(folder / f"part{k:03d}.h5", x[a:b], a / RATE, **storage)


def truth() -> list[TrueEvent]:
    return [TrueEvent(utc(at), utc(at + 5), "earthquake" if hz > 10 else "quarry_blast") for at, hz in EVENTS]


def test_events_are_found_with_onset_class_and_channels(tmp_path):
    write(tmp_path / "all.h5", archive_of(EVENTS))
    found = detect(EnergyPredictor(), [tmp_path])
    score = evaluate_detections(found, truth())
    assert score.recall == 1 and score.false_alarms == 0 == score.repeated and score.class_accuracy == 1
    assert np.abs(score.onset_errors_s).max() < 1.0
    for event in found.events:
        assert event.refined and 1.0 <= event.duration_s < 15.0
        assert (event.channel_start, event.channel_stop) == (0, 8)
        assert event.start_time == utc(event.start_s) and event.end_time > event.start_time
        assert 0.5 <= event.probability <= 1 and event.event_probability >= 0.5
    assert found.recorded_s == 600 and found.read_bytes == 60_000 * 8 * 4 and found.times_real_time > 10
    assert any("4 event(s) in 0.17 h" in line for line in summary(found))


def test_channels_that_do_not_see_the_event_are_left_out():
    x = noise(6000, 60)
    burst(x, 3000, 800, level=10.0, hz=10.0, channels=slice(20, 45))
    extent = locate(ArrayStream(x), RATE, (29.0, 31.0), (36.0, 38.0))
    assert abs(extent.onset_s - 30.0) < 0.5 and 31.0 <= extent.end_s <= 38.0
    assert abs(extent.channel_start - 20) <= 2 and abs(extent.channel_stop - 45) <= 2


@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(300, 59_700), max_size=4, unique=True), seed=st.integers(0, 3))
def test_cutting_the_archive_into_files_changes_nothing(tmp_path_factory, cuts, seed):
    folder = tmp_path_factory.mktemp("archive")
    x = archive_of(EVENTS, seed=seed)
    files(folder, x, sorted(cuts))
    cut = detect(EnergyPredictor(), [folder])
    whole_folder = tmp_path_factory.mktemp("whole")
    write(whole_folder / "all.h5", x)
    whole = detect(EnergyPredictor(), [whole_folder])
    assert len(cut.curves) == 1 and not cut.gaps
    np.testing.assert_array_equal(cut.curves[0].p_event, whole.curves[0].p_event)
    assert [(e.start_time, e.end_time, e.class_name, e.windows) for e in cut.events] == [
        (e.start_time, e.end_time, e.class_name, e.windows) for e in whole.events]


def test_an_event_on_a_boundary_is_one_event_named_by_the_file_it_starts_in(tmp_path):
    files(tmp_path, archive_of(EVENTS), [6130 + 200, 33_370 - 5])
    found = detect(EnergyPredictor(), [tmp_path])
    assert [Path(e.file).name for e in found.events] == ["part000.h5", "part001.h5", "part002.h5", "part002.h5"]
    assert found.events[2].start_s == pytest.approx(0.05, abs=0.6)
    assert evaluate_detections(found, truth()).recall == 1


def test_gaps_are_reported_and_never_bridged(tmp_path):
    x = archive_of(EVENTS)
    write(tmp_path / "a.h5", x[:25_000], 0.0)
    write(tmp_path / "b.h5", x[30_000:], 300.0)
    found = detect(EnergyPredictor(), [tmp_path])
    (gap,) = found.gaps
    assert gap.duration_s == pytest.approx(50.0) and gap.start_time == utc(250.0) and gap.after == "a.h5"
    assert len(found.curves) == 2 and evaluate_detections(found, truth()).recall == 1
    for curve in found.curves:
        begins = (curve.start_time - START) / np.timedelta64(1, "s")
        assert begins + curve.window_start_s[-1] + 2.0 <= (250.0 if begins == 0 else 600.0) + 1e-6


def test_half_a_sample_is_no_gap_and_one_sample_is(tmp_path):
    x = noise(4000, 3)
    for folder, late in (("joined", 0.004), ("apart", 0.010)):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "a.h5", x[:2000], 0.0)
        write(tmp_path / folder / "b.h5", x[2000:], 20.0 + late)
        found = detect(EnergyPredictor(), [tmp_path / folder])
        assert len(found.gaps) == (0 if folder == "joined" else 1)


def test_files_without_a_start_time_are_looked_at_alone(tmp_path):
    x = archive_of(EVENTS[:1], 120)
    write(tmp_path / "a.h5", x, None)
    write(tmp_path / "b.h5", x, None)
    found = detect(EnergyPredictor(), [tmp_path])
    assert len(found.curves) == 2 and [e.start_time for e in found.events] == [None, None]
    assert all(e.start_s == pytest.approx(61.3, abs=1.0) for e in found.events)
    notes = write_detections(found, tmp_path / "out.xml")
    assert "2 event(s) lie in files without a start time" in notes[0]
    with pytest.raises(InputError, match="without a start time"):
        evaluate_detections(found, truth())


def test_repeated_stretches_are_used_once_and_other_cables_kept_apart(tmp_path):
    x = archive_of(EVENTS)
    write(tmp_path / "a.h5", x[:30_000], 0.0)
    write(tmp_path / "b.h5", x[29_000:], 290.0)
    write(tmp_path / "copy.h5", x[29_000:], 290.0)
    other = noise(60_000, 8, seed=9)
    write(tmp_path / "z_other.h5", other, 0.0)
    records = [r for p in sorted(tmp_path.iterdir()) for r in find_records(p)]
    mine, theirs = cables_of(records, open_reader)
    assert mine.duration_s == 600 == theirs.duration_s and len(mine.sections) == 1
    assert len(mine.notes) == 2
    stream = PieceStream(mine.sections[0].pieces, open_reader)
    out = np.empty((stream.samples, 8), np.float32)
    stream.read(0, stream.samples, out)
    stream.close()
    np.testing.assert_array_equal(out, x)


def test_a_damaged_file_costs_only_itself(tmp_path):
    x = archive_of(EVENTS)
    files(tmp_path, x, [20_000, 25_000, 30_000], chunks=(500, 8), compression="gzip")
    torn = tmp_path / "part001.h5"
    whole = torn.read_bytes()
    with h5py.File(torn) as file:
        place = file["data"].id.get_chunk_info(7)
    torn.write_bytes(whole[: place.byte_offset] + b"\0" * place.size + whole[place.byte_offset + place.size :])
    found = detect(EnergyPredictor(), [tmp_path])
    assert [Path(name).name for name, _ in found.failures] == ["part001.h5"]
    assert found.recorded_s == pytest.approx(550) and len(found.curves) == 2
    score = evaluate_detections(found, truth())
    assert score.recall == 1 and score.false_alarms == 0
    clean = tmp_path / "clean"
    clean.mkdir()
    write(clean / "a.h5", x[:20_000], 0.0)
    np.testing.assert_array_equal(found.curves[0].p_event, detect(EnergyPredictor(), [clean]).curves[0].p_event)


def test_files_the_model_cannot_use_are_failures(tmp_path):
    write(tmp_path / "a.h5", archive_of(EVENTS[:1], 100))
    (tmp_path / "b.h5").write_bytes(b"not HDF5")
    write(tmp_path / "c.h5", noise(1000, 5))
    found = detect(EnergyPredictor(channels=8), [tmp_path])
    assert [Path(name).name for name, _ in found.failures] == ["b.h5", "c.h5"] and len(found.events) == 1


def test_a_model_that_cannot_say_nothing_happens_is_refused(tmp_path):
    write(tmp_path / "a.h5", noise(1000, 4))
    with pytest.raises(InputError, match="interval labels"):
        detect(EnergyPredictor(classes=("earthquake", "quarry_blast")), [tmp_path])


@pytest.mark.parametrize("bad", [{"threshold": 0.0}, {"threshold": 1.5}, {"threshold": 0.5, "release": 0.6},
                                 {"min_windows": 0}, {"stride_s": 0.0}, {"merge_gap_s": -1.0}])
def test_impossible_settings_are_refused(bad):
    with pytest.raises(InputError):
        DetectSettings(**bad)


def test_a_longer_stride_averaged_channels_and_the_gate_still_find_everything(tmp_path):
    write(tmp_path / "all.h5", archive_of(EVENTS, channels=16))
    plain = detect(EnergyPredictor(), [tmp_path])
    wide = detect(EnergyPredictor(), [tmp_path], DetectSettings(stride_s=2.0))
    narrow = detect(EnergyPredictor(noise_rms=0.7), [tmp_path], DetectSettings(average_channels=2))
    gated_predictor = EnergyPredictor()
    gated = detect(gated_predictor, [tmp_path], DetectSettings(gate=3.0))
    assert wide.windows == 300 and gated.gated > 0.8 * gated.windows
    for found in (plain, wide, gated, narrow):
        score = evaluate_detections(found, truth())
        assert score.recall == 1 and score.false_alarms == 0
    assert [e.start_time for e in gated.events] == [e.start_time for e in plain.events]


def test_another_rate_finds_the_same_events(tmp_path):
    write(tmp_path / "all.h5", archive_of(EVENTS))
    found = detect(EnergyPredictor(rate_hz=80.0, window_samples=160, stride_samples=80), [tmp_path])
    score = evaluate_detections(found, truth())
    assert score.recall == 1 and np.abs(score.onset_errors_s).max() < 1.0
    assert "resampled from 100 Hz to 80 Hz" in found.notes


@settings(max_examples=200)
@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=60), threshold=st.floats(0.2, 0.9), share=st.floats(0.2, 1),
       least=st.integers(1, 4), gap=st.floats(0, 10), stride=st.floats(0.5, 3))
def test_spans_keep_their_promises(p, threshold, share, least, gap, stride):
    values, starts = np.array(p), np.arange(len(p)) * stride
    chosen = DetectSettings(threshold=threshold, release=threshold * share, min_windows=least, merge_gap_s=gap)
    spans = event_spans(values, starts, 2.0, chosen)
    inside = np.zeros(len(values), bool)
    for a, b in spans:
        assert 0 <= a < b <= len(values) and not inside[a:b].any()
        inside[a:b] = True
        assert (values[a:b] >= threshold).sum() >= least
        assert values[a] >= chosen.released and values[b - 1] >= chosen.released
        assert a == 0 or values[a - 1] < chosen.released
        assert b == len(values) or values[b] < chosen.released
    for (_, b), (a, _) in pairwise(spans):
        assert starts[a] - (starts[b - 1] + 2.0) >= gap
    if least == 1:
        assert inside[values >= threshold].all()
    higher = DetectSettings(threshold=min(1.0, threshold * 1.1), release=threshold * share, min_windows=least,
                            merge_gap_s=gap)
    assert sum(b - a for a, b in event_spans(values, starts, 2.0, higher)) <= inside.sum()


@settings(max_examples=25, deadline=None)
@given(at=st.floats(20, 40), snr=st.floats(1.5, 8), channels=st.sampled_from([1, 5, 40]), delay=st.floats(0, 1),
       seed=st.integers(0, 1000))
def test_onsets_lie_within_two_seconds(at, snr, channels, delay, seed):
    x = noise(6000, channels, seed)
    level = max(snr, 4.0) if channels == 1 else snr
    burst(x, round(at * RATE), 900, level=level, hz=8.0, delay=delay)
    first = np.floor(at + 0.5) - 1.0
    extent = locate(ArrayStream(x), RATE, (first, first + 2.0), (first + 6.0, first + 8.0))
    assert extent.refined and abs(extent.onset_s - at) < 2.0
    assert extent.onset_s < extent.end_s <= 60.0


def test_a_car_does_not_move_the_onset():
    x = noise(6000, 60)
    burst(x, 2600, 300, level=15.0, hz=8.0, channels=slice(10, 14))
    burst(x, 3000, 900, level=3.0, hz=8.0)
    assert abs(locate(ArrayStream(x), RATE, (29.5, 31.5), (35.0, 37.0)).onset_s - 30.0) < 1.0


def test_dead_channels_and_silence_have_no_onset():
    assert not rise(np.zeros((200, 4), np.float32), 60, 10).any()
    extent = locate(ArrayStream(np.zeros((3000, 4), np.float32)), RATE, (10.0, 12.0), (10.0, 12.0))
    assert not extent.refined and (extent.onset_s, extent.end_s) == (10.0, 12.0)


def test_the_catalogue_is_read_back_as_it_was_written(tmp_path):
    write(tmp_path / "all.h5", archive_of(EVENTS))
    found = detect(EnergyPredictor(), [tmp_path / "all.h5"])
    for name in ("events.csv", "events.xml"):
        assert write_detections(found, tmp_path / name) == []
        read = read_catalogue(tmp_path / name)
        assert len(read) == 4
        errors = [abs((r.tz_localize(None).to_datetime64() - e.start_time) / np.timedelta64(1, "us"))
                  for r, e in zip(read["start"], found.events, strict=True)]
        assert max(errors) <= 1
    frame = detection_frame(found.events)
    assert frame["class"].tolist() == ["earthquake", "quarry_blast", "earthquake", "quarry_blast"]


def test_quakeml_is_what_obspy_reads(tmp_path):
    obspy = pytest.importorskip("obspy")
    write(tmp_path / "all.h5", archive_of(EVENTS))
    found = detect(EnergyPredictor(), [tmp_path / "all.h5"])
    write_detections(found, tmp_path / "events.xml")
    catalogue = obspy.read_events(str(tmp_path / "events.xml"), format="QUAKEML")
    assert [e.event_type for e in catalogue] == ["earthquake", "quarry blast", "earthquake", "quarry blast"]
    assert abs(catalogue[0].picks[0].time - obspy.UTCDateTime(str(found.events[0].start_time))) < 1e-3


def test_no_events_make_an_empty_catalogue(tmp_path):
    write(tmp_path / "quiet.h5", noise(6000, 4))
    found = detect(EnergyPredictor(), [tmp_path])
    assert not found.events
    write_detections(found, tmp_path / "events.csv")
    write_detections(found, tmp_path / "events.xml")
    assert len(read_catalogue(tmp_path / "events.csv")) == 0 == len(read_catalogue(tmp_path / "events.xml"))


def test_scores_of_a_known_case(tmp_path):
    write(tmp_path / "all.h5", archive_of([(61.3, 25.0), (300.0, 25.0)]))
    found = detect(EnergyPredictor(), [tmp_path])
    score = evaluate_detections(found, [TrueEvent(utc(61.3), utc(66)), TrueEvent(utc(500), utc(505))])
    assert (score.recall, score.found, score.events, score.false_alarms) == (0.5, 1, 2, 1)
    assert score.false_alarms_per_hour == pytest.approx(6.0) and score.class_accuracy is None
    assert evaluate_detections(Detections(recorded_s=3600.0), []).recall is None


def _sparse(path: Path, samples: int, channels: int) -> None:
    """A file that is large to read and small on disk: most of its chunks are one constant."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", shape=(samples, channels), dtype="float32",
                                   chunks=(1024, min(channels, 250)), **hdf5plugin.Blosc(cname="lz4"))
        tall, wide = data.chunks
        data[:tall, :wide] = 0.01
        file.flush()
        mask, packed = data.id.read_direct_chunk((0, 0))
        for top, left in product(range(0, samples, tall), range(0, channels, wide)):
            data.id.write_direct_chunk((top, left), packed, mask)
        data.attrs.update({"rate_hz": 250.0, "spacing_m": 10.0, "axis_order": "time,channel",
                           "start_time": "2024-03-01T00:00:00Z"})
        rng = np.random.default_rng(0)
        for start in range(0, samples, samples // 4):
            block = min(20_000, samples - start)
            data[start : start + block] = rng.standard_normal((block, channels)).astype(np.float32)
            data[start + block // 2 : start + block // 2 + 1000] *= 10


def _detect_in_a_process(path: Path) -> tuple[int, int]:
    """(events, peak memory in MiB)."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from energy_predictor import EnergyPredictor
from groundswell.pipelines.das.detect import detect
found = detect(EnergyPredictor(rate_hz=250.0, window_samples=1024, stride_samples=512), [Path({str(path)!r})])
assert not found.failures, found.failures
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if "VmHWM" in line)  # the parent's counts not
print(len(found.events), peak // 1024, found.times_real_time)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    events, peak, speed = done.stdout.split()
    print(f"{path.stat().st_size / 2**20:.0f} MiB on disk, peak {peak} MiB, {float(speed):.0f} times real time")
    return int(events), int(peak)


def test_memory_does_not_grow_with_the_file(tmp_path):
    _sparse(tmp_path / "small.h5", 100_000, 200)
    _sparse(tmp_path / "large.h5", 1_000_000, 200)
    small, large = (_detect_in_a_process(tmp_path / name) for name in ("small.h5", "large.h5"))
    assert small[0] == 4 == large[0]
    assert large[1] < small[1] + 150  # MiB; the larger file is 800 MB long


@pytest.mark.slow
def test_twenty_gigabytes_need_less_than_two(tmp_path):
    _sparse(tmp_path / "huge.h5", 5_000_000, 1000)
    assert 5_000_000 * 1000 * 4 == 20e9
    events, peak = _detect_in_a_process(tmp_path / "huge.h5")
    assert events == 4 and peak < 2000
