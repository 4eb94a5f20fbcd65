"""Images of the table's concepts arrive with their boxes and classes, whatever the server does, and only once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from file_server import FileServer
from marine_sets import picture

from groundswell.core.errors import BusyError, FailureError, InputError, MissingExtraError
from groundswell.core.locks import held
from groundswell.pipelines.marine.acquire import fathomnet as module
from groundswell.pipelines.marine.acquire.fathomnet import OUTSIDE, PATIENCE, download_fathomnet
from groundswell.pipelines.marine.acquire.web import Patience
from groundswell.pipelines.marine.image_files import encode
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.species import load_species

SOON = Patience(tries=3, wait_s=0.01, longest_s=0.05, stall_s=2.0)
SPECIES = load_species()
LION, STAR, SUN = "Pterois volitans", "Asteroidea", "Pycnopodia helianthoides"
ASK = "/images/query/concept/"


def _box(concept: str | None, x=10, y=8, width=20, height=12, **facts) -> dict:
    return {"uuid": "b0b0b0b0", "concept": concept, "x": x, "y": y, "width": width, "height": height, **facts}


class Sea:
    """A server with images and what it says of them; records are in the shape that the real one sends."""

    def __init__(self) -> None:
        self.server = FileServer({})

    def put(self, concept: str, uuid: str, *boxes: dict, size=(64, 48), data: bytes | None = None, **facts) -> None:
        """An image that a concept is asked for."""
        self.server.files[f"/static/{uuid}.png"] = data or encode(picture(hash(uuid) % 97, *size), ".png")
        record = {"id": 1, "uuid": uuid, "url": f"{{url}}/static/{uuid}.png", "valid": True, "width": size[0],
                  "height": size[1], "boundingBoxes": list(boxes), "sha256": "0" * 64,
                  "contributorsEmail": "someone@sea.example", "timestamp": "2020-06-01T10:00:00Z",
                  "latitude": 36.7, "longitude": -122.0, "depthMeters": 321.5, **facts}
        self.server.files.setdefault(ASK + concept, []).append(record)

    def addressed(self) -> None:
        """Write the server's address into its records."""
        for rows in [rows for path, rows in self.server.files.items() if path.startswith(ASK)]:
            for row in rows:
                if isinstance(row, dict) and "url" in row:
                    row["url"] = row["url"].replace("{url}", self.server.url)

    def get(self, out: Path, *concepts: str, **options) -> list[str]:
        """Download while the server runs."""
        self.addressed()
        return download_fathomnet(out, list(concepts) or None, endpoint=self.server.url,
                                  **{"patience": SOON, **options})


@pytest.fixture
def sea():
    made = Sea()
    with made.server.running():
        yield made


def _report(out: Path) -> dict:
    return json.loads((out / "fathomnet.json").read_text())


def test_images_arrive_with_boxes_classes_and_what_is_known_of_them(sea, tmp_path):
    sea.put(LION, "aaaa-1", _box(LION), _box("Pterois", x=40, groupOf=True))
    sea.put(SUN, "bbbb-2", _box(SUN), depthMeters=None, latitude=None, timestamp=None)
    lines = sea.get(tmp_path / "set", LION, SUN)
    images = ImageSet.open(tmp_path / "set")
    assert images.classes == ("lionfish", "sunflower sea star") and images.species == (0, 14)
    first = images.annotations("aaaa-1")
    assert first.boxes.tolist() == [[10, 8, 30, 20], [40, 8, 60, 20]] and first.crowd.tolist() == [False, True]
    row = images.images.set_index("image").loc["aaaa-1"]
    assert (row["source"], row["depth_m"], row["latitude"], str(row["time"])) == (
        "fathomnet", 321.5, 36.7, "2020-06-01 10:00:00+00:00") and row["annotated"]
    assert images.file("aaaa-1").read_bytes() == sea.server.files["/static/aaaa-1.png"]
    images.verify()
    assert "2 images, 3 boxes of 2 classes" in lines[0] and sorted(tmp_path.iterdir()) == [tmp_path / "set"]


