"""Catalogues, the rules that pick from them, and index files."""

from __future__ import annotations

import gzip
import sys

import numpy as np
import pandas as pd
import pytest
from observatory_files import write_catalogue

from groundswell.core.errors import InputError, MissingExtraError
from groundswell.pipelines.geomag.building.catalogue import read_catalogues
from groundswell.pipelines.geomag.building.indices import AP_OF_KP, Binned, parse_index, read_indices
from groundswell.pipelines.geomag.building.minutes import minute_of
from groundswell.pipelines.geomag.building.recipe import EventRule
from groundswell.pipelines.geomag.building.rules import dependent_events, dobrovolsky_km, judge

KP_HEAD = "Date,K_00,K_03,K_06,K_09,K_12,K_15,K_18,K_21"
QUAKEML = """<?xml version="1.0"?>
<q:quakeml xmlns:q="http://quakeml.org/xmlns/quakeml/1.2" xmlns="http://quakeml.org/xmlns/bed/1.2">
<eventParameters publicID="smi:a/p"><event publicID="smi:a/e1"><preferredOriginID>o2</preferredOriginID>
<type>earthquake</type><origin publicID="o1"><time><value>2001-01-01T00:00:00</value></time></origin>
<origin publicID="o2"><time><value>2010-02-03T04:05:06.5Z</value></time><latitude><value>35.5</value></latitude>
<longitude><value>200.0</value></longitude><depth><value>12000</value></depth></origin>
<magnitude publicID="m"><mag><value>6.1</value></mag></magnitude></event>
<event publicID="smi:a/e2"><type>quarry blast</type></event></eventParameters></q:quakeml>"""


def test_both_csv_layouts_are_read_with_their_odd_rows(tmp_path):
    path = tmp_path / "significant.csv"
    path.write_text("Date,Time,Latitude,Longitude,Type,Depth,Magnitude,ID\n"
                    "01/02/1965,13:44:18,19.2,145.6,Earthquake,131.6,6,A\n"
                    "1975-02-23T02:58:41.000Z,1975-02-23T02:58:41.000Z,8.0,124.0,Earthquake,623,5.6,B\n"
                    "03/04/1966,01:00:00,1,2,Nuclear Explosion,0,5.6,C\n"
                    "12/30/2016,20:08:28,37.4,216.6,Earthquake,,5.5,D\n")
    found = read_catalogues([path])
    assert found.events["event_id"].tolist() == ["A", "B", "D"] and found.dropped == {"nuclear explosion": 1}
    assert found.events["time"].dt.strftime("%Y-%m-%dT%H:%M:%S").tolist() == [
        "1965-01-02T13:44:18", "1975-02-23T02:58:41", "2016-12-30T20:08:28"]
    assert found.events["longitude"].iloc[2] == pytest.approx(-143.4) and np.isnan(found.events["depth_km"].iloc[2])


