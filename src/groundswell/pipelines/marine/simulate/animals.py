"""marine: the animals that can be simulated, by their names in the table of species: sizes, motion, drawing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from groundswell.pipelines.marine.simulate import fishes, others
from groundswell.pipelines.marine.simulate.canvas import Canvas
from groundswell.pipelines.marine.simulate.fishes import Look


@dataclass(frozen=True)
class Kind:
    """An animal that can be drawn.

    Attributes:
        length: its usual length at a distance of 1 m, as a share of the picture's shorter side. True sizes lie further
            apart: a shark of that scale would fill the picture or an urchin be lost in it.
        half: how far its drawing reaches from its middle, along and across, in lengths.
        moves: upright: swims, turned left or right; headed: swims, turned where it goes; drifts; crawls: on the ground,
            turned any way; stands: upright, hardly moving.
        speed: lengths a second.
        beat: strokes of its fins a second.
        opacity: how much of what is behind it it hides.
    """

    length: float
    half: tuple[float, float]
    moves: Literal["upright", "headed", "drifts", "crawls", "stands"]
    speed: float
    beat: float
    draw: Callable[[Canvas, Look, float], None]
    opacity: float = 1.0


def _of(form: fishes.FishForm) -> Callable[[Canvas, Look, float], None]:
    return partial(fishes.draw_fish, form=form)


KINDS: dict[str, Kind] = {
    "lionfish": Kind(0.55, (0.56, 0.56), "upright", 0.25, 0.8, fishes.draw_lionfish),
    "purple sea urchin": Kind(0.32, (0.54, 0.54), "crawls", 0.005, 0.4,
                          others.draw_purple_urchin),
    "red sea urchin": Kind(0.36, (0.54, 0.54), "crawls", 0.005, 0.4,
                       others.draw_red_urchin),
    "northern kelp crab": Kind(0.42, (0.62, 0.58), "crawls", 0.08, 0.7, others.draw_crab),
    "giant Pacific octopus": Kind(0.6, (0.66, 0.66), "stands", 0.04, 0.5, others.draw_octopus),
    "sunflower sea star": Kind(0.55, (0.54, 0.54), "crawls", 0.01, 0.3,
                           others.draw_sunflower_star),
    "California sheepshead": Kind(0.6, (0.54, 0.3), "upright", 0.5, 1.2, _of(fishes.SHEEPSHEAD)),
    "red snapper": Kind(0.55, (0.54, 0.32), "upright", 0.6, 1.5, _of(fishes.SNAPPER)),
    "grouper": Kind(0.7, (0.54, 0.32), "upright", 0.35, 0.9, _of(fishes.GROUPER)),
    "sea star": Kind(0.4, (0.54, 0.54), "crawls", 0.01, 0.3, others.draw_sea_star),
    "eel": Kind(0.75, (0.54, 0.2), "upright", 0.35, 0.7, fishes.draw_eel),
    "jellyfish": Kind(0.55, (0.32, 0.56), "drifts", 0.12, 0.5, others.draw_jellyfish, 0.85),
    "seahorse": Kind(0.4, (0.3, 0.56), "stands", 0.06, 1.0, fishes.draw_seahorse),
    "shark": Kind(0.95, (0.54, 0.3), "upright", 0.5, 0.8, fishes.draw_shark),
    "sea turtle": Kind(0.65, (0.54, 0.6), "headed", 0.35, 0.7, others.draw_turtle),
    "unidentified fish": Kind(0.4, (0.54, 0.24), "upright", 0.9, 2.0, _of(fishes.ANY_FISH)),
}
"""By their names in the table of species."""
