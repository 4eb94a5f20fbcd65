"""marine: everything that can be wrong with a table of species, in sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

PRIORITIES: Mapping[str, str] = {"critical": "immediate", "important": "high", "general": "normal"}
"""Priorities, the most urgent first, and the alert that goes with each."""
_NEEDED = {"id": int, "common_name": str, "scientific_name": str, "category": str, "alert_priority": str,
           "fathomnet_concepts": list}
_TOP = ("total_species", "class_ranges", "categories", "species")
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")
_LATIN = re.compile(r"[A-Z][a-z]+( [a-z][a-z-]+){0,2}")

Entry = tuple[str, str, Any]
"""Priority, what to call it in messages, and the entry itself."""


def problems(value: Any, *, strict: bool = False) -> list[str]:
    """What is wrong with a table, one sentence each; see :func:`groundswell.pipelines.marine.species.check`."""
    if not isinstance(value, dict):
        return ["the file holds no mapping with the keys " + ", ".join(_TOP)]
    missing = [f"the key '{key}' is missing" for key in _TOP if key not in value]
    if missing:
        return missing
    found = list(_shape(value))
    if found:
        return found
    entries = [(priority, f"species.{priority}[{place}]", entry) for priority in PRIORITIES
               for place, entry in enumerate(value["species"][priority])]
    found = [problem for entry in entries for problem in _fields(entry)]
    if found:  # what is compared below must be there first
        return found
    found = [*_counts(value, entries), *_numbers(value, entries), *_names(entries), *_groups(entries)]
    return [*found, *_untidy(value, entries)] if strict else found


def _shape(value: dict[str, Any]) -> Iterator[str]:
    for key in ("class_ranges", "categories", "species"):
        part = value[key]
        if not isinstance(part, dict):
            yield f"'{key}' is no mapping"
            continue
        yield from (f"'{key}' lacks '{name}'" for name in PRIORITIES if name not in part)
        yield from (f"'{key}' has an unknown priority '{name}'" for name in part if name not in PRIORITIES)
        for name in (name for name in PRIORITIES if name in part):
            kind, form = {"class_ranges": (list, "two numbers"), "categories": (dict, "a mapping"),
                          "species": (list, "a list")}[key]
            if not isinstance(part[name], kind):
                yield f"{key}.{name} is not {form}"
            elif key == "class_ranges" and (len(part[name]) != 2 or not all(_whole(n) for n in part[name])):
                yield f"{key}.{name} is not two numbers"
            elif key == "categories":
                yield from _category(name, part[name])


def _category(name: str, category: dict[str, Any]) -> Iterator[str]:
    yield from (f"categories.{name} lacks '{key}'" for key in ("count", "description", "color") if key not in category)
    if not _COLOUR.fullmatch(str(category.get("color", "#000000"))):
        yield f"categories.{name}.color '{category['color']}' is no colour such as #FF0000"


def _fields(entry: Entry) -> Iterator[str]:
    priority, where, fields = entry
    if not isinstance(fields, dict):
        yield f"{where} is no mapping"
        return
    for key, kind in _NEEDED.items():
        there = fields.get(key)
        if there is None or there == "":
            yield f"{where} lacks '{key}'"
        elif not isinstance(there, kind) or isinstance(there, bool):
            yield f"{where}.{key} is {there!r}, which is not of the type {kind.__name__}"
    yield from (f"{where} has an unknown key '{key}'" for key in fields if key not in (*_NEEDED, "within"))
    concepts = fields.get("fathomnet_concepts")
    if isinstance(concepts, list) and not all(isinstance(name, str) and name.strip() for name in concepts):
        yield f"{where}.fathomnet_concepts holds something that is no name"
    within = fields.get("within")
    if within is not None and not _whole(within):
        yield f"{where}.within is {within!r}, which is no id"
    alert = fields.get("alert_priority")
    if isinstance(alert, str) and alert != PRIORITIES[priority]:
        yield f"{where}.alert_priority is '{alert}'; of {priority} species it is {PRIORITIES[priority]}"


def _counts(value: dict[str, Any], entries: list[Entry]) -> Iterator[str]:
    if value["total_species"] != len(entries):
        yield f"total_species is {value['total_species']}, and there are {len(entries)}"
    for name in PRIORITIES:
        count, said = len(value["species"][name]), value["categories"][name]["count"]
        if count != said:
            yield f"categories.{name}.count is {said}, and there are {count}"


def _numbers(value: dict[str, Any], entries: list[Entry]) -> Iterator[str]:
    ids = [entry["id"] for _, _, entry in entries]
    yield from (f"the id {i} is given {ids.count(i)} times" for i in sorted(set(ids)) if ids.count(i) > 1)
    if sorted(set(ids)) != list(range(len(set(ids)))):
        gaps = sorted(set(range(max(ids, default=-1) + 1)) - set(ids))
        yield ("ids do not run from 0 without a gap: " +
               (f"{', '.join(map(str, gaps))} missing" if gaps else f"the smallest is {min(ids)}"))
    expected = 0
    for name in PRIORITIES:
        low, high = value["class_ranges"][name]
        if low != expected or high < low:
            yield f"class_ranges.{name} is {low} to {high}; it begins at {expected}"
        expected = high + 1
        yield from (f"{where} has the id {entry['id']}, outside of {low} to {high} for {name} species"
                    for priority, where, entry in entries if priority == name and not low <= entry["id"] <= high)
    if expected != len(ids):
        yield f"class_ranges end at {expected - 1}, and there are {len(ids)} species"


def _names(entries: list[Entry]) -> Iterator[str]:
    owner: dict[str, int] = {}
    for _, where, entry in entries:
        own = {entry["common_name"], entry["scientific_name"], *entry["fathomnet_concepts"]}
        for name in sorted({" ".join(name.split()).casefold() for name in own}):
            if name in owner:
                yield f"{where} is called '{name}', and so is the species {owner[name]}"
            owner.setdefault(name, entry["id"])
        repeated = entry["fathomnet_concepts"]
        yield from (f"{where} names the concept '{name}' twice" for name in sorted({n for n in repeated
                                                                                    if repeated.count(n) > 1}))


def _groups(entries: list[Entry]) -> Iterator[str]:
    above = {entry["id"]: entry.get("within") for _, _, entry in entries}
    for _, where, entry in entries:
        step, seen = entry.get("within"), [entry["id"]]
        while step is not None:
            if step not in above:
                yield f"{where} leads to the group {step}, which there is none of"
                break
            if step in seen:
                yield f"{where} is within itself: {' in '.join(map(str, [*seen, step]))}"
                break
            seen.append(step)
            step = above[step]


def _untidy(value: dict[str, Any], entries: list[Entry]) -> Iterator[str]:
    yield from (f"unknown key '{key}'" for key in value if key not in _TOP)
    ids = [entry["id"] for _, _, entry in entries]
    if ids != sorted(ids):
        yield "species do not stand in the order of their ids"
    by_genus = {entry["scientific_name"]: entry["id"] for _, _, entry in entries if " " not in entry["scientific_name"]}
    for _, where, entry in entries:
        if not entry["fathomnet_concepts"]:
            yield f"{where} has no concept, so nothing can be fetched for it"
        if not _LATIN.fullmatch(entry["scientific_name"]):
            yield f"{where}.scientific_name '{entry['scientific_name']}' is not written like one"
        if entry["scientific_name"] not in entry["fathomnet_concepts"]:
            yield f"{where} does not have its scientific name among its concepts"
        genus = entry["scientific_name"].split()[0]
        if genus in by_genus and by_genus[genus] not in (entry["id"], entry.get("within")):
            yield f"{where} is of the genus of species {by_genus[genus]}, and is not within it"
        for name in (entry["common_name"], *entry["fathomnet_concepts"]):
            if name != " ".join(name.split()):
                yield f"{where} has stray blanks in '{name}'"


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
