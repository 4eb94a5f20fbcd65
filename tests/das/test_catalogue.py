"""Catalogues: CSV and QuakeML in, intervals of records out; detections written so that others can read them."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from window_archive import memory_record, write_file

from groundswell.core.errors import InputError, MissingExtraError
from groundswell.pipelines.das.catalogue import (
    ArrivalRule,
    arrivals,
    intervals_from_catalogue,
    read_catalogue,
    write_catalogue,
    write_intervals,
)
from groundswell.pipelines.das.label_files import read_labels
from groundswell.pipelines.das.recipe import DasDataRecipe
from groundswell.pipelines.das.record_index import find_all
from groundswell.pipelines.das.windows import build_index

CLASSES = ("earthquake", "quarry_blast")

QUAKEML = """<?xml version="1.0" encoding="UTF-8"?>
<q:quakeml xmlns:q="http://quakeml.org/xmlns/quakeml/1.2" xmlns="http://quakeml.org/xmlns/bed/1.2">
 <eventParameters publicID="smi:x/cat">
  <event publicID="smi:x/event/one">
   <preferredOriginID>smi:x/origin/b</preferredOriginID>
   <type>earthquake</type>
   <pick publicID="smi:x/pick/s"><time><value>2022-09-01T00:10:07.5Z</value></time></pick>
   <pick publicID="smi:x/pick/p"><time><value>2022-09-01T00:10:05.25Z</value></time></pick>
   <origin publicID="smi:x/origin/a"><time><value>2022-09-01T00:00:00Z</value></time></origin>
   <origin publicID="smi:x/origin/b">
    <time><value>2022-09-01T00:10:00.5Z</value></time><latitude><value>43.0</value></latitude>
    <longitude><value>0.25</value></longitude><depth><value>12000</value></depth>
    <arrival publicID="smi:x/arrival/1"><pickID>smi:x/pick/p</pickID><phase>Pg</phase></arrival>
    <arrival publicID="smi:x/arrival/2"><pickID>smi:x/pick/s</pickID><phase>Sg</phase></arrival>
   </origin>
   <magnitude publicID="smi:x/mag/1"><mag><value>1.7</value></mag></magnitude>
  </event>
  <event publicID="smi:x/event/two"><type>quarry blast</type>
   <origin publicID="smi:x/origin/c"><time><value>2022-09-02T08:00:00Z</value></time></origin></event>
 </eventParameters>
