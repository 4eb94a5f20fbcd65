"""marine: what a camera station may spend in a day: images, time and energy. Estimates, all of them.

Images of a day are cameras x captures an hour x seconds of a capture x frames a second x 24. With the seed's keys:
4 x 2 x 30 s x 5 / s x 24 = 28,800. Each of the ensemble's three networks looks at each image, which makes 86,400 looks.
The figure that went with these keys before, 129,600, is 4 x 90 s x 24 x 5 x 3: it took 90 s of recording an hour, while
two captures of 30 s are 60.
"""

from __future__ import annotations

from groundswell.pipelines.marine.recipe import BudgetRecipe

SEED_WH = {"n": 6.7, "s": 10.9, "m": 14.4, "l": 18.0, "x": 24.3}
"""The seed's Wh a day of YOLOv8 by size. It names no measurement, and not whether one network is meant or three."""
NETWORKS = 3
"""Of the seed's ensemble."""
HOURS = 24


def images_per_day(recipe: BudgetRecipe) -> float:
    """Images that a station looks at in a day; see above."""
    return recipe.cameras * recipe.captures_per_hour * recipe.capture_duration_s * recipe.fps * HOURS


def hours_per_day(recipe: BudgetRecipe) -> float:
    """Hours of a day that the computer works."""
    return images_per_day(recipe) * recipe.ms_per_image / 1000 / 3600


def wh_per_day(recipe: BudgetRecipe) -> float:
    """Energy of that work, Wh a day: power times time. Idling, cameras, lights and radio are not in it."""
    return hours_per_day(recipe) * recipe.watts


def budget_lines(recipe: BudgetRecipe) -> list[str]:
    """Images, time and energy of a day in sentences, with the seed's figures beside the budget."""
    images, hours, wh = images_per_day(recipe), hours_per_day(recipe), wh_per_day(recipe)
    most = recipe.max_wh_per_day
    lines = [
        f"Images a day: {recipe.cameras} cameras x {recipe.captures_per_hour:g} captures an hour x "
        f"{recipe.capture_duration_s:g} s x {recipe.fps:g} frames a second x {HOURS} h = {images:,.0f}; three networks "
        f"look {NETWORKS * images:,.0f} times.",
        f"Time (estimate): {images:,.0f} x {recipe.ms_per_image:g} ms for an image by the whole detector = "
        f"{hours:.2f} h of {HOURS}.{'' if hours <= HOURS else ' A day has fewer: images would pile up.'}",
        f"Energy (estimate): {hours:.2f} h x {recipe.watts:g} W = {wh:.1f} Wh a day, "
        f"{'within' if wh <= most else 'over'} the budget of {most:g} Wh. Idling, cameras, lights and radio are not in "
        "it.",
        "Power and time are those of the recipe, not measured; on the station itself: python -m "
        "groundswell.pipelines.marine.deploying.latency MODEL",
        f"The seed's figures beside this budget (estimates, not measured; left: of {most:g} Wh; an image: for "
        f"{images:,.0f} images):",
        f"{'network':>10} {'Wh a day':>9} {'share':>7} {'left':>7} {'J an image':>11}",
    ]
    for size, figure in SEED_WH.items():
        lines.append(f"{'yolov8' + size:>10} {figure:9.1f} {figure / most:7.0%} {most - figure:7.1f} "
                     f"{figure * 3600 / images:11.2f}")
    lines.append("The seed does not say whether these are of one network or of three; three times yolov8m's would be "
                 f"{NETWORKS * SEED_WH['m']:.1f} Wh.")
    return lines
