"""Files are whole or not there; paths never leave their root."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from groundswell.core import files
from groundswell.core.errors import FailureError, InputError
from groundswell.core.files import atomic_folder, atomic_path, inside, read_json, shown, write_json, write_text


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(FailureError, match="No space left"), atomic_path(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert path.read_text() == "old"


def test_json_refuses_what_json_has_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


def test_bad_json_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1,\n "b": }')
    with pytest.raises(InputError, match=r"a\.json, line 2"):
        read_json(tmp_path / "a.json")
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "b.json")


@pytest.mark.parametrize("text", ["9" * 5000, "[" * 100_000 + "]" * 100_000, "\xff"])
def test_json_that_cannot_be_taken_in_is_bad_input(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_bytes(b'{"a": ' + text.encode("latin-1") + b"}")
    with pytest.raises(InputError, match=r"Cannot be read.*a\.json"):
        read_json(tmp_path / "a.json")


def test_text_that_cannot_be_written_again_is_mended_where_it_enters(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(r'{"\uD800a": ["\udcff.jpg", "\ud83d\udc1f", "\\ud800", 1e400]}')
    value = read_json(tmp_path / "a.json")
    assert value == {"\ufffda": ["\ufffd.jpg", "\U0001f41f", r"\ud800", float("inf")]}
    write_text(tmp_path / "b.txt", str(value))


@pytest.mark.parametrize("name", ["a\0b", "a" * 5000, "\u6d77" * 86 + ".jpg", "\ud800.jpg", "d/" * 2100 + "a", "loop"])
def test_a_path_that_no_file_can_have_is_bad_input(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError, match="No file can have the path") as caught:
        inside(tmp_path, name)
    assert len(str(caught.value)) < 600 and str(caught.value).isascii()


def test_names_that_are_not_utf_8_are_shown_as_text_and_others_as_they_are() -> None:
    assert shown(Path(os.fsdecode(b"dive/\xff\xe6\xb5\xb7.jpg"))) == "dive/\\xff\u6d77.jpg"
    assert shown("\ud800") == "\ufffd"


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "link/x"])
def test_paths_stay_inside(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match="outside its folder"):
        inside(root, name)


def test_a_path_inside_is_resolved(tmp_path: Path) -> None:
    assert inside(tmp_path, "a/../b.h5") == tmp_path.resolve() / "b.h5"


KILLED = """
import os, signal, sys
from pathlib import Path
from groundswell.core import files

def killed(*names):
    rename(*names)
    os.kill(os.getpid(), signal.SIGKILL)

rename, os.replace = os.replace, killed
if sys.argv[2] == "steps":
    files._exchanged = lambda one, other: False
with files.atomic_folder(Path(sys.argv[1]), replaces="mark") as folder:
    (folder / "mark").write_text("new")
"""


def _old_folder(path: Path) -> Path:
    path.mkdir()
    write_text(path / "mark", "old")
    return path


def _kill_between(path: Path, how: str) -> int:
    return subprocess.run([sys.executable, "-c", KILLED, str(path), how], timeout=120, check=False,
                          env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}).returncode


def test_a_folder_is_exchanged_in_one_step_that_no_kill_divides(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    if not files._exchanged(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot exchange folders")
    made = _old_folder(tmp_path / "made")
    assert _kill_between(made, "exchange") == 0
    assert (made / "mark").read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "made"}


def test_a_folder_that_a_kill_between_two_steps_took_its_name_comes_back(tmp_path: Path) -> None:
    made = _old_folder(tmp_path / "[made]")
    assert _kill_between(made, "steps") == -signal.SIGKILL
    assert not made.exists()
    with pytest.raises(RuntimeError), atomic_folder(made, replaces="mark"):
        assert (made / "mark").read_text() == "old"
        raise RuntimeError
    assert (made / "mark").read_text() == "old"
    with atomic_folder(made, replaces="mark") as folder:
        write_text(folder / "mark", "newer")
    assert (made / "mark").read_text() == "newer"


def test_a_folder_that_had_given_way_when_the_kill_came_stays_away(tmp_path: Path) -> None:
    _old_folder(tmp_path / ".made-abcd_123.part").rename(tmp_path / "old")
    (tmp_path / ".made-abcd_123.part").mkdir()
    (tmp_path / "old").rename(tmp_path / ".made-abcd_123.part" / "old")
    with atomic_folder(tmp_path / "made") as folder:
        assert not (tmp_path / "made").exists()
        write_text(folder / "mark", "new")
    assert (tmp_path / "made" / "mark").read_text() == "new"


def test_what_a_killed_call_began_is_removed_by_the_next_and_a_living_ones_work_is_not(tmp_path: Path) -> None:
    dead, other = tmp_path / ".made-abcd_123.part", tmp_path / ".made-2-abcd_123.part"
    for aside in (dead, other):
        (aside / "new").mkdir(parents=True)
        (aside / "new" / "half").write_text("half")
        os.utime(aside, (0, 0))
    with atomic_folder(tmp_path / "made") as first:
        os.utime(first.parent, (0, 0))
        assert not dead.exists() and other.exists()
        with pytest.raises(RuntimeError), atomic_folder(tmp_path / "made") as second:
            write_text(second / "mark", "second")
            raise RuntimeError
        write_text(first / "mark", "first")
    assert (tmp_path / "made" / "mark").read_text() == "first"
    assert sorted(os.listdir(tmp_path)) == [other.name, "made"]


def test_a_folder_is_not_given_what_a_name_that_begins_alike_lost(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / ".made-2-abcd_123.part" / name).mkdir(parents=True)
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "made"):
        assert not (tmp_path / "made").exists()
        raise RuntimeError


def test_ctrl_c_between_two_steps_brings_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, rename = _old_folder(tmp_path / "made"), os.replace

    def interrupted(one: Path, other: Path) -> None:
        rename(one, other)
        if Path(one) == made:
            raise KeyboardInterrupt

    monkeypatch.setattr(files, "_exchanged", lambda one, other: False)
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), atomic_folder(made, replaces="mark") as folder:
        (folder / "mark").write_text("new")
    assert (made / "mark").read_text() == "old" and os.listdir(tmp_path) == ["made"]


def test_a_folder_that_came_to_be_meanwhile_is_left_as_it_is(tmp_path) -> None:
    with pytest.raises(InputError, match="came to be here"), atomic_folder(tmp_path / "made") as folder:
        (folder / "mine").write_text("mine")
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / "theirs").write_text("theirs")
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["theirs"]
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
