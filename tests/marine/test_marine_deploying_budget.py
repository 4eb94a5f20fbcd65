"""What a station spends: the arithmetic is right, estimates are called that, and what cannot be measured is said."""

from __future__ import annotations

import pytest
from tiny_detectors import tiny_onnx

from groundswell.pipelines.marine.deploying import latency
from groundswell.pipelines.marine.deploying.budget import (
    NETWORKS,
    SEED_WH,
    budget_lines,
    hours_per_day,
    images_per_day,
    wh_per_day,
)
from groundswell.pipelines.marine.deploying.latency import EnergyCounter, measure
from groundswell.pipelines.marine.detecting import open_detector
from groundswell.pipelines.marine.recipe import BudgetRecipe


def test_a_day_has_the_images_of_two_captures_of_thirty_seconds_an_hour() -> None:
    assert images_per_day(BudgetRecipe()) == 4 * 60 * 5 * 24 == 28_800
    assert NETWORKS * images_per_day(BudgetRecipe()) == 86_400 != 129_600
    assert images_per_day(BudgetRecipe(captures_per_hour=3)) * NETWORKS == 129_600  # 90 s an hour, which two are not


def test_energy_is_power_times_time() -> None:
    recipe = BudgetRecipe(watts=12, ms_per_image=250)
    assert hours_per_day(recipe) == pytest.approx(2.0) and wh_per_day(recipe) == pytest.approx(24.0)
    assert "within the budget of 40 Wh" in budget_lines(recipe)[2]
    assert "over the budget of 20 Wh" in budget_lines(BudgetRecipe(watts=12, ms_per_image=250, max_wh_per_day=20))[2]
    assert "A day has fewer" in budget_lines(BudgetRecipe(ms_per_image=4000))[1]


def test_every_figure_of_the_seed_stands_beside_the_budget_and_is_called_an_estimate() -> None:
    text = "\n".join(budget_lines(BudgetRecipe()))
    for size, figure in SEED_WH.items():
        assert any(line.split()[:2] == [f"yolov8{size}", f"{figure:.1f}"] for line in text.splitlines())
    assert text.count("estimate") >= 3 and "not measured" in text and "28,800" in text and "86,400" in text


def test_energy_is_counted_by_the_processor_where_it_can_be(tmp_path, monkeypatch) -> None:
    for zone in ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1"):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "max_energy_range_uj").write_text("999999\n")
        (tmp_path / zone / "energy_uj").write_text("900000\n")
    counter = EnergyCounter(tmp_path)
    before = counter.read()
    assert counter.readable and len(before) == 2  # a part of a package is counted with it
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("100000")  # begun anew
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("950000")
    assert counter.joules(before) == pytest.approx(0.2 + 0.05)
    detector = open_detector(tiny_onnx(tmp_path / "a.onnx"))
    assert measure(detector, images=2, warm=0, root=tmp_path).joules == 0.0
    found = measure(detector, images=5, warm=1, width=64, height=48, root=tmp_path / "nowhere")
    assert found.joules is None and found.to_dict()["joules"] == "not measured"
    assert "Energy: not measured" in found.sentence() and 0 < found.median_ms <= found.p95_ms
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("none")
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    assert not EnergyCounter(tmp_path).readable and "cannot be read" in EnergyCounter(tmp_path).why


def test_latency_is_a_command_that_a_station_can_run(tmp_path, capsys) -> None:
    assert latency.main([str(tiny_onnx(tmp_path / "a.onnx")), "--images", "3"]) == 0
    assert "median" in capsys.readouterr().out
    assert latency.main([str(tmp_path / "none.onnx")]) == 2
