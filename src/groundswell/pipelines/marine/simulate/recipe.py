"""marine: what simulated underwater scenes should look like, as a pydantic model."""

from __future__ import annotations

import difflib
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from groundswell.core.recipe import RecipePart

CLASSES = ("lionfish", "purple sea urchin", "red sea urchin", "northern kelp crab", "giant Pacific octopus",
           "sunflower sea star", "California sheepshead", "red snapper", "grouper", "sea star", "eel", "jellyfish",
           "seahorse", "shark", "sea turtle", "unidentified fish")
"""Animals that can be drawn, by their names in the table of species; the first eight are critical, the next five
important."""
ON_GROUND = ("purple sea urchin", "red sea urchin", "northern kelp crab", "giant Pacific octopus", "sunflower sea star",
             "sea star")
"""Those of them that live on the ground; the others swim."""


class SceneRecipe(RecipePart):
    """A complete simulated set of images."""

    listed_by: ClassVar[str] = "groundswell marine simulate --knobs"

    seed: int = 42
    """Everything is a pure function of the recipe; a clip, of the seed and its number."""
    clips: int = Field(24, ge=1, le=100_000)
    """Camera clips. Those of one clip share ground, water and camera."""
    frames: int = Field(10, ge=1, le=100_000)
    """Images of a clip."""
    fps: float = Field(2.0, gt=0, le=120)
    """Images in a second of a clip."""
    size: tuple[int, int] = (320, 320)
    """Width and height of an image, pixels."""
    classes: tuple[str, ...] = ("lionfish", "purple sea urchin", "sea star", "jellyfish", "shark", "sea turtle")
    """Animals, in label order, by their names in the table of species. There are lionfish, purple sea urchin, red sea
    urchin, northern kelp crab, giant Pacific octopus, sunflower sea star, California sheepshead, red snapper
    (critical), grouper, sea star, eel, jellyfish, seahorse (important), shark, sea turtle, unidentified fish."""
    animals: tuple[int, int] = (1, 5)
    """Fewest and most animals that a clip shows at a time; some of them may be hidden or too small for a box."""
    imbalance: float = Field(1.0, ge=1, le=1000)
    """How many times as frequent the last class is as the first; those between lie between."""
    scale: tuple[float, float] = (0.5, 1.3)
    """Smallest and largest size of animals, in their usual sizes; distance makes them smaller still."""
    turbidity: tuple[float, float] = (0.1, 0.5)
    """Range of how turbid clips' water is, 0 (clear) to 1 (an arm's length of sight)."""
    cast: tuple[float, float] = (0.3, 0.9)
    """Range of how strong the water's colour is, 0 (none) to 1 (nearly one colour)."""
    snow: tuple[float, float] = (0.0, 0.6)
    """Range of how much marine snow there is, 0 to 1."""
    noise: float = Field(3.0, ge=0, le=60)
    """Standard deviation of the camera's noise, of 255."""
    distractors: tuple[int, int] = (2, 6)
    """Fewest and most rocks and plants of a clip that are no animals; some stand in front of animals."""
    motion: float = Field(1.0, ge=0, le=20)
    """How fast animals swim, in their usual speeds; 0: all stay where they are."""
    paths: Literal["mixed", "crossing"] = "mixed"
    """mixed: swimmers pass or linger; crossing: all pass from side to side, both ways, in each other's way."""
    hard: float = Field(0.2, ge=0, le=1)
    """How much animals take the look of what is behind them, 0 (not at all) to 1 (hardly to be seen)."""
    unlabelled_share: float = Field(0.0, ge=0, le=1)
    """Share of clips without boxes; what is in them is in truth.parquet, for the judging of choices alone."""

    @field_validator("classes")
    @classmethod
    def _known(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        for name in classes:
            if name not in CLASSES:
                near = difflib.get_close_matches(name, CLASSES, n=1)
                raise ValueError(f"'{name}' cannot be drawn" + (f" (did you mean '{near[0]}'?)" if near else "")
                                 + f"; animals: {', '.join(CLASSES)}")
        if not classes or len(set(classes)) != len(classes):
            raise ValueError("classes names each animal once, and one at least")
        return classes

    @model_validator(mode="after")
    def _ranges_hold(self) -> SceneRecipe:
        for name in ("animals", "scale", "turbidity", "cast", "snow", "distractors"):
            low, high = getattr(self, name)
            most = {"animals": 60, "distractors": 60, "scale": 4.0}.get(name, 1.0)
            least = 0.05 if name == "scale" else 0
            if not least <= low <= high <= most:
                raise ValueError(f"{name} gives its smaller end first, both from {least:g} to {most:g}")
        if self.paths == "crossing" and set(self.classes) <= set(ON_GROUND):
            raise ValueError("paths: crossing needs a class that swims")
        if not all(64 <= side <= 4096 for side in self.size):
            raise ValueError("size gives width and height, 64 to 4096 pixels each")
        return self
