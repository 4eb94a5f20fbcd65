"""Which pictures are drawn, how they look, and what is said about results that are absent or damaged."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from figure_files import FIVE, WINDOWS, make_results
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from groundswell.core.errors import InputError
from groundswell.pipelines.geomag.figures import comparison, confusion, controls, roc, training_curves
from groundswell.pipelines.geomag.figures.controls import draw_controls
from groundswell.pipelines.geomag.figures.draw import FiguresReport, draw_figures
from groundswell.pipelines.geomag.figures.results import find_results
from groundswell.pipelines.geomag.figures.style import COLOURS, Picture, font_family, style

PLANS = (training_curves.plan, comparison.plan, roc.plan, confusion.plan, controls.plan)
CONFUSION, COMPARISON = "Individual_Confusion_Matrices", "Model_Comparison_Analysis"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FiguresReport]:
    folder = make_results(tmp_path_factory.mktemp("five"), models=FIVE, facts={"simulated": True, "ungrouped": True})
    return folder, draw_figures(folder, dpi=12)


@pytest.fixture(scope="module")
def one_window(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    """Pictures of six families on one window length, not drawn yet."""
    folder = make_results(tmp_path_factory.mktemp("one"), windows=("7day",), epochs=[4, 3, 4, 4, 2],
                          facts={"simulated": True, "ungrouped": True})
    found = find_results(folder)
    return [picture for plan in PLANS for picture in plan(found)]


def _figure(picture: Picture) -> Figure:
    with mpl.rc_context(style()):
        figure = picture.draw()
        canvas = FigureCanvasAgg(figure)
        figure.set_dpi(40)
        canvas.draw()
    return figure


def _texts(figure: Figure) -> list[Text]:
    return [t for t in figure.findobj(Text) if isinstance(t, Text) and t.get_visible() and t.get_text().strip()]


def test_five_families_give_the_pictures_of_the_seed(drawn: tuple[Path, FiguresReport]) -> None:
    folder, report = drawn
    place = folder / "performance_visualization"
    names = sorted(str(path.relative_to(place)) for path in place.rglob("*.png"))
    assert names == sorted(str(path.relative_to(place)) for path in report.written)
    assert report.missing == []
    expected = {f"Performance_Analysis/Model_Performance_{w}.png" for w in WINDOWS}
    expected |= {f"{COMPARISON}/{kind}_{w}.png" for w in WINDOWS
                 for kind in ("Radar", "F1_Mean_vs_Std", "Norm_MCC_vs_F1", "Precision_vs_Recall")}
    expected |= {f"{COMPARISON}/Legend_Radar.png", f"{COMPARISON}/Legend_Scatter.png",
                 "ROC_analysis/multi_model_roc_curves.png", f"{CONFUSION}/horizontal_colorbar.png"}
    expected |= {f"{CONFUSION}/{m}_{w}_confusion_matrix.png" for m in FIVE for w in WINDOWS}
    expected |= {f"Controls/controls_{w}.png" for w in WINDOWS}
    assert set(names) == expected
    assert sum(name.startswith(COMPARISON) for name in names) == 12 + 2
    assert sum(name.startswith(CONFUSION) for name in names) == 15 + 1


def test_matrices_have_one_size_and_every_file_its_resolution(drawn: tuple[Path, FiguresReport]) -> None:
    sizes = set()
    for path in drawn[1].written:
        with Image.open(path) as image:
            assert image.info["dpi"] == pytest.approx((12, 12), abs=0.02)
            if path.name.endswith("confusion_matrix.png"):
                sizes.add(image.size)
            if path.name.startswith("Model_Performance"):
                assert image.size == (18 * 12, 16 * 12)
    assert len(sizes) == 1


def test_the_resolution_is_600_dots_per_inch_unless_told_otherwise(tmp_path: Path) -> None:
    make_results(tmp_path / "in", models=("GRU",), windows=("7day",), folds=2)
    report = draw_figures(tmp_path / "in", tmp_path / "out", modules=("confusion",))
    assert [path.parent.parent for path in report.written] == [tmp_path / "out"] * 2
    with Image.open(report.written[0]) as image:
        assert image.info["dpi"] == pytest.approx((600, 600), abs=0.1)
        assert image.size == (5400, 4800)


def test_minirocket_is_drawn_where_it_is_and_not_missed_where_it_is_not(tmp_path: Path) -> None:
    make_results(tmp_path, windows=("7day",), folds=2)
    found = find_results(tmp_path)
    pictures = [p.name for p in confusion.plan(found)]
    assert len(pictures) == 6 + 1 and f"{CONFUSION}/MiniRocket_7day_confusion_matrix.png" in pictures
    assert len(training_curves.plan(found)) == 1  # a ridge has no epochs, and that is nothing to miss
    assert not any("MiniRocket" in line for line in found.missing)


def test_every_picture_of_simulated_and_ungrouped_windows_says_so(one_window: list[Picture]) -> None:
    for picture in one_window:
        said = " ".join(t.get_text() for t in _texts(_figure(picture)))
        assert "predict" not in said.lower(), picture.name
        if "colorbar" in picture.name:
            continue
        assert "Simulated data." in said, picture.name
        if "controls_" not in picture.name:
            assert "Ungrouped: may be inflated." in said, picture.name


def test_nothing_is_cut_off_at_the_edges(one_window: list[Picture]) -> None:
    for picture in one_window:
        figure = _figure(picture)
        width, height = figure.get_size_inches()
        box = figure.get_tightbbox()
        assert box.x0 > -0.02 and box.y0 > -0.02 and box.x1 < width + 0.02 and box.y1 < height + 0.02, picture.name


def test_titles_notes_and_legends_do_not_lie_on_one_another(one_window: list[Picture]) -> None:
    for picture in one_window:
        figure = _figure(picture)
        legends = [*figure.legends, *(legend for axes in figure.axes if (legend := axes.get_legend()) is not None)]
        boxes = [legend.get_window_extent() for legend in legends]
        boxes += [t.get_window_extent() for t in figure.texts if t.get_text().strip()]
        boxes += [label.get_window_extent() for axes in figure.axes for label in (axes.xaxis.label, axes.yaxis.label)
                  if label.get_text() and axes.axison]
        for i, one in enumerate(boxes):
            for other in boxes[i + 1:]:
                assert not one.padded(-1).overlaps(other.padded(-1)), picture.name


def test_legends_can_be_seen_through_and_have_a_border(one_window: list[Picture]) -> None:
    seen = 0
    for picture in one_window:
        figure = _figure(picture)
        for legend in [*figure.legends, *(a.get_legend() for a in figure.axes if a.get_legend() is not None)]:
            box = legend.get_frame()
            assert box.get_facecolor()[3] == 0 and box.get_edgecolor()[3] == 1 and box.get_linewidth() >= 1
            seen += 1
    assert seen == 4  # training curves, two of the comparison, ROC


def test_families_have_the_colours_of_the_seed(one_window: list[Picture]) -> None:
    assert {m: COLOURS[m] for m in FIVE} == {"GRU": "#E41A1C", "LSTM": "#377EB8", "MLP": "#4DAF4A", "RNN": "#984EA3",
                                             "Transformer": "#FF7F00"}
    picture = next(p for p in one_window if p.name.startswith("ROC"))
    legend = next(a.get_legend() for a in _figure(picture).axes if a.get_legend() is not None)
    shown = {text.get_text().split()[0]: to_hex(line.get_color()).upper()
             for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)}
    assert {m: shown[m] for m in COLOURS} == COLOURS
    areas = [float(text.get_text().split()[1]) for text in legend.get_texts()[:-1]]
    assert areas == sorted(areas, reverse=True)


def test_drawing_leaves_matplotlib_as_it_was_and_asks_for_no_absent_font(tmp_path: Path,
                                                                        caplog: pytest.LogCaptureFixture) -> None:
    make_results(tmp_path, models=("GRU",), windows=("7day",), folds=2)
    before = dict(mpl.rcParams)
    with caplog.at_level(logging.WARNING, logger="matplotlib"):
        draw_figures(tmp_path, dpi=10)
    assert dict(mpl.rcParams) == before
    assert not [record for record in caplog.records if "font" in record.getMessage().lower()]
    assert font_family() in mpl.font_manager.fontManager.get_font_names()
    assert (style()["figure.figsize"], style()["font.size"], style()["axes.labelsize"]) == ((18, 16), 12, 32)


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    make_results(tmp_path / "in", models=("GRU", "MLP"), windows=("7day",), folds=2)
    for name in ("a", "b"):
        draw_figures(tmp_path / "in", tmp_path / name, dpi=15, modules=("roc", "comparison"))
    files = sorted((tmp_path / "a").rglob("*.png"))
    assert len(files) == 7
    assert all(path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes() for path in files)


def _replace(path: Path, content: bytes | None) -> None:
    path.unlink() if content is None else path.write_bytes(content)


def _save(array: np.ndarray) -> Callable[[Path], None]:
    return lambda path: np.save(path, array, allow_pickle=True)


@pytest.mark.parametrize(("file", "spoil", "named"), [
    ("GRUModel_7day_fold_2_test_probs.npy", lambda p: _replace(p, None), "GRU 7day fold 2: .* is absent"),
    ("GRUModel_7day_fold_2_test_probs.npy", lambda p: _replace(p, b"junk"), "GRU 7day fold 2: .* is damaged"),
    ("GRUModel_7day_fold_2_test_probs.npy", lambda p: _replace(p, p.read_bytes()[:200]), "fold 2: .* is damaged"),
    ("GRUModel_7day_fold_2_test_probs.npy", _save(np.array([{}], object)), "fold 2: .* is damaged"),
    ("GRUModel_7day_fold_2_test_probs.npy", _save(np.full((60, 2), np.nan)), "fold 2: .* are not finite"),
    ("GRUModel_7day_fold_2_test_probs.npy", _save(np.zeros((9, 2))), r"fold 2: .* the shape \(9, 2\)"),
    ("GRUModel_7day_fold_2_test_labels.npy", _save(np.full(60, 3)), "fold 2: .* neither 0 nor 1"),
    ("GRUModel_7day_fold_2_test_labels.npy", _save(np.zeros(60, np.int64)), "fold 2: .* of one class"),
    ("GRUModel_7day_fold_2_logs.txt", lambda p: _replace(p, None), "fold 2: .*_logs.txt is absent"),
    ("GRUModel_7day_fold_2_logs.txt", lambda p: _replace(p, b"\xff\xfe\x00"), "fold 2: .*_logs.txt is damaged"),
    ("GRUModel_7day_fold_2_logs.txt", lambda p: _replace(p, b"Epoch"), "fold 2: .* holds no epoch"),
    ("GRUModel_7day_ensemble_config.json", lambda p: _replace(p, b"{"), "GRU 7day: .*config.json is damaged"),
    ("GRUModel_7day_ensemble_config.json", lambda p: _replace(p, b"[]"), "GRU 7day: .*config.json is damaged"),
    ("GRUModel_7day_ensemble_config.json", lambda p: _replace(p, None), "GRU 7day: .*config.json is absent"),
    ("../controls_7day.json", lambda p: _replace(p, b"{}"), "7day: controls_7day.json is damaged"),
    ("../controls_7day.json", lambda p: _replace(p, None), "7day: controls_7day.json is absent"),
])
def test_what_is_absent_or_damaged_is_named_and_the_rest_is_planned(tmp_path: Path, file: str,
                                                                   spoil: Callable[[Path], None], named: str) -> None:
    make_results(tmp_path, models=("GRU", "LSTM"), windows=("7day",), folds=3)
    whole = find_results(tmp_path)
    expected = [p.name for plan in PLANS for p in plan(whole)]
    spoil(tmp_path / "gru_models" / file)
    found = find_results(tmp_path)
    pictures = [p for plan in PLANS for p in plan(found)]
    new = [line for line in found.missing if line not in whole.missing]
    assert any(re.search(named, line) for line in new), new
    lost = {"Controls/controls_7day.png"} if "controls" in file else set()
    assert {p.name for p in pictures} == set(expected) - lost


def test_a_picture_made_of_fewer_folds_says_so(tmp_path: Path) -> None:
    make_results(tmp_path, models=("GRU",), windows=("7day",), folds=3)
    for ending in ("test_probs.npy", "logs.txt"):
        (tmp_path / "gru_models" / f"GRUModel_7day_fold_2_{ending}").unlink()
    found = find_results(tmp_path)
    for plan in (training_curves.plan, roc.plan, confusion.plan):
        assert any("2 of 3 folds" in t.get_text() for t in _texts(_figure(plan(found)[0])))


def test_a_folder_of_the_shorter_names_is_read_too(tmp_path: Path) -> None:
    make_results(tmp_path, models=("GRU",), windows=("7day",), folds=2)
    for path in list((tmp_path / "gru_models").iterdir()):
        path.rename(path.with_name(path.name.replace("GRUModel_", "GRU_")))
    (tmp_path / "controls_7day.json").unlink()
    assert len([p for plan in PLANS for p in plan(find_results(tmp_path))]) == 1 + 6 + 1 + 2


def test_results_without_the_facts_of_a_study_say_that_the_grouping_is_not_recorded(tmp_path: Path) -> None:
    make_results(tmp_path, models=("GRU",), windows=("7day",), folds=2)
    path = tmp_path / "gru_models" / "GRUModel_7day_ensemble_config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "ungrouped"}))
    picture = roc.plan(find_results(tmp_path))[0]
    assert any("not recorded" in t.get_text() for t in _texts(_figure(picture)))


def test_nothing_to_draw_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        draw_figures(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"nothing to draw.*gru_models"):
        draw_figures(tmp_path)
    (tmp_path / "gru_models").mkdir()
    (tmp_path / "gru_models" / "GRUModel_7day_fold_1_logs.txt").write_text("began\n")
    with pytest.raises(InputError, match="nothing to draw"):
        draw_figures(tmp_path)
    assert not (tmp_path / "performance_visualization").exists()
    with pytest.raises(InputError, match="no module of pictures called 'radar'"):
        draw_figures(tmp_path, modules=("radar",))
    with pytest.raises(InputError, match="0 dots"):
        draw_figures(tmp_path, dpi=0)


def test_modules_are_drawn_one_by_one(tmp_path: Path) -> None:
    make_results(tmp_path, models=("GRU", "MLP"), windows=("14day",), folds=2)
    report = draw_figures(tmp_path, dpi=10, modules=("roc",))
    assert [path.name for path in report.written] == ["multi_model_roc_curves.png"]
    report = draw_figures(tmp_path, dpi=10, modules=("controls", "performance"))
    assert [path.name for path in report.written] == ["Model_Performance_14day.png", "controls_14day.png"]


def test_one_file_of_controls_is_drawn_by_itself_even_without_a_score(tmp_path: Path) -> None:
    make_results(tmp_path, models=("GRU",), windows=("7day",))
    path = tmp_path / "controls_7day.json"
    assert draw_controls(path, tmp_path / "a.png", dpi=20) == tmp_path / "a.png"
    path.write_text(json.dumps({**json.loads(path.read_text()), "rows": []}))
    draw_controls(path, tmp_path / "b.png", dpi=20)
    assert (tmp_path / "a.png").stat().st_size > (tmp_path / "b.png").stat().st_size > 0


def test_many_long_titles_of_controls_stay_apart(tmp_path: Path) -> None:
    make_results(tmp_path, windows=("7day",), folds=2)
    path = tmp_path / "controls_7day.json"
    scores = json.loads(path.read_text())
    scores["rows"] += [{**scores["rows"][-1], "title": f"{i}: a control whose title is much longer than a line of the "
                        "picture and even longer than two of them", "low": None, "p": 0.0001} for i in range(12)]
    path.write_text(json.dumps(scores))
    [picture] = controls.plan(find_results(tmp_path))
    figure = _figure(picture)
    labels = [t.get_window_extent() for t in figure.axes[0].get_yticklabels()]
    labels.sort(key=lambda box: box.y0)
    assert all(above.y0 >= below.y1 - 1 for below, above in pairwise(labels))
    values = [t.get_window_extent() for t in figure.axes[1].texts]
    assert not any(a.padded(-1).overlaps(b.padded(-1)) for i, a in enumerate(values) for b in values[i + 1:])


def test_losses_of_many_magnitudes_are_drawn_on_a_logarithmic_axis(tmp_path: Path) -> None:
    make_results(tmp_path, models=("GRU",), windows=("7day",), folds=2)
    for fold in (1, 2):
        path = tmp_path / "gru_models" / f"GRUModel_7day_fold_{fold}_logs.txt"
        path.write_text(path.read_text().replace("val_loss 0.", "val_loss 5000.", 1))
    axes = {a.get_ylabel(): a for a in _figure(training_curves.plan(find_results(tmp_path))[0]).axes}
    assert axes["Validation loss"].get_yscale() == "log" and axes["Training loss"].get_yscale() == "linear"
    low, high = axes["Validation accuracy"].get_ylim()
    assert high - low < 0.6