def test_the_class_of_a_box_is_that_of_its_own_concept_in_the_table_and_never_another(sea, tmp_path):
    """What the original got wrong: an empty map of classes, boxes of class 36, and names matched by their parts."""
    concepts = [name for one in SPECIES for name in one.concepts]
    assert len(concepts) >= 36
    sea.put(STAR, "all0", *(_box(name, x=number % 40, width=1 + number // 40) for number, name in enumerate(concepts)))
    sea.put(STAR, "odd1", _box("Zostera marina bed"), _box("eelgrasses", x=0), _box("Aster", x=1), _box(SUN, x=2))
    sea.get(tmp_path / "set", STAR)
    images = ImageSet.open(tmp_path / "set")
    assert images.species == (*range(36), -1) and images.classes[-1] == OUTSIDE
    assert [images.species[label] for label in images.annotations("all0").label] == [
        SPECIES.by_name(name).id for name in concepts]
    assert [images.species[label] for label in images.annotations("odd1").label] == [-1, -1, -1, 14]
    assert _report(tmp_path / "set")["boxes_outside_table"] == 3


def test_an_image_of_several_concepts_is_fetched_once(sea, tmp_path):
    for concept in (STAR, SUN):
        sea.put(concept, "aaaa-1", _box(STAR), _box(SUN, x=1))
    sea.get(tmp_path / "set", STAR, SUN)
    assert len(ImageSet.open(tmp_path / "set")) == 1 and len(sea.server.requests("/static/aaaa-1.png")) == 1
    assert _report(tmp_path / "set")["images_of_concept"] == {STAR: 1, SUN: 1}


def test_the_whole_table_is_asked_for_when_no_concept_is_named(sea, tmp_path):
    for one in SPECIES:
        for name in one.concepts:
            sea.server.files[ASK + name] = []
    sea.put(LION, "aaaa-1", _box(LION))
    sea.get(tmp_path / "set")
    assert {path.removeprefix(ASK) for path, _, _ in sea.server.asked if path.startswith(ASK)} == {
        name for one in SPECIES for name in one.concepts}


def test_large_images_are_shrunk_with_their_boxes_and_boxes_are_cut_to_the_image(sea, tmp_path):
    sea.put(LION, "big0", _box(LION, 400, 30, 800, 60), _box(LION, -50, 100, 100, 900), _box(LION, 9000, 0, 5, 5),
            _box(LION, 5, 5, 0, 5), size=(3840, 160))
    sea.put(LION, "said", _box(LION, 128, 96, 64, 48), width=256, height=192)
    sea.put(LION, "else", _box(LION), width=48, height=64)
    sea.get(tmp_path / "set", LION)
    images = ImageSet.open(tmp_path / "set")
    assert images.read("big0").shape == (80, 1920, 3)
    assert images.annotations("big0").boxes.tolist() == [[200, 15, 600, 45], [0, 50, 25, 80]]
    assert images.annotations("said").boxes.tolist() == [[32, 24, 48, 36]]
    assert not len(images.annotations("else")) and not images.images.set_index("image").loc["else", "annotated"]
    told = _report(tmp_path / "set")
    assert told["boxes_left_out"]["outside_image"] == 2 and told["boxes_clipped"] == 1
    assert told["images_of_another_shape"] == 1


def test_rejected_boxes_and_records_that_cannot_be_read_are_counted_and_left_out(sea, tmp_path):
    sea.put(LION, "aaaa-1", _box(LION), _box(LION, rejected=True), _box(LION, reviewState="REJECTED"), _box(None),
            _box(LION, x=None), _box(LION, x=30, reviewState="VERIFIED"))
    sea.put(LION, "../../up", _box(LION))
    sea.put(LION, "file", _box(LION), url="file:///etc/passwd")
    sea.put(LION, "bracket", _box(LION), url="http://[/a.png")
    sea.put(LION, "text", _box(LION), width="wide")
    sea.server.files[ASK + LION] += ["nothing", None, {"uuid": None}]
    sea.get(tmp_path / "set", LION)
    assert list(ImageSet.open(tmp_path / "set").images["image"]) == ["aaaa-1"]
    told = _report(tmp_path / "set")["boxes_left_out"]
    assert (told["rejected"], told["unreadable"]) == (2, 9) and told["outside_image"] == 0
    assert sorted(tmp_path.iterdir()) == [tmp_path / "set"]


@pytest.mark.parametrize("fault", [500, 503, 429, ("cut", 40), ("stall", 40), ("body", b"{not json"), ("body", b"{}")])
def test_answers_that_fail_are_asked_for_again(sea, tmp_path, fault):
    sea.put(LION, "aaaa-1", _box(LION))
    sea.server.faults = {ASK + LION: [fault, fault]}
    sea.get(tmp_path / "set", LION)
    assert len(sea.server.requests(ASK + LION)) == 3 and len(ImageSet.open(tmp_path / "set")) == 1


@pytest.mark.parametrize("fault", [500, 503, 429, ("cut", 40), ("stall", 40)])
def test_images_that_fail_are_fetched_again(sea, tmp_path, fault):
    sea.put(LION, "aaaa-1", _box(LION))
    sea.server.faults = {"/static/aaaa-1.png": [fault, fault]}
    sea.get(tmp_path / "set", LION)
    assert len(sea.server.requests("/static/aaaa-1.png")) == 3
    ImageSet.open(tmp_path / "set").verify()


def test_a_concept_that_the_server_does_not_know_has_no_images(sea, tmp_path):
    sea.put(LION, "aaaa-1", _box(LION))
    sea.get(tmp_path / "set", LION, "Zostera")
    assert _report(tmp_path / "set")["images_of_concept"] == {LION: 1, "Zostera": 0}
    assert len(sea.server.requests(ASK + "Zostera")) == 1


def test_images_that_do_not_arrive_are_told_and_fetched_by_the_next_call(sea, tmp_path):
    for number in range(4):
        sea.put(LION, f"img{number}", _box(LION))
    good = sea.server.files.pop("/static/img1.png")
    sea.server.files["/static/img2.png"] = b""
    sea.server.files["/static/img3.png"] = b"\x89PNG cut"
    lines = sea.get(tmp_path / "set", LION)
    assert list(ImageSet.open(tmp_path / "set").images["image"]) == ["img0"]
    assert any("3 image(s) did not arrive" in line for line in lines) and "Run again" in lines[-1]
    assert set(_report(tmp_path / "set")["images_failed"]) == {"img1", "img2", "img3"}
    for number in (1, 2, 3):
        sea.server.files[f"/static/img{number}.png"] = good
    sea.server.asked.clear()
    assert "did not arrive" not in "".join(sea.get(tmp_path / "set", LION))
    assert sorted(path for path, _, _ in sea.server.asked) == [f"/static/img{n}.png" for n in (1, 2, 3)]
    assert len(ImageSet.open(tmp_path / "set")) == 4 and sorted(tmp_path.iterdir()) == [tmp_path / "set"]


def test_a_second_call_adds_concepts_and_fetches_no_image_again(sea, tmp_path):
    sea.put(LION, "aaaa-1", _box(LION))
    sea.put(SUN, "bbbb-2", _box(SUN))
    sea.get(tmp_path / "set", LION)
    sea.get(tmp_path / "set", SUN)
    assert ImageSet.open(tmp_path / "set").species == (0, 14)
    assert len(sea.server.requests("/static/aaaa-1.png")) == 1
    before = ImageSet.open(tmp_path / "set").fingerprint()
    sea.server.faults[ASK + SUN] = [500] * 3
    with pytest.raises(FailureError, match="stays as it was"):
        sea.get(tmp_path / "set", LION)
    assert ImageSet.open(tmp_path / "set").fingerprint() == before


def test_the_first_images_of_a_concept_are_the_same_each_time(sea, tmp_path):
    for number in (3, 1, 2, 0):
        sea.put(LION, f"img{number}", _box(LION))
    sea.get(tmp_path / "two", LION, most=2)
    assert list(ImageSet.open(tmp_path / "two").images["image"]) == ["img0", "img1"]


def test_ten_are_fetched_at_once_and_no_more(sea, tmp_path):
    for number in range(30):
        sea.put(LION, f"img{number:02}", _box(LION))
    sea.server.think_s = 0.05
    sea.get(tmp_path / "set", LION)
    assert 5 <= sea.server.busiest <= 10 and len(ImageSet.open(tmp_path / "set")) == 30


def test_what_one_contributor_took_on_one_day_at_sea_is_one_clip(sea, tmp_path):
    sea.put(LION, "img0", _box(LION), timestamp="2020-06-01T23:30:00Z")
    sea.put(LION, "img1", _box(LION), timestamp="2020-06-02T00:30:00Z")  # the same afternoon off California
    sea.put(LION, "img2", _box(LION), timestamp="2020-06-02T23:30:00Z")
    sea.put(LION, "img3", _box(LION), timestamp="2020-06-01T23:30:00Z", contributorsEmail="other@sea.example")
    sea.put(LION, "img4", _box(LION), timestamp="never")
    sea.get(tmp_path / "set", LION)
    clip = ImageSet.open(tmp_path / "set").images.set_index("image")["clip"]
    assert clip["img0"] == clip["img1"] and clip.nunique() == 4 and clip["img4"].endswith("/static")
    assert not clip.str.contains("@").any()


def test_a_killed_download_goes_on_without_what_it_had(sea, tmp_path):
    for number in range(6):
        sea.put(LION, f"img{number}", _box(LION))
    sea.server.faults = {f"/static/img{number}.png": [("stall", 10)] for number in (4, 5)}
    sea.server.stall_s = 30
    sea.addressed()
    code = ("import sys; from pathlib import Path; "
            "from groundswell.pipelines.marine.acquire.fathomnet import download_fathomnet; "
            "download_fathomnet(Path(sys.argv[1]), ['Pterois volitans'], endpoint=sys.argv[2])")
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "set"), sea.server.url],
                               env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, stderr=subprocess.DEVNULL)
    journal, until = tmp_path / "set.download" / "journal.jsonl", time.monotonic() + 60
    while time.monotonic() < until and not (journal.exists() and journal.read_text().count("\n") == 4):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "set").exists()
    with open(journal, "a") as torn:
        torn.write('{"name": "img')
    (journal.parent / "images" / "img0.png").write_bytes(b"half")
    sea.server.asked.clear()
    sea.get(tmp_path / "set", LION)
    assert sorted({path for path, _, _ in sea.server.asked}) == ["/static/img0.png", "/static/img4.png",
                                                                "/static/img5.png"]
    ImageSet.open(tmp_path / "set").verify()
    assert len(ImageSet.open(tmp_path / "set")) == 6 and sorted(tmp_path.iterdir()) == [tmp_path / "set"]


