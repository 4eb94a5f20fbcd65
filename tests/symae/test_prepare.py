"""Archives made into bags: what is kept, what is left out and why, and what is refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from raw_files import EVENT, Listed, bag, wave, write

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.pipelines.symae.prepare import open_archive, prepare, stations_held_out
from groundswell.pipelines.symae.prepare_recipe import PRESETS, PrepareRecipe
from groundswell.pipelines.symae.store import BagStore

OTHER = "20120109_040714_scz"


def prepared_from(path: Path, out: Path, catalogue: Path | None = None, **keys: object) -> BagStore:
    recipe = build_recipe(PrepareRecipe, keys)
    return prepare(open_archive(path, recipe, catalogue=catalogue), recipe, out)


def test_bags_are_normalised_sorted_and_on_the_true_time_axis(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {OTHER: {6: bag(5)}, EVENT: {14: bag(6, 1), 5: bag(4, 2)}})
    store = prepared_from(path, tmp_path / "s")
    assert [f"{e}/{p}" for e, p in zip(store.bags["event"], store.bags["pixel"], strict=True)] == [
        f"{EVENT}/5", f"{EVENT}/14", f"{OTHER}/6"]
    x = np.concatenate([store.read(k) for k in range(3)])
    np.testing.assert_allclose(x.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(axis=1), 1, atol=1e-5)
    times = store.facts.t0 + store.facts.dt * np.arange(store.facts.nt)
    assert times[0] == -38.4 and abs(times[np.abs(store.read(1).mean(axis=0)).argmax()] - 2) < 1.5
    bags = store.bags
    assert bags["latitude"].tolist() == [-21.6] * 3 and str(bags["time"][0]) == "2011-09-15 19:31:04+00:00"
    assert 0 < bags["pixel_colatitude"].max() < 90 and not store.simulated
    assert store.facts.preparation["kept"]["traces"] == 15 and store.facts.preparation["name"] == "a.h5"


def test_polarities_are_set_and_kept_with_the_traces(tmp_path: Path) -> None:
    members = bag(12, 3, flips=0.4)
    path = write(tmp_path / "a.h5", {EVENT: {14: members}})
    turned, plain = (prepared_from(path, tmp_path / name, polarity=p) for name, p in (("s", True), ("t", False)))
    flip = turned.traces["flip"].to_numpy()
    assert 0 < (flip < 0).sum() < 6 and (plain.traces["flip"] == 1).all()
    np.testing.assert_array_equal(turned.read(0), plain.read(0) * flip[:, None])
    assert turned.facts.preparation["kept"]["turned_over"] == (flip < 0).sum()
    peak = turned.read(0)[:, 80:110]
    assert (peak.max(axis=1) > -peak.min(axis=1)).all() or (peak.max(axis=1) < -peak.min(axis=1)).all()


def test_the_order_of_an_archive_does_not_matter(tmp_path: Path) -> None:
    members = bag(9, 4, flips=0.4)
    recipe = PrepareRecipe(stations_out=0.25)
    backward = dict(reversed(members.items()))
    one, two = (prepare(Listed(m), recipe, tmp_path / name) for name, m in (("a", members), ("b", backward)))
    assert one.fingerprint() == two.fingerprint() and one.traces["held_out"].sum() == 2


def test_stations_are_held_out_by_their_names() -> None:
    names = [f"XX.{i}" for i in range(40)]
    out = stations_held_out(names, 0.1, 1234)
    order = np.random.default_rng(0).permutation(40)
    np.testing.assert_array_equal(stations_held_out([names[i] for i in order], 0.1, 1234), out[order])
    assert out.sum() == 4 and (stations_held_out(names, 0.1, 1) != out).any()
    fewer = stations_held_out(names[:20], 0.5, 1234) | ~stations_held_out(names, 0.25, 1234)[:20]
    assert fewer.all()  # held out of many, held out of few


def test_small_pixels_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.h5", {EVENT: {14: bag(6), 5: bag(3), 6: bag(1)}})
    store = prepared_from(path, tmp_path / "s")
    assert store.bags["pixel"].tolist() == [14]
    assert store.facts.preparation["dropped"] == {"too few traces of this event and pixel": 4}
    assert "left out 4: too few traces" in capsys.readouterr().err


def test_only_the_events_asked_for_are_taken_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {OTHER: {6: bag(5)}, EVENT: {14: bag(6)}})
    store = prepared_from(path, tmp_path / "s", events=[OTHER])
    assert set(store.bags["event"]) == {OTHER} and store.facts.preparation["dropped"] == {
        "of events not asked for": 6}
    with pytest.raises(InputError, match=rf"no event 'quake'.*{EVENT}, {OTHER}"):
        prepared_from(path, tmp_path / "t", events=["quake"])


@pytest.mark.parametrize(("bad", "reason"), [
    (np.zeros(900), "zero or constant"), (np.where(np.arange(900) == 410, np.nan, wave()), "not finite"),
    (wave()[:600], "shorter than the window"), (np.ones((3, 3)), "no row of samples"),
    (np.array([b"text"] * 5), "no row of samples")])
def test_a_bad_trace_is_refused_by_name_or_left_out_and_counted(bad: np.ndarray, reason: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {EVENT: {14: bag(6) | {"YY.BAD": bad}}})
    with pytest.raises(InputError, match=f"{EVENT}/14/YY.BAD") as raised:
        prepared_from(path, tmp_path / "s")
    assert raised.value.exit_status == 2 and "drop_bad" in str(raised.value) and "\n" not in str(raised.value)
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
    store = prepared_from(path, tmp_path / "s", drop_bad=True)
    assert store.facts.preparation["dropped"] == {reason: 1} and len(store.traces) == 6


def test_a_bag_of_one_trace_is_no_bag(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {EVENT: {14: bag(1)}})
    with pytest.raises(InputError, match=rf"the largest is {EVENT}/14 with 1.*One trace cannot tell"):
        prepared_from(path, tmp_path / "s", least_traces=2)
    with pytest.raises(InputError, match="least_traces"):
        build_recipe(PrepareRecipe, {"least_traces": 1})


@pytest.mark.parametrize("pixel", ["0", "193", "north", "-4", "²"])
def test_pixels_that_there_are_none_of_are_refused(pixel: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {EVENT: {pixel: bag(5)}})
    with pytest.raises(InputError, match=f"{EVENT}' has a pixel '{pixel}'.*1 to 192"):
        prepared_from(path, tmp_path / "s")


def test_an_event_without_pixels_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {EVENT: {14: bag(5)}})
    with h5py.File(path, "r+") as file:
        file.create_dataset(f"{OTHER}/XX.S", data=wave())
    with pytest.raises(InputError, match=rf"{OTHER}' has no pixels.*event/pixel/station"):
        prepared_from(path, tmp_path / "s")


def test_neither_rate_nor_p_is_assumed(tmp_path: Path) -> None:
    silent = write(tmp_path / "a.h5", {EVENT: {14: bag(5)}}, layout=False)
    with pytest.raises(InputError, match=r"does not tell the samples a second.*rate_hz"):
        prepared_from(silent, tmp_path / "s")
    with pytest.raises(InputError, match=r"does not tell the sample of the theoretical P.*p_sample"):
        prepared_from(silent, tmp_path / "s", rate_hz=10.0)
    by_keys = prepared_from(silent, tmp_path / "s", rate_hz=10.0, p_sample=400.0)
    telling = write(tmp_path / "b.h5", {EVENT: {14: bag(5)}})
    by_file = prepared_from(telling, tmp_path / "t")
    np.testing.assert_array_equal(by_keys.read(0), by_file.read(0))
    with pytest.raises(InputError, match=r"archive says samples a second: 10, the recipe 1"):
        prepared_from(telling, tmp_path / "u", rate_hz=1.0)


def test_attributes_of_a_dataset_tell_rate_and_p_too(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {EVENT: {14: bag(5)}}, layout=False)
    with h5py.File(path, "r+") as file:
        file[EVENT].attrs["delta"] = 0.1
        for dataset in file[f"{EVENT}/14"].values():
            dataset.attrs["p_sample"] = 400
            dataset.attrs.update({"pick": 1.25, "pick_kind": "hand", "stla": 10.0, "snr": 3.0})
    store = prepared_from(path, tmp_path / "s")
    assert store.traces["pick"].tolist() == [1.25] * 5 and set(store.traces["pick_kind"]) == {"hand"}
    assert store.traces["latitude"].tolist() == [10.0] * 5 and store.traces["snr"].tolist() == [3.0] * 5


def test_the_seeds_preparation_reads_an_archive_that_says_nothing(tmp_path: Path) -> None:
    members = {name: wave(rate=1.0, length=400, p=200.0, seed=i) for i, name in enumerate(bag(22))}
    path = write(tmp_path / "a.h5", {EVENT: {14: members, 5: dict(list(members.items())[:20])}}, layout=False)
    store = prepared_from(path, tmp_path / "s", rate_hz=1.0, p_sample=200.0, **PRESETS["seed"])
    assert store.facts.t0 == -92.0 and store.facts.dt == 1.0 and store.read(0).shape == (22, 192)
    assert store.traces["held_out"].sum() == 2  # and pixel 5 has no more than 20
    assert store.facts.preparation["dropped"] == {"too few traces of this event and pixel": 20}


def test_a_catalogue_tells_what_the_archive_does_not(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {EVENT: {14: bag(5)}})
    with h5py.File(path, "r+") as file:
        for name in list(file[EVENT].attrs):
            del file[EVENT].attrs[name]
    (tmp_path / "c.csv").write_text("time,latitude,longitude,depth,mag\n2011-09-15T19:31:20Z,-21,-179,630,7.2\n"
                                    "2011-09-16T19:31:20Z,0,0,10,5\n")
    store = prepared_from(path, tmp_path / "s", catalogue=tmp_path / "c.csv")
    row = store.bags.iloc[0]
    assert (row["latitude"], row["depth_km"], row["magnitude"]) == (-21, 630, 7.2)
    assert np.isnan(prepared_from(path, tmp_path / "t").bags["latitude"][0])


@pytest.mark.parametrize("damage", ["absent", "text", "cut", "empty"])
def test_a_damaged_archive_is_refused(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    if damage == "text":
        path.write_text("event,pixel,station")
    elif damage == "cut":
        write(path, {EVENT: {14: bag(5)}})
        path.write_bytes(path.read_bytes()[:20_000])
    elif damage == "empty":
        write(path, {})
    with pytest.raises(InputError) as raised:
        prepared_from(path, tmp_path / "s")
    assert raised.value.exit_status == 2 and "\n" not in str(raised.value) and not (tmp_path / "s").exists()


def test_samples_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layout"] = "10 Hz; sample 400 = theoretical P"
        for i in range(5):
            file.create_dataset(f"{EVENT}/14/XX.S{i}", data=wave(seed=i), compression="gzip", fletcher32=True)
        place = file[f"{EVENT}/14/XX.S3"].id.get_chunk_info(0).byte_offset
    with open(path, "r+b") as raw:
        raw.seek(place + 200)
        raw.write(b"\0" * 64)
    with pytest.raises(InputError, match=rf"cannot be read.*{EVENT}/14/XX.S3"):
        prepared_from(path, tmp_path / "s")
    assert len(prepared_from(path, tmp_path / "s", drop_bad=True).traces) == 4


def test_links_are_not_followed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {EVENT: {14: bag(5)}})
    other = write(tmp_path / "b.h5", {OTHER: {6: bag(5)}})
    with h5py.File(path, "r+") as file:
        file[OTHER] = h5py.ExternalLink(str(other), OTHER)
        file[f"{EVENT}/14/YY.LINK"] = h5py.ExternalLink(str(other), f"{OTHER}/6/XX.S000")
    with pytest.raises(InputError, match=r"YY\.LINK"):
        prepared_from(path, tmp_path / "s")
    store = prepared_from(path, tmp_path / "s", drop_bad=True)
    assert set(store.bags["event"]) == {EVENT} and len(store.traces) == 5


def test_nothing_is_read_where_nothing_may_be_written(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {EVENT: {14: bag(5)}})
    store = prepared_from(path, tmp_path / "s")
    with pytest.raises(InputError, match="something here already"):
        prepared_from(path, store.path)
    recipe = PrepareRecipe(least_traces=5)
    again = prepare(open_archive(path, recipe), recipe, store.path, replace=True)
    assert again.facts.preparation["recipe"]["least_traces"] == 5
