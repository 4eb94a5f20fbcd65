"""An archive of images becomes a set without boxes: whole, once each, and nothing that is hostile is unpacked."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from file_server import FileServer
from marine_sets import picture

from groundswell.core.errors import FailureError, InputError
from groundswell.pipelines.marine.acquire import deepfish
from groundswell.pipelines.marine.acquire.deepfish import download_deepfish, place_and_frame
from groundswell.pipelines.marine.acquire.web import Patience
from groundswell.pipelines.marine.exchange.archive_safety import Limits
from groundswell.pipelines.marine.image_files import encode
from groundswell.pipelines.marine.images import ImageSet

SOON = Patience(wait_s=0.01, longest_s=0.05, stall_s=2.0)
FIRST = encode(picture(1), ".jpg")
FILES = {
    "DeepFish/Classification/7117/empty/7117_no_fish_2_f000012.jpg": FIRST,
    "DeepFish/Classification/7117/valid/7117_Caranx_f000003.jpg": encode(picture(2), ".jpg"),
    "DeepFish/Localization/images/empty/7117_no_fish_2_f000012.jpg": FIRST,
    "DeepFish/Localization/masks/valid/7117_Caranx_f000003.png": encode(picture(3), ".png"),
    "DeepFish/Segmentation/images/valid/7117_Caranx_f000003.jpg": encode(picture(4), ".jpg"),
    "DeepFish/Segmentation/images/valid/9862_large.png": encode(picture(5, 2000, 40), ".png"),
    "DeepFish/Segmentation/._7117_Caranx_f000003.jpg": b"resource fork",
    "DeepFish/Localization/train.csv": b"ID,labels",
}


def _tar(files: dict[str, bytes], *, packed: bool = False, last: tarfile.TarInfo | None = None) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz" if packed else "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        if last is not None:
            archive.addfile(last)
    return made.getvalue()


@pytest.mark.parametrize("packed", [False, True])
def test_an_archive_becomes_a_set_without_boxes(tmp_path, packed):
    data = _tar(FILES, packed=packed)
    with FileServer({"/a/Deep%20Fish.tar".replace("%20", " "): data}).running() as server:
        lines = download_deepfish(tmp_path / "set", f"{server.url}/a/Deep%20Fish.tar?x=1", patience=SOON,
                                  sha256=hashlib.sha256(data).hexdigest())
    images = ImageSet.open(tmp_path / "set")
    images.verify()
    names = list(images.images["image"])
    assert names[:2] == ["7117_no_fish_2_f000012", "7117_Caranx_f000003"] and names[3] == "9862_large"
    assert names[2].startswith("7117_Caranx_f000003-") and len(names) == 4
    assert images.file(names[0]).read_bytes() == FIRST and images.read("9862_large").shape == (38, 1920, 3)
    assert not images.images["annotated"].any() and not len(images.boxes) and len(images.table()) == 0
    assert list(images.images["clip"]) == ["7117", "7117", "7117", "9862"]
    assert list(images.images["frame"]) == [12, 3, 3, -1] and set(images.images["source"]) == {"deepfish"}
    assert "4 images" in lines[0] and "1 were there twice" in lines[0] and "Saleh" in lines[1]
    assert sorted(tmp_path.iterdir()) == [tmp_path / "set"]


@pytest.mark.parametrize(("name", "told"), [
    ("a/7117_no_fish_2_f000012.jpg", ("7117", 12)), ("7490-f7-f000010.jpg", ("7490", 10)),
    ("b/reef_f0003.png", ("reef", 3)), ("f12.png", ("f12", 12)), ("left/cam.png", ("cam", -1)), ("12.png", ("12", -1))])
def test_places_and_frames_are_read_from_names(name, told):
    assert place_and_frame(name) == told


def test_a_broken_download_goes_on_and_the_archive_stays_until_the_set_is_there(tmp_path):
    data = _tar(FILES)
    with FileServer({"/a.tar": data}, {"/a.tar": [("cut", 3000)] * 5}).running() as server:
        with pytest.raises(FailureError, match="did not arrive"):
            download_deepfish(tmp_path / "set", f"{server.url}/a.tar", patience=Patience(tries=2, wait_s=0))
        assert not (tmp_path / "set").exists() and (tmp_path / "set.a.tar.part").stat().st_size == 6000
        server.faults.clear()
        download_deepfish(tmp_path / "set", f"{server.url}/a.tar", patience=SOON, keep=True)
        assert server.requests("/a.tar")[-1][0] == "bytes=6000-"
    assert (tmp_path / "set.a.tar").read_bytes() == data and len(ImageSet.open(tmp_path / "set")) == 4


def _kind(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize("last", [_kind("../../evil.jpg", tarfile.REGTYPE), _kind("/evil.jpg", tarfile.REGTYPE),
                                  _kind("evil.jpg", tarfile.SYMTYPE, "/etc/passwd"),
                                  _kind("evil.jpg", tarfile.LNKTYPE, "DeepFish/Localization/train.csv"),
                                  _kind("evil.jpg", tarfile.CHRTYPE), _kind("evil.jpg", tarfile.FIFOTYPE)],
                         ids=lambda info: f"{info.name} {info.type!r}")
def test_a_hostile_archive_is_refused_whole(tmp_path, last):
    (tmp_path / "a.tar").write_bytes(_tar(FILES, last=last))
    with pytest.raises(InputError, match="archive"):
        download_deepfish(tmp_path / "set", str(tmp_path / "a.tar"))
    assert sorted(tmp_path.iterdir()) == [tmp_path / "a.tar"]


def test_a_bomb_is_refused(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(_tar({"a.png": bytes(30 << 20)}, packed=True))
    with pytest.raises(InputError, match="bomb"):
        download_deepfish(tmp_path / "set", str(tmp_path / "a.tar.gz"))
    with pytest.raises(InputError, match="at most 1,000 are read"):
        download_deepfish(tmp_path / "set", str(tmp_path / "a.tar.gz"), limits=Limits(file_bytes=1000))
    assert sorted(tmp_path.iterdir()) == [tmp_path / "a.tar.gz"]


@pytest.mark.parametrize("broken", [_tar(FILES)[:700], _tar({"a.txt": b"1"})], ids=["damaged", "without an image"])
def test_an_archive_that_came_and_cannot_be_used_is_fetched_anew(tmp_path, broken):
    with FileServer({"/a.tar": broken}).running() as server:
        with pytest.raises(InputError, match="archive"):
            download_deepfish(tmp_path / "set", f"{server.url}/a.tar", patience=SOON)
        assert (tmp_path / "set.a.tar.aside").read_bytes() == broken and not (tmp_path / "set.a.tar").exists()
        server.files["/a.tar"] = _tar(FILES)
        download_deepfish(tmp_path / "set", f"{server.url}/a.tar", patience=SOON)
        assert len(server.asked) == 2
    assert len(ImageSet.open(tmp_path / "set")) == 4


def test_an_archive_of_the_same_name_from_elsewhere_is_another(tmp_path):
    with FileServer({"/old/a.tar": _tar(FILES), "/new/a.tar": _tar({"b.jpg": FIRST})}).running() as server:
        download_deepfish(tmp_path / "set", f"{server.url}/old/a.tar", patience=SOON, keep=True)
        (tmp_path / "set").rename(tmp_path / "first")
        download_deepfish(tmp_path / "set", f"{server.url}/old/a.tar", patience=SOON, keep=True)
        assert len(server.asked) == 1
        (tmp_path / "set").rename(tmp_path / "second")
        download_deepfish(tmp_path / "set", f"{server.url}/new/a.tar", patience=SOON)
        with pytest.raises(InputError, match="404"):
            download_deepfish(tmp_path / "third", f"{server.url}/no/a.tar", patience=SOON)
    assert list(ImageSet.open(tmp_path / "set").images["image"]) == ["b"]
    assert {path.name for path in tmp_path.iterdir()} == {"first", "second", "set", "set.a.tar.aside"}


def test_a_set_that_cannot_be_written_costs_no_second_download(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise InputError("Cannot write here", where=tmp_path)

    with FileServer({"/a.tar": _tar(FILES)}).running() as server:
        monkeypatch.setattr(deepfish, "ImageWriter", full)
        with pytest.raises(InputError, match="Cannot write"):
            download_deepfish(tmp_path / "set", f"{server.url}/a.tar", patience=SOON)
        monkeypatch.undo()
        download_deepfish(tmp_path / "set", f"{server.url}/a.tar", patience=SOON)
        assert len(server.asked) == 1


def test_names_in_any_script_are_cut_as_file_systems_count(tmp_path):
    (tmp_path / "a.tar").write_bytes(_tar({chr(0x6d77) * 120 + ".jpg": FIRST}))
    download_deepfish(tmp_path / "set", str(tmp_path / "a.tar"))
    assert list(ImageSet.open(tmp_path / "set").images["image"]) == [chr(0x6d77) * 60]


def test_images_that_cannot_be_read_are_told_and_the_others_kept(tmp_path):
    bad = {"x/empty.jpg": b"", "x/cut.jpg": FIRST[:400], "x/text.png": b"hello"}
    (tmp_path / "a.tar").write_bytes(_tar(FILES | bad))
    lines = download_deepfish(tmp_path / "set", str(tmp_path / "a.tar"))
    assert len(ImageSet.open(tmp_path / "set")) == 4 and "3 image(s) cannot be read" in lines[-1]
    (tmp_path / "b.tar").write_bytes(_tar(bad))
    with pytest.raises(InputError, match="None of the 3 images"):
        download_deepfish(tmp_path / "other", str(tmp_path / "b.tar"))
    (tmp_path / "c.tar").write_bytes(_tar({"a.txt": b"1"}))
    with pytest.raises(InputError, match="no image among the 1 files"):
        download_deepfish(tmp_path / "other", str(tmp_path / "c.tar"))
    assert not (tmp_path / "other").exists()


def test_what_is_there_is_not_written_over(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="already"):
        download_deepfish(tmp_path / "set", "https://127.0.0.1:1/a.tar")
    with pytest.raises(InputError, match="no address"):
        download_deepfish(tmp_path / "new", str(tmp_path / "nowhere.tar"))
    assert Path(tmp_path / "set" / "thesis.tex").exists()
