"""Folders of miniSEED and SAC: rays by TauP, events from a catalogue, places from StationXML or a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from raw_files import wave

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.pipelines.symae.catalogue import read_quakes
from groundswell.pipelines.symae.pixels import focal_pixel, pixel_centre
from groundswell.pipelines.symae.prepare import open_archive, prepare
from groundswell.pipelines.symae.prepare_recipe import PrepareRecipe
from groundswell.pipelines.symae.stations import read_stations
from groundswell.pipelines.symae.store import BagStore
from groundswell.pipelines.symae.travel import Rays

obspy = pytest.importorskip("obspy")

ORIGIN, PLACE = "2013-05-24T05:44:48.98Z", (54.89, 153.22, 598.1)
STATIONS = {f"XX.S{i}": (40.0 + 0.4 * i, -100.0 + 0.3 * i) for i in range(5)}
QUAKES = f"id,time,latitude,longitude,depth_km,magnitude\nokt,{ORIGIN},54.89,153.22,598.1,8.3\n"
PLACES = "network|station|latitude|longitude\n" + "".join(
    f"XX|{name[3:]}|{a}|{b}\n" for name, (a, b) in STATIONS.items())


@pytest.fixture(scope="module")
def rays() -> Rays:
    return Rays("iasp91", "iasp91")


def write(folder: Path, rays: Rays, *, channel: str = "BHZ", gap_s: float | None = None, suffix: str = "mseed",
          headers: dict[str, float] | None = None) -> Path:
    """One file for each station, from 60 s before its P to 60 s after, with P not on a sample."""
    folder.mkdir(exist_ok=True)
    for i, (name, place) in enumerate(STATIONS.items()):
        ray = rays.ray(PLACE, place)
        assert ray is not None
        arrival = obspy.UTCDateTime(ORIGIN) + ray.time_s
        trace = obspy.Trace(wave(rate=20.0, length=2400, p=1200.3, seed=i))
        trace.stats.update({"network": "XX", "station": name[3:], "channel": channel, "sampling_rate": 20.0,
                            "starttime": arrival - 1200.3 / 20})
        stream = obspy.Stream([trace])
        if gap_s is not None:
            stream = obspy.Stream([trace.slice(endtime=arrival + gap_s), trace.slice(starttime=arrival + gap_s + 1)])
        if headers is not None:
            trace.stats.sac = {"stla": place[0], "stlo": place[1], "b": -100.0,
                               "o": obspy.UTCDateTime(ORIGIN) - trace.stats.starttime - 100.0, **headers}
        stream.write(str(folder / f"{name}.{channel}.{suffix}"), format={"mseed": "MSEED", "sac": "SAC"}[suffix])
    return folder


def prepared_from(folder: Path, out: Path, quakes: str | None = QUAKES, places: str | None = PLACES,
                  **keys: object) -> BagStore:
    given = {}
    for name, text in (("catalogue", quakes), ("stations", places)):
        if text is not None:
            given[name] = out.parent / f"{name}.txt"
            given[name].write_text(text)
    recipe = build_recipe(PrepareRecipe, {"angle_model": "iasp91", "least_traces": 2, **keys})
    return prepare(open_archive(folder, recipe, **given), recipe, out)


def test_miniseed_with_a_catalogue_and_stations_becomes_bags(tmp_path: Path, rays: Rays) -> None:
    store = prepared_from(write(tmp_path / "in", rays), tmp_path / "s")
    assert set(store.bags["event"]) == {"20130524_054448"} and store.bags["magnitude"][0] == 8.3
    assert len(store.traces) == 5 and set(store.traces["station"]) == {f"{name}.__.BHZ" for name in STATIONS}
    for row in store.traces.itertuples():
        ray = rays.ray(PLACE, STATIONS[row.station[:5]])
        assert (row.azimuth, row.takeoff, row.distance) == (ray.azimuth, ray.takeoff, ray.distance)
        assert row.pixel == focal_pixel(ray.takeoff, ray.azimuth, 4)
    # The pulses lie where they were put: 2 s after P, although P lies between two samples.
    times = store.facts.t0 + store.facts.dt * np.arange(store.facts.nt)
    peak = np.concatenate([store.read(k) for k in range(len(store))]).mean(axis=0)
    centre = np.average(times, weights=np.where(np.abs(times - 2) < 2, np.maximum(peak, 0), 0))
    assert abs(centre - 1.95) < 0.2


def test_sac_headers_tell_all_that_is_needed(tmp_path: Path, rays: Rays) -> None:
    headers = {"evla": PLACE[0], "evlo": PLACE[1], "evdp": PLACE[2], "mag": 8.3, "t1": 1.5}
    folder = write(tmp_path / "in", rays, suffix="sac", headers=headers)
    store = prepared_from(folder, tmp_path / "s", None, None, pick_header="t1", pick_kind="hand")
    assert set(store.bags["event"]) == {"20130524_054448"} and len(store.traces) == 5
    assert store.bags["depth_km"][0] == pytest.approx(598.1) and store.facts.preparation["depths_in_metres"] == 0
    assert store.traces["pick"].notna().all() and set(store.traces["pick_kind"]) == {"hand"}
    in_metres = write(tmp_path / "m", rays, suffix="sac", headers=headers | {"evdp": 598_100.0})
    again = prepared_from(in_metres, tmp_path / "t", None, None)
    assert again.bags["depth_km"][0] == pytest.approx(598.1) and again.facts.preparation["depths_in_metres"] == 5


def test_quakeml_and_station_xml_are_read_too(tmp_path: Path, rays: Rays) -> None:
    from obspy.core.event import Catalog, Event, Magnitude, Origin
    from obspy.core.inventory import Inventory, Network, Station

    origin = Origin(time=obspy.UTCDateTime(ORIGIN), latitude=PLACE[0], longitude=PLACE[1], depth=PLACE[2] * 1000)
    Catalog([Event(origins=[origin], magnitudes=[Magnitude(mag=8.3)])]).write(str(tmp_path / "q.xml"), "QUAKEML")
    stations = [Station(name[3:], *place, 0.0) for name, place in STATIONS.items()]
    Inventory([Network("XX", stations)]).write(str(tmp_path / "s.xml"), "STATIONXML")
    folder = write(tmp_path / "in", rays)
    by_xml = prepared_from(folder, tmp_path / "a", (tmp_path / "q.xml").read_text(), (tmp_path / "s.xml").read_text())
    by_text = prepared_from(folder, tmp_path / "b")
    assert by_xml.fingerprint() == by_text.fingerprint()


def test_only_verticals_are_taken(tmp_path: Path, rays: Rays) -> None:
    folder = write(write(tmp_path / "in", rays), rays, channel="BHN")
    store = prepared_from(folder, tmp_path / "s")
    assert len(store.traces) == 5 and store.facts.preparation["dropped"] == {"not vertical": 5}


@pytest.mark.parametrize(("quakes", "places", "message"), [
    (None, PLACES, r"names no event .*no catalogue.*CSV or QuakeML"),
    (QUAKES, None, r"not known where the station XX\.S0 stands.*StationXML"),
    (QUAKES, PLACES.replace("XX|S3", "YY|S3"), r"not known where the station XX\.S3 stands"),
    (QUAKES.replace("2013", "2014"), PLACES, "P of no event in the catalogue"),
    (QUAKES + QUAKES.splitlines()[1].replace("48.98", "58.98") + "\n", PLACES, "P waves of several events"),
    (QUAKES.replace(",598.1,", ",,"), PLACES, r"no time, place or depth.*event 1"),
    (QUAKES.replace("depth_km", "colour"), PLACES, "no column for depth_km"),
    (QUAKES.splitlines()[0] + "\n", PLACES, "no event in the catalogue"),
    (QUAKES, PLACES.replace("latitude", "height"), "no column for latitude"),
    (QUAKES, PLACES.replace("40.0|", "north|"), r"XX\.S0 has no place"),
    (QUAKES, "<FDSNStationXML><broken", "StationXML cannot be read"),
    (QUAKES, '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "StationXML cannot be read"),
    ("<quakeml", PLACES, "cannot be read as XML"),
])
def test_what_is_missing_is_said_in_one_paragraph(quakes: str | None, places: str | None, message: str, tmp_path: Path,
                                                  rays: Rays) -> None:
    folder = write(tmp_path / "in", rays)
    with pytest.raises(InputError, match=message) as raised:
        prepared_from(folder, tmp_path / "s", quakes, places)
    assert "\n" not in str(raised.value) and raised.value.exit_status == 2 and not (tmp_path / "s").exists()


def test_a_gap_in_the_window_counts_as_missing_and_one_outside_does_not(tmp_path: Path, rays: Rays) -> None:
    with pytest.raises(InputError, match="not finite"):
        prepared_from(write(tmp_path / "in", rays, gap_s=5.0), tmp_path / "s")
    assert len(prepared_from(write(tmp_path / "out", rays, gap_s=57.5), tmp_path / "t", nt=160).traces) == 5


def test_other_files_are_refused_or_counted(tmp_path: Path, rays: Rays) -> None:
    folder = write(tmp_path / "in", rays)
    (folder / "notes.txt").write_text("remember the milk")
    (folder / ".hidden").write_text("never read")
    with pytest.raises(InputError, match=r"cannot be read as a seismogram.*notes\.txt"):
        prepared_from(folder, tmp_path / "s")
    store = prepared_from(folder, tmp_path / "s", drop_bad=True)
    assert store.facts.preparation["dropped"] == {"no seismogram": 1}
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no files in this folder"):
        prepared_from(tmp_path / "empty", tmp_path / "t")


def test_a_station_twice_in_one_event_is_refused(tmp_path: Path, rays: Rays) -> None:
    folder = write(tmp_path / "in", rays)
    (folder / "again.mseed").write_bytes((folder / "XX.S2.BHZ.mseed").read_bytes())
    with pytest.raises(InputError, match=r"twice .*XX\.S2"):
        prepared_from(folder, tmp_path / "s")
    assert len(prepared_from(folder, tmp_path / "s", drop_bad=True).traces) == 5


def test_stations_in_the_shadow_of_the_core_are_passed_over(tmp_path: Path, rays: Rays) -> None:
    assert rays.ray((0.0, 0.0, 10.0), (0.0, 120.0)) is None
    folder = write(tmp_path / "in", rays)
    far = PLACES.replace("40.0|-100.0", "-70.0|20.0")
    store = prepared_from(folder, tmp_path / "s", places=far)
    assert store.facts.preparation["dropped"] == {"no direct P at this distance": 1}


@pytest.mark.parametrize("depth_km", [0.0, 33.0, 410.0, 644.6])
def test_times_between_nodes_are_those_of_taup(depth_km: float, rays: Rays) -> None:
    model = obspy.taup.TauPyModel("iasp91")
    for degrees in (31.3, 45.17, 62.9, 79.33, 94.2):
        ray = rays.ray((0.0, 0.0, depth_km), (0.0, degrees))
        arrival = model.get_travel_times(depth_km, degrees, ["p", "P"])[0]
        assert ray is not None and abs(ray.time_s - arrival.time) < 1e-3
        assert abs(ray.takeoff - arrival.takeoff_angle) < 0.02 and ray.azimuth == pytest.approx(90.0)


def test_iasp91_takes_as_long_as_its_authors_say(rays: Rays) -> None:
    """To a few seconds, the tables of Kennett & Engdahl (1991) for a source at the surface."""
    for degrees, seconds in ((30.0, 369.0), (60.0, 608.0), (90.0, 781.0)):
        ray = rays.ray((0.0, 0.0, 0.0), (0.0, degrees))
        assert ray is not None and abs(ray.time_s - seconds) < 3


def test_pixels_count_from_one_in_rings_about_the_downward_vertical() -> None:
    assert focal_pixel(0.1, 10.0, 4) == 1 and focal_pixel(179.9, 350.0, 4) == 192
    numbers = np.arange(1, 193)
    takeoff, azimuth = pixel_centre(numbers, 4)
    np.testing.assert_array_equal(focal_pixel(takeoff, azimuth, 4), numbers)
    assert (np.diff(takeoff) >= 0).all()
    with pytest.raises(InputError, match="no pixel 193"):
        pixel_centre(193, 4)
    with pytest.raises(InputError, match="no angle"):
        focal_pixel(np.nan, 10.0, 4)


def test_an_event_is_found_by_the_time_in_its_name(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text(QUAKES)
    quakes = read_quakes(path)
    assert len(quakes) == 1 and quakes.near("2013-05-24T05:44:10Z").name == "20130524_054448"
    assert quakes.near("2013-05-24T05:46:00Z") is None
    (tmp_path / "s.csv").write_text(PLACES)
    assert read_stations(tmp_path / "s.csv")["XX.S2"] == STATIONS["XX.S2"]
    with pytest.raises(InputError, match="cannot be read"):
        read_quakes(tmp_path / "none.csv")
