"""The sample table: what belongs together is one group."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from toy_windows import toy_layout

from groundswell.core.errors import InputError
from groundswell.pipelines.geomag.layout import read_layout
from groundswell.pipelines.geomag.windows import check_groups, sample_table


def test_the_columns_that_the_other_rooms_rely_on(tmp_path) -> None:
    table = sample_table(read_layout(toy_layout(tmp_path, events=4), 7), "any")
    frame = table.frame
    assert len(table) == 8 and table.classes == ("control", "before_event")
    assert frame["group"].tolist() == frame["event"].tolist()
    assert (frame["time_end"] - frame["time"] == pd.Timedelta(days=7)).all()
    assert (frame["stop"] - frame["start"] == 10080).all()
    assert frame["start"].iloc[0] == pd.Timestamp("2003-01-01", tz="UTC").value // 60_000_000_000
    assert frame["record"].tolist() == frame["station"].tolist()
    assert table.origin["simulated"] and "marks" not in table.origin
    assert frame["kp_max"].between(3, 4).all()


@pytest.mark.parametrize(("join", "groups"), [("any", 1), ("station", 1), ("none", 6)])
def test_overlapping_windows_are_one_group_if_asked(tmp_path, join, groups) -> None:
    layout = read_layout(toy_layout(tmp_path, events=6, spacing_days=5), 7)
    table = sample_table(layout, join)
    assert table.column("group").nunique() == groups
    if groups == 1:
        assert table.column("group").iloc[0] == "e000 and 5 more"
        with pytest.raises(InputError, match="overlap in time and make only 1 group"):
            check_groups(table, 5)


def test_windows_that_only_touch_do_not_overlap(tmp_path) -> None:
    table = sample_table(read_layout(toy_layout(tmp_path, events=6, spacing_days=7), 7), "any")
    assert table.column("group").nunique() == 6


def test_overlap_at_one_station_alone(tmp_path) -> None:
    root = toy_layout(tmp_path, events=4, stations=1, spacing_days=5)
    path = root / "window-7" / "samples.csv"
    frame = pd.read_csv(path)
    frame["station"] = [f"S{k}" for k in range(4)]
    frame.to_csv(path, index=False)
    layout = read_layout(root, 7)
    assert sample_table(layout, "station").column("group").nunique() == 4
    assert sample_table(layout, "any").column("group").nunique() == 1


def test_without_a_sidecar_every_number_is_marked(tmp_path) -> None:
    table = sample_table(read_layout(toy_layout(tmp_path, events=6, sidecar=False), 7), "any")
    assert table.column("group").nunique() == 12
    assert table.origin["ungrouped"]
    assert "ungrouped: may be inflated" in table.origin["marks"][0].lower()


def test_copies_are_one_group_even_without_a_sidecar(tmp_path) -> None:
    root = toy_layout(tmp_path, events=6, sidecar=False)
    path = root / "window-7" / "data_0.npy"
    values = np.load(path)
    values[3] = values[0]
    np.save(path, values)
    table = sample_table(read_layout(root, 7), "any")
    assert table.column("group").nunique() == 11
    assert table.column("group").iloc[0] == table.column("group").iloc[3]


def test_fewer_events_than_folds(tmp_path) -> None:
    table = sample_table(read_layout(toy_layout(tmp_path, events=4), 7), "any")
    with pytest.raises(InputError, match="There are 4 events and 5 folds"):
        check_groups(table, 5)


def test_an_unreadable_time_is_named(tmp_path) -> None:
    root = toy_layout(tmp_path, events=4)
    path = root / "window-7" / "samples.csv"
    pd.read_csv(path).assign(start_time="yesterday").to_csv(path, index=False)
    with pytest.raises(InputError, match="start time cannot be read"):
        sample_table(read_layout(root, 7), "any")
