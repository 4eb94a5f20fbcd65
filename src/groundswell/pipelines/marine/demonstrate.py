"""marine: the demo: simulated clips through the whole chain to an exported ensemble that counts animals in a video."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from groundswell.core.errors import InputError
from groundswell.core.files import read_json, write_json, write_text
from groundswell.core.optional import available
from groundswell.core.progress import say
from groundswell.core.recipe import build_recipe, load_recipe, shipped_recipe
from groundswell.pipelines.marine.chain.plan import stages_of
from groundswell.pipelines.marine.chain.report import Section, write_chain_report
from groundswell.pipelines.marine.chain.running import run_chain
from groundswell.pipelines.marine.detecting import open_detector
from groundswell.pipelines.marine.following import track_file
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.pictures import figure_with, png_of
from groundswell.pipelines.marine.recipe import MarineRecipe
from groundswell.pipelines.marine.simulate.recipe import SceneRecipe
from groundswell.pipelines.marine.simulate.simulating import simulate
from groundswell.pipelines.marine.simulate.video import simulate_video
from groundswell.pipelines.marine.tracking.recipe import TrackRecipe
from groundswell.pipelines.marine.tracking.scores import score_tracks
from groundswell.pipelines.marine.tracking.video import open_frames

SCENES = {"clips": 36, "frames": 12, "size": [240, 240], "hard": 0.05, "animals": [1, 4], "unlabelled_share": 0.15}
_FRAMES = 60
_VIDEO = {"clips": 1, "frames": _FRAMES, "fps": 10, "size": [240, 240], "hard": 0.05, "animals": [1, 3]}


def run_demo(out: Path, seed: int) -> Path:
    """Simulate, run the chain, track a simulated video; the path of ``report.html``. A demo that was interrupted goes
    on.

    Raises:
        MissingExtraError: the extra ``marine`` is not installed.
    """
    _check_extras()
    images = _images(out / "images", seed)
    recipe = load_recipe(MarineRecipe, shipped_recipe("groundswell.pipelines.marine", "demo"), [
        f"data.images={images.path.resolve()}", f"train.seed={seed}", f"split.seed={seed}"])
    chain = out / "chain"
    lines = run_chain(recipe, chain)
    lines += _tracked(out, chain, seed)
    report = write_chain_report(chain.resolve(), recipe, stages_of(recipe, chain), to=out,
                                also=[_section(out / "tracks")])
    write_text(out / "conclusion.txt", "\n".join(lines) + "\n")
    say("\n".join(lines))
    return report


def _check_extras() -> None:
    for module in ("cv2", "transformers", "onnxruntime"):
        if not available(module):
            raise InputError(f"The demo needs the package '{module}', which is not installed", where="demo marine",
                             fix="Install the extras with: pip install 'groundswell[marine,export]'")


def _images(folder: Path, seed: int) -> ImageSet:
    if (folder / "images.json").exists():
        return ImageSet.open(folder)
    say("Simulating underwater clips")
    return simulate(build_recipe(SceneRecipe, {**SCENES, "seed": seed}), folder)


def _tracked(out: Path, chain: Path, seed: int) -> list[str]:
    """Count the animals of a simulated video with the exported ensemble, and hold the counts against the truth."""
    video, folder = out / "dive.mp4", out / "tracks"
    if (folder / "scores.json").exists():
        return list(read_json(folder / "scores.json")["lines"])
    say("Counting the animals of a simulated video")
    truth = simulate_video(build_recipe(SceneRecipe, {**_VIDEO, "seed": seed + 1}), video)
    recipe = TrackRecipe(fps=5.0)
    lines = track_file(chain / "export", video, folder, recipe)
    detector = open_detector(chain / "export")
    found = pd.read_csv(folder / "boxes.csv")
    found["label"] = found["species"].map({name: k for k, name in enumerate(detector.classes)})
    score = score_tracks(truth, found, frames=range(0, _FRAMES, 2))  # of 10 frames a second, 5 are looked at
    lines.append(f"On this simulated video (60 frames, one clip: no interval) IDF1 is {score.idf1:.2f}, MOTA "
                 f"{score.mota:.2f}, and counts are off by {100 * score.count_error:.0f} %.")
    write_json(folder / "scores.json", {"simulated": True, "idf1": score.idf1, "mota": score.mota,
                                        "count_error": score.count_error, "lines": lines})
    return lines


def _section(folder: Path) -> Section:
    """What the report says of tracking: sentences, and frames of the annotated video."""
    lines = read_json(folder / "scores.json")["lines"]
    frames = list(open_frames(folder / "annotated.mp4", fps=1000.0))
    chosen = [frames[len(frames) * k // 4].image for k in range(1, 4)] if len(frames) > 3 else []
    figure, panels = figure_with(max(len(chosen), 1), 3)
    for panel, image in zip(panels, chosen, strict=False):
        panel.imshow(image)
    caption = ("Simulated video: frames of tracks/annotated.mp4, with the number of each track and the counts so far.")
    return Section("Counting animals in a simulated video", lines, [(png_of(figure), caption)])
