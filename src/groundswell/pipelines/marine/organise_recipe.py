"""marine: how images from many places become one set."""

from __future__ import annotations

from pydantic import Field, field_validator

from groundswell.core.recipe import RecipePart


class OrganiseRecipe(RecipePart):
    """How images from many places become one set."""

    width: int = Field(1920, ge=32)
    """Widest an image may be, pixels; wider ones are shrunk, and their boxes with them."""
    height: int = Field(1080, ge=32)
    """Highest an image may be, pixels."""
    inside: float = Field(0.5, gt=0, le=1)
    """Share of a box that must lie in its image; with less it is refused, and otherwise cut to the image."""
    clip: str = ""
    """Regular expression with a group `clip` (and perhaps `frame`) that is searched for in the path of an image; empty:
    what the annotations say, or else folders and the name up to the frame's number."""
    source: str = "own"
    """Where the images come from, if the annotations do not say it."""
    species: dict[str, int] = Field(default_factory=dict)
    """Ids in the table of species of classes whose name is not in it; -1 keeps a class out of the table."""
    simulated: bool = False
    """The images are simulated, as every report on them will say."""

    @field_validator("clip")
    @classmethod
    def _has_its_group(cls, text: str) -> str:
        import re

        if text:
            try:
                pattern = re.compile(text)
            except re.error as error:
                raise ValueError(f"it is no regular expression: {error}") from error
            if "clip" not in pattern.groupindex:
                raise ValueError("it has no group (?P<clip>...)")
        return text
