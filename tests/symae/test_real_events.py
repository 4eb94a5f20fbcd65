"""The real P waves: their counts, their picks, and the same bags from the HDF5 file and from the SAC files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from groundswell.core.errors import InputError
from groundswell.pipelines.symae.prepare import open_archive, prepare
from groundswell.pipelines.symae.prepare_recipe import PrepareRecipe
from groundswell.pipelines.symae.store import BagStore

FIJI, IZU, SANTA_CRUZ = "20110915_193104_fij", "20120101_052755_izu", "20120109_040714_scz"


@pytest.fixture(scope="module")
def archive(real_symae: Path, tmp_path_factory: pytest.TempPathFactory) -> BagStore:
    recipe = PrepareRecipe(least_traces=2)
    return prepare(open_archive(real_symae / "real_events_P_10Hz.h5", recipe), recipe,
                   tmp_path_factory.mktemp("real") / "store")


@pytest.fixture(scope="module")
def folder(real_symae: Path, tmp_path_factory: pytest.TempPathFactory) -> BagStore:
    pytest.importorskip("obspy")
    recipe = PrepareRecipe(least_traces=2, p_header="t0", pick_header="t3", pick_kind="MCCC", drop_bad=True)
    return prepare(open_archive(real_symae / "sac", recipe), recipe, tmp_path_factory.mktemp("sac") / "store")


def test_every_trace_of_the_file_is_kept(archive: BagStore) -> None:
    assert len(archive.traces) == 302 and archive.facts.preparation["dropped"] == {}
    counts = {(e, p): n for e, p, n in zip(*(archive.bags[c] for c in ("event", "pixel", "count")), strict=True)}
    assert counts == {(FIJI, 14): 125, (FIJI, 5): 32, (FIJI, 6): 6, (IZU, 6): 15, (SANTA_CRUZ, 1): 51,
                      (SANTA_CRUZ, 5): 5, (SANTA_CRUZ, 6): 68}
    assert archive.facts.preparation["pixels"] == {"with_angles": 302, "agree": 302}


def test_the_original_minimum_leaves_four_bags(real_symae: Path, tmp_path: Path) -> None:
    recipe = PrepareRecipe(least_traces=21)
    store = prepare(open_archive(real_symae / "real_events_P_10Hz.h5", recipe), recipe, tmp_path / "s")
    assert list(zip(store.bags["event"], store.bags["pixel"], store.bags["count"], strict=True)) == [
        (FIJI, 5, 32), (FIJI, 14, 125), (SANTA_CRUZ, 1, 51), (SANTA_CRUZ, 6, 68)]


def test_fijis_picks_lie_near_the_theoretical_p(archive: BagStore) -> None:
    picked = archive.traces["pick"].notna()
    assert (picked == (archive.traces["event"] == FIJI)).all() and picked.sum() == 163
    assert set(archive.traces["pick_kind"][picked]) == {"MCCC"}
    assert 0.9 < archive.traces["pick"].median() < 1.1


def test_mean_and_deviation_hold_in_the_end(archive: BagStore) -> None:
    x = np.concatenate([archive.read(bag) for bag in range(len(archive))])
    assert x.shape == (302, 192)
    np.testing.assert_allclose(x.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(axis=1), 1, atol=1e-5)


def test_picks_bring_the_traces_together(archive: BagStore) -> None:
    """Shifting by the analysts' picks raises the correlation with the stack: the time axis is the true one."""
    bag = archive.bag_of(FIJI, 14)
    x = archive.read(bag)
    picks = archive.traces["pick"].to_numpy()[archive.traces["bag"] == bag]
    turns = np.exp(2j * np.pi * np.fft.rfftfreq(192) * (picks - picks.mean())[:, None] / archive.facts.dt)
    aligned = np.fft.irfft(np.fft.rfft(x) * turns, 192)

    def together(traces: np.ndarray) -> float:
        stack = traces.mean(axis=0)
        return float(np.median(traces @ stack / np.linalg.norm(traces, axis=1) / np.linalg.norm(stack)))

    assert together(aligned) > together(x) + 0.02 and together(aligned) > 0.9


def test_the_sac_files_give_the_same_bags_as_the_hdf5_file(archive: BagStore, folder: BagStore) -> None:
    ours = folder.traces.set_index("station")
    theirs = archive.traces[archive.traces["event"] == FIJI].set_index("station")
    assert len(ours) == 163 and set(ours.index) == set(theirs.index)
    theirs = theirs.loc[ours.index]
    # One ray passes within 0.2 degrees of an edge; the file's distances are by geographic latitudes, ours geocentric.
    assert (ours["pixel"] == theirs["pixel"]).sum() >= 162
    assert (ours["azimuth"] - theirs["azimuth"]).abs().max() < 0.001
    assert (ours["distance"] - theirs["distance"]).abs().max() < 0.25
    np.testing.assert_allclose(ours["pick"], theirs["pick"], atol=1e-4)
    rows = dict(zip(archive.traces[archive.traces["event"] == FIJI]["station"], range(302), strict=False))
    mine = np.concatenate([folder.read(bag) for bag in range(len(folder))])
    there = np.concatenate([archive.read(bag) for bag in range(len(archive))])
    alike = [float(x @ there[rows[s]] / 192) for x, s in zip(mine, ours.index, strict=True)]
    assert min(alike) > 0.995 and np.median(alike) > 0.9999
    assert folder.facts.preparation["dropped"] == {"not vertical": 1, "no theoretical P in the header": 1}
    assert folder.bags["depth_km"].tolist() == pytest.approx([644.6] * 3)


def test_the_models_p_lies_near_that_of_the_headers(real_symae: Path, tmp_path: Path, folder: BagStore) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted((real_symae / "sac").rglob("TA.*Z"))[:8]:
        shutil.copy(path, few)
    recipe = PrepareRecipe(least_traces=2, pick_header="t3")
    store = prepare(open_archive(few, recipe), recipe, tmp_path / "s")
    by_header = folder.traces.set_index("station")["pick"].loc[store.traces["station"]]
    assert np.abs(store.traces["pick"].to_numpy() - by_header.to_numpy()).max() < 0.8


def test_a_file_without_headers_of_the_event_is_refused_by_name(real_symae: Path, tmp_path: Path) -> None:
    obspy = pytest.importorskip("obspy")
    trace = obspy.read(str(next((real_symae / "sac").rglob("TA.*Z"))))[0]
    (tmp_path / "mine").mkdir()
    del trace.stats.sac
    trace.write(str(tmp_path / "mine" / "a.mseed"), format="MSEED")
    recipe = PrepareRecipe()
    with pytest.raises(InputError, match=r"not known where the station TA\.\w+ stands.*StationXML"):
        prepare(open_archive(tmp_path / "mine", recipe), recipe, tmp_path / "s")
