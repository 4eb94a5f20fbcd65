"""The table of 36 species is sound, its names are matched whole, and any mistake in a table is found."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from marine_sets import small_set

from groundswell.core.errors import InputError
from groundswell.pipelines.marine import species as module
from groundswell.pipelines.marine.images import Annotations, ImageSet
from groundswell.pipelines.marine.labels import class_map
from groundswell.pipelines.marine.species import check, load_species

OWN = Path(module.__file__).with_name("species.yaml")


def test_the_table_that_comes_with_us_has_nothing_wrong_with_it() -> None:
    assert check(OWN, strict=True) == []
    table = load_species()
    assert [one.id for one in table] == list(range(36))
    ranges = {"critical": range(20), "important": range(20, 29), "general": range(29, 36)}
    assert all(table.priority_of(i) == name for name, ids in ranges.items() for i in ids)
    assert table.priority_of(-1) == ""
    assert table.colours == {"critical": "#FF0000", "important": "#FFA500", "general": "#00FF00"}
    assert {one.alert for one in table if one.priority == "critical"} == {"immediate"}


@pytest.mark.parametrize(("text", "found"), [
    ("eel", 25), ("eelgrass", 18), ("EEL", 25), ("  sea   star ", 23), ("Pycnopodia helianthoides", 14),
    ("lionfish", 0), ("Pterois miles", 0), ("sea_otter", 32), ("Epinephelus", 20), ("ee", None), ("eels", None),
    ("fish", None), ("", None), ("star", None), ("salmon shark", None)])
def test_names_are_matched_whole(text: str, found: int | None) -> None:
    one = load_species().by_name(text)
    assert (one.id if one else None) == found


def test_no_name_of_a_species_finds_another_one() -> None:
    table = load_species()
    for one in table:
        for name in (one.common_name, one.scientific_name, *one.concepts):
            assert table.by_name(name) == one


def test_overlapping_taxa_are_known_to_be_parts_of_each_other() -> None:
    table = load_species()
    star, sunflower, salmon, trout, urchin = (table.by_name(n) for n in (
        "sea star", "sunflower sea star", "salmon", "rainbow trout", "sea urchin"))
    assert star and sunflower and salmon and trout and urchin
    assert table.within(sunflower.id) == star.id
    assert table.within(trout.id) == salmon.id
    assert table.ancestors(trout.id) == (salmon.id, 35)
    assert set(table.parts(urchin.id)) == {1, 2, 3, 4}
    assert table.overlap(star.id, sunflower.id)
    assert not table.overlap(sunflower.id, urchin.id)
    jelly = table.by_name("jellyfish")
    assert jelly
    assert "Cnidaria" not in jelly.concepts  # corals and anemones are no jellyfish


def _broken(change: Any) -> Any:
    value = copy.deepcopy(yaml.safe_load(OWN.read_text()))
    change(value)
    return value


def _entry(value: Any, id: int) -> dict[str, Any]:
    return next(e for part in value["species"].values() for e in part if e["id"] == id)


MISTAKES = {
    "total_species is 37": lambda v: v.update(total_species=37),
    "'categories' is missing": lambda v: v.pop("categories"),
    "categories.general.count is 8": lambda v: v["categories"]["general"].update(count=8),
    "is no colour": lambda v: v["categories"]["general"].update(color="green"),
    "lacks 'description'": lambda v: v["categories"]["critical"].pop("description"),
    "class_ranges.important is 21 to 28": lambda v: v["class_ranges"].update(important=[21, 28]),
    "class_ranges.important is not two numbers": lambda v: v["class_ranges"].update(important=[21]),
    "unknown priority 'low'": lambda v: v["species"].update(low=[]),
    "the id 3 is given 2 times": lambda v: _entry(v, 4).update(id=3),
    "ids do not run from 0 without a gap: 4, 36, 37, 38, 39 missing": lambda v: _entry(v, 4).update(id=40),
    "has the id 28, outside of 29 to 35": lambda v: v["species"]["general"].append(
        {**v["species"]["important"].pop(), "alert_priority": "normal"}),
    "lacks 'scientific_name'": lambda v: _entry(v, 5).pop("scientific_name"),
    "lacks 'common_name'": lambda v: _entry(v, 5).update(common_name=""),
    "which is not of the type int": lambda v: _entry(v, 5).update(id="5"),
    "which is not of the type list": lambda v: _entry(v, 5).update(fathomnet_concepts="Echinoidea"),
    "of critical species it is immediate": lambda v: _entry(v, 5).update(alert_priority="high"),
    "is called 'eel', and so is the species 18": lambda v: _entry(v, 18).update(common_name="eel"),
    "is called 'asteroidea'": lambda v: _entry(v, 14)["fathomnet_concepts"].append("Asteroidea"),
    "names the concept 'Zostera' twice": lambda v: _entry(v, 18)["fathomnet_concepts"].append("Zostera"),
    "leads to the group 99": lambda v: _entry(v, 5).update(within=99),
    "is within itself: 14 in 23 in 14": lambda v: _entry(v, 23).update(within=14),
    "unknown key 'colour'": lambda v: _entry(v, 5).update(colour="red"),
    "no mapping": lambda v: v["species"]["general"].append("fish"),
}
UNTIDY = {
    "has no concept": lambda v: _entry(v, 18).update(fathomnet_concepts=[]),
    "is not written like one": lambda v: _entry(v, 18).update(scientific_name="zostera Marina"),
    "its scientific name among its concepts": lambda v: _entry(v, 18).update(fathomnet_concepts=["Zostera"]),
    "is of the genus of species 22, and is not within it": lambda v: _entry(v, 13).pop("within"),
    "order of their ids": lambda v: v["species"]["general"].reverse(),
    "unknown key 'version'": lambda v: v.update(version=2),
    "stray blanks": lambda v: _entry(v, 18).update(common_name="eel  grass"),
}


@pytest.mark.parametrize("words", MISTAKES)
def test_every_mistake_is_found_and_the_table_refused(words: str) -> None:
    value = _broken(MISTAKES[words])
    assert any(words in problem for problem in check(value))
    with pytest.raises(InputError, match="mistake"):
        module.SpeciesTable(value)


@pytest.mark.parametrize("words", UNTIDY)
def test_what_would_work_but_should_not_stay_is_found_if_strict(words: str) -> None:
    value = _broken(UNTIDY[words])
    assert check(value, strict=False) == []
    assert any(words in problem for problem in check(value, strict=True))


@pytest.mark.parametrize("text", ["", "- a\n- b", "species: 3\ntotal_species: 1\ncategories: {}\nclass_ranges: []",
                                  "a: [", "critical_species: {}"])
def test_files_that_hold_no_table_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(InputError):
        load_species(tmp_path / "t.yaml")
    with pytest.raises(InputError, match="no such table"):
        load_species(tmp_path / "none.yaml")


NAMES = ("lionfish", "a fish nobody named", "sea star", "sunflower sea star", "California sheepshead")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return small_set(tmp_path_factory.mktemp("set") / "set", clips=5, frames=3, classes=NAMES,
                     species=[0, -1, 23, 14, 9])


@pytest.mark.parametrize(("mode", "names", "of", "priority"), [
    ("own", NAMES, [0, 1, 2, 3, 4], ("critical", "", "important", "critical", "critical")),
    ("animal", ("animal",), [0] * 5, ("",)),
    ("priority", ("critical", "important"), [0, -1, 1, 0, 0], ("critical", "important")),
    ("species", ("lionfish", "California sheepshead", "sunflower sea star", "sea star"), [0, -1, 3, 2, 1],
     ("critical", "critical", "critical", "important")),
])
def test_classes_are_mapped_as_the_recipe_says(images: ImageSet, mode: Any, names: tuple, of: list,
                                              priority: tuple) -> None:
    told = class_map(images, mode)
    assert told.names == names
    assert told.of.tolist() == of
    assert told.priority == priority
    assert len(told.species) == len(names)
    table = told.table(images)
    assert table.classes == names
    frame = images.boxes.assign(new=told.of[images.boxes["label"]])
    frame = frame[frame["new"] >= 0]
    often = frame["new"].value_counts()
    for row, name in enumerate(table.column("sample_id")):
        mine = frame.loc[frame["image"] == name, "new"]
        assert table.column("boxes").iloc[row] == len(mine)
        label = table.labels()[row]
        assert (label == -1) if mine.empty else (often[label] == often[mine].min() and label in set(mine))


def test_boxes_that_are_not_told_apart_are_ignored_for_every_class(images: ImageSet) -> None:
    told = class_map(images, "priority")
    known = Annotations(np.array([[0, 0, 5, 5], [1, 1, 9, 9]], np.float32), np.array([1, 2]), np.array([7, 8]),
                        np.array([False, False]))
    found = told.applied(known)
    assert found.label.tolist() == [1, 0, 1]
    assert found.crowd.tolist() == [False, True, True]
    assert found.boxes.tolist() == [[1, 1, 9, 9], [0, 0, 5, 5], [0, 0, 5, 5]]
    assert found.track.tolist() == [8, 7, 7]


def test_a_set_without_classes_or_species_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no classes"):
        class_map(small_set(tmp_path / "a", frames=1, clips=0, classes=()), "own")
    with pytest.raises(InputError, match="table of species"):
        class_map(small_set(tmp_path / "b"), "species")