def test_a_server_that_is_gone_ends_it_soon_and_keeps_what_arrived(sea, tmp_path, monkeypatch):
    sea.put(LION, "aaaa-1", _box(LION))
    sea.server.faults = {ASK + name: [500] * 9 for name in ("Zostera", "Pterois", "Labridae")}
    with pytest.raises(FailureError, match="cannot be asked for 'Labridae'"):
        sea.get(tmp_path / "set", LION, "Zostera", "Pterois", "Labridae", SUN)
    assert not (tmp_path / "set").exists() and not sea.server.requests(ASK + SUN)
    monkeypatch.setattr("groundswell.pipelines.marine.acquire.fetching._IN_A_ROW", 3)
    for number in range(20):
        sea.put(SUN, f"img{number}", _box(SUN))
        sea.server.faults[f"/static/img{number}.png"] = [500] * 3
    with pytest.raises(FailureError, match="3 images in a row"):
        sea.get(tmp_path / "set", LION, SUN, at_once=1)
    assert (tmp_path / "set.download" / "journal.jsonl").read_text().count("aaaa-1.png") == 1


@pytest.mark.parametrize(("options", "what"), [({"concepts": ["eelgras"]}, "'eelgras' is no concept"),
                                               ({"most": -1}, "most is -1"), ({"at_once": 0}, "at_once 0"),
                                               ({"endpoint": "file:///etc"}, "no address")])
