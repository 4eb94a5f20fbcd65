"""marine: the page that tells people how boxes are to be drawn, made for the categories of one package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from groundswell.pipelines.marine.species import SpeciesTable


def guidelines_page(table: SpeciesTable, categories: Sequence[dict[str, Any]], images: int, *,
                    simulated: bool = False) -> str:
    """The page as HTML, complete in itself.

    Args:
        table: of species.
        categories: of the package.
        images: how many there are.
        simulated: whether they are simulated; the page says so.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(loader=PackageLoader("groundswell.pipelines.marine"), autoescape=True,
                              undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    groups = [{"name": name, "colour": table.colours[name], "says": table.descriptions[name],
               "species": [(one, table[one.within].common_name if one.within is not None else "")
                           for one in table if one.priority == name]} for name in table.colours]
    own = [row["name"] for row in categories if row["supercategory"] == "own"]
    page: str = environment.get_template("guidelines.html.j2").render(groups=groups, own=own, images=images,
                                                                      simulated=simulated)
    return page
