"""Publication figures: size, time axis, order and colours of curves, and what cannot be drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from groundswell.core.errors import InputError
from groundswell.core.run import RunFolder
from groundswell.data.waveforms import WaveformPredictions
from groundswell.pipelines.archive import load_archive
from groundswell.pipelines.symae.data import WORKFLOW
from groundswell.pipelines.symae.figures import OFFSET, colours_of, plot_loss_history, plot_stf, save
from groundswell.pipelines.symae.figures_signals import aligned_pair, focal_sphere, shift_histogram
from groundswell.pipelines.symae.pictures import alignment_pictures
from groundswell.pipelines.symae.recipe import SymaeRecipe
from groundswell.splits.manifest import SplitManifest

TIMES = -38.4 + 0.5 * np.arange(192)


def curves(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 192))


@pytest.mark.parametrize("scale", [1, 2, 8])
def test_pictures_are_950_by_450_times_the_scale(tmp_path: Path, scale: int) -> None:
    path = save(plot_stf(curves(3), ["5", "6", "14"], 1.0, "title"), tmp_path / "a.png", scale)
    with Image.open(path) as picture:
        assert picture.size == (950 * scale, 450 * scale)


def test_curves_lie_on_the_true_time_axis_sorted_by_pixel_with_their_mean_on_top() -> None:
    waves = curves(3)
    axes = plot_stf(waves, ["a/14", "a/5", "a/6"], 1.0, times=TIMES,
                    places=[(36.0, 45.0), (24.0, 22.0), (24.0, 68.0)]).axes[0]
    lines = axes.get_lines()
    assert all(np.array_equal(line.get_xdata(), TIMES) for line in lines)
    for height, i in enumerate((1, 2, 0)):
        np.testing.assert_allclose(lines[height].get_ydata(), OFFSET * height + waves[i])
    np.testing.assert_allclose(lines[3].get_ydata(), 3 * OFFSET + waves.mean(0))
    assert [text.get_text() for text in axes.get_yticklabels()] == ["5: (24°, 22°)", "6: (24°, 68°)", "14: (36°, 45°)",
                                                                    "mean"]


def test_one_pixel_alone_can_be_drawn_and_has_no_mean() -> None:
    assert len(plot_stf(curves(1), ["7"], 1.0).axes[0].get_lines()) == 1


def test_simulated_curves_are_called_simulated() -> None:
    figure = plot_stf(curves(2), ["1", "2"], 1.0, "Sources", simulated=True)
    assert figure.axes[0].get_title(loc="left").endswith("(simulated)")


def test_pixels_of_one_number_share_a_colour() -> None:
    colour = colours_of([3, 1, 3])
    assert set(colour) == {1, 3} and colour[1] != colour[3]
    assert len(set(map(str, colours_of(list(range(20))).values()))) == 20


@pytest.mark.parametrize(("names", "said"), [(["1"], "as many names"), (["1", "a/x"], "ends in no pixel")])
def test_names_that_do_not_fit_are_refused(names: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        plot_stf(curves(2), names, 1.0)


def test_a_loss_history_is_read_from_a_run_and_drawn_on_a_logarithmic_axis(source_run: Path,
                                                                           reference_run: Path) -> None:
    for run, misfit in ((source_run, "source"), (reference_run, "mse")):
        left, right = plot_loss_history(run / "fold-1" / "logs" / "epochs.csv").axes
        assert left.get_yscale() == "log" and misfit in left.get_title(loc="left")
        assert len(right.get_lines()) >= 2


def test_a_loss_history_without_an_epoch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no epoch"):
        plot_loss_history({"epoch": [], "train_mse": []})
    with pytest.raises(InputError, match="cannot be read"):
        plot_loss_history(tmp_path / "none.csv")


def test_histories_by_the_seeds_names_are_drawn_too() -> None:
    left, right = plot_loss_history({"train_mse": [1.0, 0.5], "test_mse": [1.1, 0.6], "train_neg_llh": [2.0, 1.0],
                                     "test_kl": [3.0, 2.0]}).axes
    assert len(left.get_lines()) == 2 and len(right.get_lines()) == 2


def test_traces_are_shown_in_the_order_of_their_shifts() -> None:
    x, shift = curves(4), np.array([0.3, -0.2, 0.1, -0.4])
    figure = aligned_pair(x, 2 * x, TIMES, shift, "bag")
    images = [axes.get_images()[0] for axes in figure.axes[:2]]
    np.testing.assert_allclose(images[0].get_array(), x[[3, 1, 2, 0]])
    np.testing.assert_allclose(images[1].get_array(), 2 * x[[3, 1, 2, 0]])
    assert images[0].get_extent()[:2] == [TIMES[0], TIMES[-1]]


def test_the_focal_sphere_puts_north_on_top_and_upgoing_rays_open() -> None:
    rows = pd.DataFrame({"takeoff": [30.0, 30.0, 120.0], "azimuth": [0.0, 90.0, 0.0], "pixel": [1, 2, 3]})
    axes = focal_sphere(rows, "event").axes[0]
    points = {points.get_label(): points.get_offsets()[0] for points in axes.collections}
    assert points["pixel 1: 1 traces"][0] == pytest.approx(0, abs=1e-9) and points["pixel 1: 1 traces"][1] > 0
    assert points["pixel 2: 1 traces"][0] > 0
    assert points["pixel 3: 1 traces"][1] < 0
    faces = {points.get_label(): len(points.get_facecolor()) for points in axes.collections}
    assert faces["pixel 1: 1 traces"] == 1 and faces["pixel 3: 1 traces"] == 0


def test_histograms_hold_every_trace() -> None:
    axes = shift_histogram(np.array([-1.0, 0.0, 0.5]), "shifts").axes[0]
    assert sum(patch.get_height() for patch in axes.patches) == 3
    assert shift_histogram(np.zeros(4), "none").axes


def test_scales_and_endings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    figure = plot_stf(curves(1), ["1"], 1.0)
    with pytest.raises(InputError, match="17 pixels a point"):
        save(figure, tmp_path / "a.png", 17)
    with pytest.raises(InputError, match=r"PNG or SVG, not as '\.gif'"):
        save(figure, tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())


def test_reports_show_bags_before_and_after_alignment(source_run: Path) -> None:
    run = RunFolder.open(source_run)
    recipe, archive = run.recipe(SymaeRecipe), load_archive(run.path)
    predicted = WaveformPredictions.read(run.path / "predictions.parquet")
    evaluation = WORKFLOW.evaluate(recipe, archive, SplitManifest.read(run.path, archive.table), predicted, None, [])
    pictures = alignment_pictures(recipe, archive, evaluation)
    assert len(pictures) >= 2 and all(picture.png.startswith(b"\x89PNG") for picture in pictures)
    assert all("simulated" in picture.caption and picture.alt for picture in pictures)
    assert "as the network aligned them" in pictures[0].caption