def test_what_is_asked_for_must_make_sense(tmp_path, options, what):
    with pytest.raises(InputError, match=what):
        download_fathomnet(tmp_path / "set", **options)
    assert list(tmp_path.iterdir()) == []


def test_other_folders_are_left_alone(sea, tmp_path):
    from marine_sets import small_set

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="no set of images"):
        sea.get(tmp_path / "mine", LION)
    small_set(tmp_path / "own")
    with pytest.raises(InputError, match="not from FathomNet"):
        sea.get(tmp_path / "own", LION)
    (tmp_path / "busy.download").mkdir()
    with held(tmp_path / "busy.download" / "lock"), pytest.raises(BusyError, match="Another process"):
        sea.get(tmp_path / "busy", LION)
    sea.server.files[ASK + LION] = []
    with pytest.raises(FailureError, match="no image has a box"):
        sea.get(tmp_path / "none", LION)
    assert not (tmp_path / "none").exists() and not sea.server.requests("/static/aaaa-1.png")


def test_without_the_package_one_is_told_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fathomnet.api.images", None)
    with pytest.raises(MissingExtraError, match=r"groundswell\[marine\]"):
        download_fathomnet(tmp_path / "set", [LION])


def test_a_stop_in_the_middle_leaves_threads_and_set_alone(sea, tmp_path, monkeypatch):
    for number in range(8):
        sea.put(LION, f"img{number}", _box(LION))

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_write", stopped)
    with pytest.raises(KeyboardInterrupt):
        sea.get(tmp_path / "set", LION)
    assert not any(thread.name.startswith("groundswell-fetch") for thread in threading.enumerate())
    monkeypatch.undo()
    sea.server.asked.clear()
    sea.get(tmp_path / "set", LION)
    assert sea.server.asked == [] and len(ImageSet.open(tmp_path / "set")) == 8


def test_waits_are_two_to_ten_seconds_and_there_are_three_tries():
    waits = np.array([[PATIENCE.pause(attempt, f"{name}") for attempt in range(3)] for name in range(200)])
    assert PATIENCE.tries == 3 and waits.min() >= 2 and waits.max() <= 10 and waits.std(axis=0).min() > 0.1
