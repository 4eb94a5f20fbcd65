"""Virtual seismograms: the truth they are held against, what they are made of, and the files they become."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from groundswell.core.errors import InputError
from groundswell.pipelines.symae.redatuming import redatum_events, redatumed, true_virtual
from groundswell.pipelines.symae.signals import standard
from groundswell.pipelines.symae.store import BagStore
from groundswell.pipelines.symae.trained import open_trained
from groundswell.pipelines.symae.virtual import again, virtual_traces


def test_the_true_virtual_traces_of_a_bags_own_source_are_its_noise_free_traces(small_bags: BagStore) -> None:
    made, clean = true_virtual(small_bags, 2, 2), small_bags.truth("clean", 2).astype(np.float64)
    for one, other in zip(made, clean, strict=True):
        assert np.corrcoef(one, other)[0, 1] > 1 - 1e-6


@pytest.mark.parametrize("kind", ["source_run", "reference_run"])
def test_the_source_of_a_bag_on_its_own_paths_is_its_reconstruction(kind: str, small_bags: BagStore,
                                                                    request: pytest.FixtureRequest) -> None:
    task = open_trained(request.getfixturevalue(kind)).task_of("any")
    bag = small_bags.read(0)
    np.testing.assert_allclose(virtual_traces(task, bag, bag), again(task, bag), atol=2e-4)


def test_shifts_and_polarities_are_those_of_the_paths(source_run: Path, small_bags: BagStore) -> None:
    task = open_trained(source_run).task_of("any")
    a, b = small_bags.read(0), small_bags.read(4)
    made = virtual_traces(task, a, b)
    assert made.shape == b.shape
    turned = virtual_traces(task, a, np.concatenate([-b[:1], b[1:]]))
    assert np.corrcoef(turned[0], made[0])[0, 1] < -0.95
    assert np.corrcoef(turned[1], made[1])[0, 1] > 0.95


def test_every_way_is_judged_by_the_same_truth(source_run: Path, small_bags: BagStore) -> None:
    task = open_trained(source_run).task_of("any")
    found = redatumed(small_bags, 0, 4, task, max_shift_s=10.0, reach_s=12.0)
    assert set(found.error) == {"network", "spectral_ratio", "spectral_ratio_best", "unchanged"}
    assert all(error.shape == (len(found.recorded),) and (error >= 0).all() for error in found.error.values())
    assert np.median(found.error["spectral_ratio_best"]) <= np.median(found.error["spectral_ratio"])
    assert np.median(found.error["network"]) < np.median(found.error["unchanged"])
    assert found.true is not None and found.true.shape == found.recorded.shape


def test_files_hold_what_was_made(source_run: Path, small_bags: BagStore, tmp_path: Path) -> None:
    events = list(dict.fromkeys(small_bags.bags["event"]))
    lines = redatum_events(source_run, events[0], events[1], out=tmp_path / "r", scale=1)
    assert any("network" in line and "spectral ratio" in line and "(simulated" in line for line in lines)
    made = np.load(tmp_path / "r" / "virtual.npy", allow_pickle=False)
    table = pd.read_csv(tmp_path / "r" / "virtual.csv")
    assert made.dtype == np.float32 and table.shape == (128, 1 + len(made)) and table["time_s"].iloc[0] == -25.6
    np.testing.assert_allclose(table.iloc[:, 1:].to_numpy().T, made, atol=1e-4)
    told = json.loads((tmp_path / "r" / "redatum.json").read_text())
    assert told["source"].startswith(events[0]) and told["simulated"] and len(told["shift_s"]) == len(made)
    assert (tmp_path / "r" / "virtual.png").exists() and (tmp_path / "r" / "spectral_ratio.npy").exists()


def test_virtual_traces_become_sac_files(source_run: Path, small_bags: BagStore, tmp_path: Path) -> None:
    obspy = pytest.importorskip("obspy")
    events = list(dict.fromkeys(small_bags.bags["event"]))
    redatum_events(source_run, events[0], events[1], out=tmp_path / "r", sac=True, scale=1)
    made = np.load(tmp_path / "r" / "virtual.npy")
    files = sorted((tmp_path / "r" / "sac").rglob("*.sac"))
    assert len(files) == len(made)
    np.testing.assert_array_equal(obspy.read(str(files[0]))[0].data, made[0])


def test_a_water_level_is_a_share(source_run: Path, small_bags: BagStore, tmp_path: Path) -> None:
    event = str(small_bags.bags["event"].iloc[0])
    with pytest.raises(InputError, match="share of the largest power"):
        redatum_events(source_run, event, event, out=tmp_path / "r", water_level=0.0)
    assert not (tmp_path / "r").exists()


def test_standard_waves_have_mean_0_and_deviation_1() -> None:
    wave = standard(np.random.default_rng(0).normal(3, 5, (2, 50)))
    np.testing.assert_allclose(wave.mean(-1), 0, atol=1e-12)
    np.testing.assert_allclose(wave.std(-1), 1)
    assert not standard(np.ones(5)).any()