def test_quakeml_is_read_and_hostile_xml_is_not(tmp_path):
    (tmp_path / "a.xml.gz").write_bytes(gzip.compress(QUAKEML.encode()))
    event = read_catalogues([tmp_path / "a.xml.gz"]).events.iloc[0]
    assert (event["event_id"], event["depth_km"], event["magnitude"], event["longitude"]) == ("e1", 12.0, 6.1, -160.0)
    assert event["time"] == pd.Timestamp("2010-02-03T04:05:06.5Z")
    (tmp_path / "bad.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')
    with pytest.raises(InputError, match="safely"):
        read_catalogues([tmp_path / "bad.xml"])


def test_a_missing_parser_names_the_extra_geomag(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "defusedxml.ElementTree", None)
    (tmp_path / "a.xml").write_text(QUAKEML)
    with pytest.raises(MissingExtraError, match=r"groundswell\[geomag\]"):
        read_catalogues([tmp_path / "a.xml"])


def test_an_event_of_two_catalogues_is_taken_once(tmp_path):
    a = write_catalogue(tmp_path / "a.csv", [("2010-01-01T00:00:00", 10, 20, 6.0)])
    b = write_catalogue(tmp_path / "b.csv", [("2010-01-01T00:00:20", 10.3, 20.1, 6.2),
                                             ("2010-01-01T00:00:20", 40, 20, 6.2),
                                             ("2010-01-01T00:05:00", 10.3, 20.1, 6.2)])
    found = read_catalogues([a, b])
    assert found.events["magnitude"].tolist() == [6.0, 6.2, 6.2] and found.dropped == {"listed twice": 1}
    assert found.events["event_id"].is_unique


def test_catalogues_that_cannot_be_used_are_refused_where_it_is_wrong(tmp_path):
    for text, what in (("a,b\n1,2\n", "no column for time, latitude"),
                       ("time,lat,lon,mag\nyesterday,1,2,3\n", "event 1"),
                       ("date,time,lat,lon,mag\n31/12/2010,00:00,1,2,3\n", "event 1"),
                       ("time,lat,lon,mag,type\n2010-01-01,1,2,3,explosion\n", "no earthquakes")):
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(InputError, match=what):
            read_catalogues([tmp_path / "a.csv"])
    with pytest.raises(InputError, match="no such catalogue"):
        read_catalogues([tmp_path / "absent.csv"])


def test_the_real_catalogues_are_read(real_geomag):
    names = ("usgs_M5_2013_20231104.csv.gz", "significant_M5.5_1965_2016.csv.gz")
    usgs, significant = (read_catalogues([real_geomag / "catalog" / name]) for name in names)
    assert len(usgs.events) == 18275 and usgs.dropped == {"volcanic eruption": 55, "nuclear explosion": 4}
    assert len(significant.events) == 23232
    both = read_catalogues([real_geomag / "catalog" / name for name in names])
    # Hardly an event of magnitude 5.5 in 2013 to 2016 is in one list only.
    twice = both.dropped["listed twice"]
    overlapping = (significant.events["time"] >= usgs.events["time"].iloc[0]).sum()
    assert 0.97 * overlapping < twice <= overlapping


def test_the_radius_of_preparation_is_the_published_one():
    # Of magnitude 5, 141 km.
    assert dobrovolsky_km(np.array([5.0, 8.0])) == pytest.approx([141.25, 2754.2], rel=1e-3)


def events_of(rows):
    return pd.DataFrame([{"event_id": str(i), "time": pd.Timestamp(t, tz="UTC"), "latitude": lat, "longitude": lon,
                          "depth_km": d, "magnitude": m} for i, (t, lat, lon, d, m) in enumerate(rows)])


def test_a_rule_judges_distance_magnitude_and_depth():
    events = events_of([("2010", 0.0, 1.0, 10, 5.0), ("2010", 0.0, 2.0, 10, 5.0), ("2010", 0.0, 2.0, 10, 6.0),
                        ("2010", 0.0, 0.0, 300, 6.0), ("2010", 0.0, 0.0, np.nan, 6.0), ("2010", 0.0, 0.0, 10, 4.0)])
    rule = EventRule(max_depth_km=100.0)
    assert judge(events, (0.0, 0.0), rule).qualifies.tolist() == [True, False, True, False, True, False]
    rule = EventRule(rule="distance", max_distance_km=150.0, min_magnitude=4.0)
    assert judge(events, (0.0, 0.0), rule).qualifies.tolist() == [True, False, False, True, True, True]


def test_aftershocks_and_foreshocks_belong_to_the_larger_event():
    events = events_of([("2010-01-01", 0.0, 0.1, 10, 5.0), ("2010-01-10", 0.0, 0.0, 10, 7.0),
                        ("2010-02-01", 0.1, 0.0, 10, 6.0), ("2010-02-01", 30.0, 0.0, 10, 6.0),
                        ("2014-02-01", 0.1, 0.0, 10, 6.0)])
    assert dependent_events(events).tolist() == [True, False, True, False, False]


def test_windows_see_only_whole_bins_and_enough_of_them():
    index = Binned(0, 180, np.arange(20.0))
    assert index.means(np.array([0, 1]), 360).tolist() == [0.5, 1.0]
    assert np.isnan(index.means(np.array([-180, 19 * 180]), 360)).all()
    index = Binned(0, 180, np.where(np.arange(20) == 5, np.nan, np.arange(20.0)))
    assert index.means(np.array([0]), 20 * 180)[0] == pytest.approx((190 - 5) / 19)
    assert np.isnan(index.means(np.array([0]), 6 * 180)[0])
    assert index.extreme(0, 20 * 180, np.nanmax) == 19


def test_each_index_format_is_recognised_and_read():
    dst = "DST9001*01  X219 000" + "".join(f"{v:4d}" for v in [-45, 9999, *range(22)]) + "  -5\n"
    dst += "DST9001*02  X219  -1" + "".join(f"{v:4d}" for v in range(24)) + "  -5\n"
    found = parse_index("d", dst.encode())["dst"]
    assert len(found) == 48 and found.iloc[0] == -45 and np.isnan(found.iloc[1])
    assert found.iloc[24:26].tolist() == [-100, -99]
    assert found.index[0] * 60 == minute_of("1990-01-01")
    ap = parse_index("a", b" 58  1  1 80 94 56 27 18 22 56 27 48-11257.0262.5241.9\n")["ap"]
    assert ap.tolist() == [80, 94, 56, 27, 18, 22, 56, 27] and ap.index[1] - ap.index[0] == 3
    later = parse_index("a", b" 19  2  1 80 94 56 27 18 22 56 27 48-11257.0262.5241.9\n")["ap"]
    assert later.index[0] * 60 == minute_of("2019-02-01")
    kp = parse_index("k", f"{KP_HEAD},Kp_Sum\n2006-01-01,2.667,-1,0,1,2,3,4,9,13\n".encode())["kp"]
    assert kp.iloc[0] == 2.667 and np.isnan(kp.iloc[1])
    both = parse_index("g", b"# GFZ\n1932 01 01 00.0 01.50 00000.00000 00000.06250  3.333   18 1\n"
                            b"1932 01 01 03.0 04.50 00000.12500 00000.18750 -1.000   -1 0\n")
    assert both["kp"].iloc[0] == 3.333 and both["ap"].iloc[0] == 18 and both["ap"].isna().iloc[1]
    assert parse_index("x", b"YYYY MM q1q2\n1932 01 2219\n") == {} and parse_index("x", b"") == {}


def test_ap_and_kp_follow_from_each_other(tmp_path):
    (tmp_path / "kp.csv").write_text(f"{KP_HEAD}\n2006-01-01,0,0.333,0.667,1,5,8.667,9,4.333\n")
    (tmp_path / "notes.txt").write_text("hello there\n")
    found = read_indices([str(tmp_path)])
    assert found.ap.values.tolist() == [0, 2, 3, 4, 48, 300, 400, 32] and len(found.unread) == 1
    (tmp_path / "kp.csv").write_text("")
    (tmp_path / "ap.dat").write_text(" 06  1  1  0  2  3  4 48300400 32 48-11257.0262.5241.9\n")
    assert read_indices([str(tmp_path)]).kp.values.tolist() == [0, 0.333, 0.667, 1, 5, 8.667, 9, 4.333]
    with pytest.raises(InputError, match="known format"):
        read_indices([str(tmp_path / "notes.txt")])
    assert len(AP_OF_KP) == 28 and (np.diff(AP_OF_KP) > 0).all()


def test_the_real_indices_agree_with_what_is_known_of_the_storm_of_october_2003(real_geomag):
    found = read_indices([str(real_geomag / "indices")])
    columns = found.columns(minute_of("2003-10-28"), 7 * 1440)
    assert columns["kp_max"] == 9.0 and columns["dst_min"] == -383.0 and columns["ap_mean"] > 60
    assert all(np.isnan(v) for v in found.columns(minute_of("1950-01-01"), 7 * 1440).values())
    assert found.kp is not None and len(found.kp.values) == len(found.ap.values)
    # Where both were published (2006 to 2019), ap and Kp are the same index.
    first = (minute_of("2006-01-01") - found.ap.start_minute) // 180
    stop = (minute_of("2019-02-15") - found.ap.start_minute) // 180
    derived = AP_OF_KP[np.round(found.kp.values[first:stop] * 3).astype(int)]
    assert (derived == found.ap.values[first:stop]).mean() > 0.99