</q:quakeml>
"""


def catalogue(tmp_path, text, name="c.csv"):
    (tmp_path / name).write_text(text)
    return read_catalogue(tmp_path / name)


def test_quakeml_is_read_with_its_preferred_origin_and_first_p_pick(tmp_path):
    frame = catalogue(tmp_path, QUAKEML, "c.xml")
    one, two = frame.iloc[0], frame.iloc[1]
    assert (one["event_id"], one["kind"], two["event_id"], two["kind"]) == ("one", "earthquake", "two", "quarry blast")
    assert one["time"] == pd.Timestamp("2022-09-01T00:10:00.5Z")
    assert one["start"] == pd.Timestamp("2022-09-01T00:10:05.25Z")
    assert (one["latitude"], one["longitude"], one["depth_km"], one["magnitude"]) == (43.0, 0.25, 12.0, 1.7)
    assert pd.isna(two["start"]) and pd.isna(two["stop"]) and np.isnan(two["latitude"])


def test_xml_that_is_dangerous_or_something_else_is_refused(tmp_path):
    bomb = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><quakeml>&b;</quakeml>'
    for text, message in ((bomb, "cannot be read as XML"), ("<a/>", "not QuakeML"), ("time,lat", "read as XML")):
        with pytest.raises(InputError, match=message):
            catalogue(tmp_path, text, "c.xml")
    with pytest.raises(InputError, match="no such catalogue"):
        read_catalogue(tmp_path / "absent.xml")


def test_a_missing_parser_names_the_extra_das(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "defusedxml.ElementTree", None)
    with pytest.raises(MissingExtraError, match=r"groundswell\[das\]"):
        catalogue(tmp_path, QUAKEML, "c.xml")


@pytest.mark.parametrize("text", [
    "event_id,time,latitude,longitude,depth_km,magnitude,type\nA,2022-09-01T00:10:00Z,43,0.25,12,1.7,eq\n",
    "time,latitude,longitude,depth,mag,id,type\n2022-09-01T00:10:00.000Z,43,0.25,12,1.7,A,eq\n",
    "#EventID | Time | Latitude | Longitude | Depth/km | Magnitude | EventType\n"
    "A|2022-09-01T00:10:00|43|0.25|12|1.7|eq\n",
    "\ufeffid;origin_time;lat;lon;depth;ml;class\nA;2022-09-01 00:10:00;43;0.25;12;1.7;eq\n"])
def test_catalogues_of_the_usual_services_are_read(tmp_path, text):
    row = catalogue(tmp_path, text).iloc[0]
    assert row["event_id"] == "A" and row["time"] == pd.Timestamp("2022-09-01T00:10:00Z")
    assert (row["latitude"], row["longitude"], row["depth_km"]) == (43, 0.25, 12)
    assert (row["magnitude"], row["kind"]) == (1.7, "eq")


def test_a_duration_or_a_start_and_an_end_give_the_interval(tmp_path):
    frame = catalogue(tmp_path, "time,duration,type\n2022-09-01T00:00:10Z,5,eq\n2022-09-01T00:01:00Z,,eq\n")
    times = arrivals(frame, ArrivalRule(before_s=0))
    assert times["stop"].tolist() == [pd.Timestamp("2022-09-01T00:00:15"), pd.Timestamp("2022-09-01T00:02:00")]
    frame = catalogue(tmp_path, "start,end,type\n2022-09-01T00:00:10.5Z,2022-09-01T00:00:12Z,eq\n")
    times = arrivals(frame, ArrivalRule())
    assert times["start"][0] == pd.Timestamp("2022-09-01T00:00:10.5")
    assert times["stop"][0] == pd.Timestamp("2022-09-01T00:00:12")
    assert frame["event_id"][0] == "event-20220901T000010.500"


def test_catalogues_without_usable_times_are_refused(tmp_path):
    for text, message in (("id,lat\nA,1\n", "no column of times; it has id"), ("id,time\nA,soon\n", "'soon' is not"),
                          ("id,time\nA,\n", "neither an origin time nor a start")):
        with pytest.raises(InputError, match=message):
            catalogue(tmp_path, text)


@given(distance_km=st.floats(1, 300), depth_km=st.floats(0, 30), azimuth=st.floats(0, 6.28))
def test_travel_times_from_a_place_are_those_of_straight_rays(distance_km, depth_km, azimuth):
    site = (43.0, 0.5)
    latitude = site[0] + distance_km * np.cos(azimuth) / 111.195
    longitude = site[1] + distance_km * np.sin(azimuth) / (111.195 * np.cos(np.radians((latitude + site[0]) / 2)))
    frame = pd.DataFrame({"event_id": ["A"], "time": pd.to_datetime(["2022-09-01T00:00:00Z"]), "latitude": [latitude],
                          "longitude": [longitude], "depth_km": [depth_km], "magnitude": [np.nan], "kind": ["eq"],
                          "start": pd.to_datetime([None], utc=True), "stop": pd.to_datetime([None], utc=True)})
    times = arrivals(frame, ArrivalRule(site=site, before_s=0, after_s=10))
    origin, path_km = pd.Timestamp("2022-09-01"), np.hypot(distance_km, depth_km)
    assert (times["start"][0] - origin).total_seconds() == pytest.approx(path_km / 6.0, rel=0.01)
    assert (times["stop"][0] - origin).total_seconds() == pytest.approx(path_km / 3.46 + 10, rel=0.01)


def test_intervals_are_made_of_events_in_records_and_of_nothing_in_them():
    begins = {"a.h5": "2022-09-01T00:00:00", "b.h5": "2022-09-01T00:01:40", "c.h5": "2022-09-05T00:00:00",
              "d.h5": "2022-09-06T00:00:00", "no clock.h5": None}
    records = {name: memory_record(name, np.zeros((10_000, 1), np.float32), start=begin)
               for name, begin in begins.items()}
    records["psd.h5"] = memory_record("psd.h5", np.zeros((10, 1), np.float32), kind="spectrum")
    frame = pd.DataFrame({
        "event_id": ["split", "early", "odd"], "kind": ["earthquake", "earthquake", "sonic boom"], "latitude": np.nan,
        "longitude": np.nan, "depth_km": np.nan, "magnitude": np.nan,
        "time": pd.to_datetime(["2022-09-01T00:01:30Z", "2022-08-01T00:00:00Z", "2022-09-06T00:00:30Z"], utc=True),
        "start": pd.to_datetime([None] * 3, utc=True), "stop": pd.to_datetime([None] * 3, utc=True)})
    made = intervals_from_catalogue(frame, records, CLASSES, ArrivalRule(before_s=0, duration_s=30))
    rows = made.frame.fillna(-1.0).values.tolist()
    assert rows == [["a.h5", 90.0, 120.0, "earthquake", "split"], ["b.h5", -10.0, 20.0, "earthquake", "split"],
                    ["c.h5", -1.0, -1.0, "noise", ""]]
    assert (made.outside, made.unknown, made.untimed) == (("early",), ("odd",), ("no clock.h5",))


def test_a_catalogue_becomes_labels_of_windows(tmp_path):
    for hour in (1, 2, 3):
        write_file(tmp_path / f"DAS_2022-09-01_0{hour}-00-00_UTC.h5", seed=hour)
    (tmp_path / "events.csv").write_text("id,time,duration,type\nE,2022-09-01T01:00:02Z,3,earthquake\n"
                                         "Q,2022-09-01T02:00:05Z,2,quarry blast\n")
    records = {key: item.record for key, item in find_all(tmp_path).found.items()}
    made = intervals_from_catalogue(read_catalogue(tmp_path / "events.csv"), records, CLASSES)
    write_intervals(made.frame, tmp_path / "intervals.csv")
    assert len(read_labels(tmp_path / "intervals.csv", CLASSES).given) == 3
    frame = build_index(tmp_path, DasDataRecipe(window_samples=100, stride_samples=100))[1].frame
    labels = frame.groupby("record")["label"].apply(list).tolist()
    assert labels == [[2, 2, 0, 0, 0, 2, 2, 2, 2, 2], [2, 2, 2, 2, 2, 1, 1, 2, 2, 2], [2] * 10]


DETECTIONS = pd.DataFrame({
    "start": pd.to_datetime(["2022-09-01T00:00:10.50Z", "2022-09-01T01:00:00.00Z"]),
    "stop": pd.to_datetime(["2022-09-01T00:00:40.25Z", "2022-09-01T01:00:30.00Z"]),
    "class": ["earthquake", "quarry_blast"], "probability": [0.93, 0.61], "channel_start": [3, 0],
    "channel_stop": [90, 55], "record": ["a.h5", "b & c.h5"]})


@pytest.mark.parametrize("name", ["found.csv", "found.xml"])
def test_detections_survive_being_written_and_read(tmp_path, name):
    write_catalogue(DETECTIONS, tmp_path / name)
    back = read_catalogue(tmp_path / name)
    for column in ("start", "stop"):
        assert back[column].tolist() == DETECTIONS[column].tolist()
    assert back["event_id"].is_unique and [k.replace(" ", "_") for k in back["kind"]] == DETECTIONS["class"].tolist()
    write_catalogue(DETECTIONS.iloc[:0], tmp_path / name)
    assert len(read_catalogue(tmp_path / name)) == 0


def test_other_programs_read_our_quakeml(tmp_path):
    obspy = pytest.importorskip("obspy")
    placed = DETECTIONS.assign(latitude=[43.1, np.nan], longitude=[0.2, np.nan], depth_km=[8.0, np.nan],
                               magnitude=[1.2, np.nan], event_id=["first", "second one"])
    write_catalogue(placed, tmp_path / "found.xml")
    events = obspy.read_events(str(tmp_path / "found.xml"), format="QUAKEML")
    assert [e.event_type for e in events] == ["earthquake", "quarry blast"]
    assert [e.picks[0].time for e in events] == [obspy.UTCDateTime(t.isoformat()) for t in placed["start"]]
    assert events[0].preferred_origin().depth == 8000.0 and events[0].magnitudes[0].mag == 1.2
    assert not events[1].origins and '"probability": 0.61' in events[1].comments[0].text
    assert events[1].resource_id.id == "smi:local/event/second_one"


def test_obspys_quakeml_is_read(tmp_path):
    obspy = pytest.importorskip("obspy")
    from obspy.core.event import Catalog, Event, Magnitude, Origin

    time = obspy.UTCDateTime("2022-09-01T00:10:00.5")
    event = Event(event_type="quarry blast", origins=[Origin(time=time, latitude=43.0, longitude=0.25, depth=500.0)],
                  magnitudes=[Magnitude(mag=1.1)])
    Catalog([event]).write(str(tmp_path / "c.xml"), format="QUAKEML")
    row = read_catalogue(tmp_path / "c.xml").iloc[0]
    assert row["time"] == pd.Timestamp("2022-09-01T00:10:00.5Z") and row["kind"] == "quarry blast"
    assert (row["latitude"], row["depth_km"], row["magnitude"]) == (43.0, 0.5, 1.1)


def test_a_catalogue_lacking_what_it_needs_is_not_written(tmp_path):
    with pytest.raises(InputError, match="class"):
        write_catalogue(DETECTIONS.drop(columns="class"), tmp_path / "x.csv")
    assert not list(tmp_path.iterdir())
