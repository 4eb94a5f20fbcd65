"""Maps, GeoJSON and the page of an audit: what is drawn is there, counted rightly, and needs nothing from elsewhere."""

from __future__ import annotations

import json
import re
import struct
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from groundswell.cli.main import main
from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable
from groundswell.pipelines.biodiversity.audit_page import write_audit
from groundswell.pipelines.biodiversity.maps import draw_map, write_geojson
from groundswell.pipelines.biodiversity.observations import observation_table, read_observations
from groundswell.pipelines.biodiversity.simulate.simulating import simulate_store
from groundswell.splits.make import make_split
from groundswell.splits.manifest import SplitManifest
from groundswell.splits.parts import EXCLUDED, TEST, TRAIN, VALIDATION
from groundswell.splits.recipe import SplitRecipe

PARTS = {EXCLUDED: "left out", TRAIN: "train", VALIDATION: "validation", TEST: "test"}
Divided = tuple[SampleTable, SplitManifest]


@pytest.fixture(scope="module")
def divided(tmp_path_factory: pytest.TempPathFactory) -> Divided:
    """A simulated table, divided by squares with a buffer so that all parts are there."""
    store = simulate_store(tmp_path_factory.mktemp("maps") / "store", count=300, species=5, tiers=(),
                           observed={"places": 80, "extent_km": 40.0})
    table = observation_table(read_observations(store.path), origin=dict(store.note))
    recipe = SplitRecipe(regime="spatial", cell_km=5.0, buffer_m=2000.0, test=0.2, validation=0.2, seed=3)
    manifest = make_split(table, recipe)
    assert set(manifest.assignment[:, 0]) == set(PARTS)
    return table, manifest


@pytest.fixture(scope="module")
def audit(divided: Divided, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    write_audit(folder, *divided, name="a <b>bold</b> name")
    return folder


def test_a_png_is_one_of_a_size_to_look_at(divided: Divided, tmp_path: Path) -> None:
    content = draw_map(*divided, tmp_path / "map.png").read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    assert width >= 800 and height >= 600


def test_an_svg_is_xml_and_loads_nothing(divided: Divided, tmp_path: Path) -> None:
    text = draw_map(*divided, tmp_path / "map.svg").read_text()
    assert ElementTree.fromstring(text).tag.endswith("svg")
    links = re.findall(r'(?:href|src)="([^"]*)"', text) + re.findall(r"url\(([^)]*)\)", text)
    assert not [link for link in links if not link.startswith(("#", "data:"))]


def test_the_same_division_is_the_same_map(divided: Divided, tmp_path: Path) -> None:
    assert (draw_map(*divided, tmp_path / "a.svg").read_bytes() == draw_map(*divided, tmp_path / "b.svg").read_bytes())


def test_another_ending_is_refused(divided: Divided, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="PNG or SVG"):
        draw_map(*divided, tmp_path / "map.jpg")
    assert not list(tmp_path.iterdir())


def points(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [f for f in document["features"] if f["geometry"]["type"] == "Point"]


def test_geojson_has_every_observation_once_in_its_part(divided: Divided, tmp_path: Path) -> None:
    table, manifest = divided
    document = json.loads(write_geojson(*divided, tmp_path / "split.geojson").read_text())
    assert document["type"] == "FeatureCollection"
    found = {f["properties"]["id"]: f for f in points(document)}
    assert len(found) == len(points(document)) == len(table)
    parts = Counter(f["properties"]["part"] for f in found.values())
    assert sorted(parts.values()) == sorted(Counter(manifest.assignment[:, 0].tolist()).values())
    ids, latitude, longitude = (table.column(name).to_numpy() for name in ("sample_id", "latitude", "longitude"))
    for name, north, east in zip(ids, latitude, longitude, strict=True):
        # RFC 7946: longitude first.
        assert found[name]["geometry"]["coordinates"] == pytest.approx([east, north], abs=1e-6)


def test_geojson_is_what_the_standard_asks_for(divided: Divided, tmp_path: Path) -> None:
    document = json.loads(write_geojson(*divided, tmp_path / "split.geojson").read_text(), parse_constant=pytest.fail)
    for feature in document["features"]:
        assert feature["type"] == "Feature" and isinstance(feature["properties"], dict)
        for ring in rings(feature["geometry"]):
            assert ring[0] == ring[-1] and len(ring) >= 4
            x, y = np.array(ring).T
            assert (np.abs(x) <= 180).all() and (np.abs(y) <= 90).all()
            assert ((x[:-1] * y[1:] - x[1:] * y[:-1]).sum()) >= 0, "an outer ring goes round against the clock"


def rings(geometry: dict[str, Any]) -> list[list[list[float]]]:
    if geometry["type"] == "Polygon":
        return geometry["coordinates"]
    several = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else []
    return [ring for polygon in several for ring in polygon]


class Links(HTMLParser):
    """Everything that a page asks a browser to load, and the tags that it is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.loads += [value or "" for name, value in attrs
                       if name in ("src", "srcset", "poster", "data", "action") or (name == "href" and tag == "link")]


def test_the_page_is_one_file_that_asks_for_nothing(audit: Path) -> None:
    page = (audit / "audit.html").read_text()
    found = Links()
    found.feed(page)
    assert found.loads and all(link.startswith("data:") for link in found.loads)
    assert not {"script", "iframe", "object", "embed", "link"} & set(found.tags)
    styles = "".join(re.findall(r"<style>(.*?)</style>", page, re.S))
    assert "@import" not in styles and "url(" not in styles.replace("url(data:", "")


def test_the_page_says_what_was_found_and_escapes_names(audit: Path, divided: Divided) -> None:
    page = (audit / "audit.html").read_text()
    facts = json.loads((audit / "audit.json").read_text())
    assert "a &lt;b&gt;bold&lt;/b&gt; name" in page and "<b>bold</b>" not in page
    assert "Simulated data." in page
    assert "Is the test harder than a random one?" in page
    for part, count in facts["counts"].items():
        assert f"{count:,} {'left out' if part == 'excluded' else part}" in page
    assert sum(facts["counts"].values()) == len(divided[0])


def test_the_folder_holds_pictures_in_both_forms(audit: Path) -> None:
    names = {path.name for path in audit.iterdir()}
    pictures = {f"{name}.{kind}" for name in ("map", "distances") for kind in ("png", "svg")}
    assert pictures | {"audit.html", "audit.json", "split.geojson"} <= names


def test_a_split_of_real_observations_is_not_called_simulated(real_biodiversity: Path, tmp_path: Path) -> None:
    """Only the embeddings beside them are: a division looks at observations alone."""
    store = tmp_path / "store"
    table = real_biodiversity / "central_florida_observations.csv"
    simulate_store(store, observations=table, count=150, tiers=("vision_mean",), language=False).close()
    words = ["biodiversity", "split", "quick", "--set", f"data.store={store}", "--out"]
    assert main([*words, str(tmp_path / "split")]) == 0
    assert "Simulated data." not in (tmp_path / "split" / "audit.html").read_text()
    assert json.loads((tmp_path / "split" / "audit.json").read_text())["samples"] == 150
