"""A download goes on where it broke off, survives what servers do, and never leaves half a file under its name."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from file_server import FileServer, scripted
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.errors import BusyError, FailureError, InputError
from groundswell.core.locks import held
from groundswell.pipelines.marine.acquire.http import download
from groundswell.pipelines.marine.acquire.web import Patience, Stopped

DATA = random.Random(1).randbytes(300_000)
SHA = hashlib.sha256(DATA).hexdigest()
SOON = Patience(wait_s=0.01, longest_s=0.05, stall_s=2.0)


def _nothing_but(folder: Path, *names: str) -> bool:
    return sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_a_file_arrives_whole_and_a_second_call_asks_nobody(tmp_path):
    with FileServer({"/a.tar": DATA}).running() as server:
        brought = []
        path = download(f"{server.url}/a.tar", tmp_path / "in" / "a.tar", sha256=SHA, arrived=brought.append)
        download(f"{server.url}/a.tar", path, sha256=SHA, size=len(DATA))
        assert len(server.asked) == 1
    assert path.read_bytes() == DATA and sum(brought) == len(DATA)
    assert _nothing_but(tmp_path / "in", "a.tar")


@pytest.mark.parametrize("tags", ["etag", "date"])
@pytest.mark.parametrize("fault", [("cut", 100_000), ("stall", 100_000)])
def test_what_breaks_off_or_stalls_goes_on_from_where_it_was(tmp_path, fault, tags):
    with FileServer({"/a": DATA}, {"/a": [fault]}, tags=tags).running() as server:
        download(f"{server.url}/a", tmp_path / "a", patience=SOON)
        (first, _), (second, condition) = server.requests("/a")
    assert (tmp_path / "a").read_bytes() == DATA
    assert first == "" and second.startswith("bytes=") and 0 < int(second[6:-1]) <= 100_000 and condition


def test_a_server_that_only_trickles_counts_as_stalled(tmp_path):
    started = time.monotonic()
    with FileServer({"/a": DATA}, {"/a": [("trickle", 1000)]}, stall_s=20).running() as server:
        download(f"{server.url}/a", tmp_path / "a", patience=SOON)
        assert len(server.asked) == 2
    assert (tmp_path / "a").read_bytes() == DATA and time.monotonic() - started < 10


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_answers_that_may_change_are_tried_again_five_times(tmp_path, status):
    with FileServer({"/a": DATA}, {"/a": [status] * 4}).running() as server:
        download(f"{server.url}/a", tmp_path / "a", patience=SOON)
        assert len(server.asked) == 5
    with FileServer({"/a": DATA}, {"/a": [status] * 5}).running() as server:
        with pytest.raises(FailureError, match=f"5 attempts: the server answers {status}"):
            download(f"{server.url}/a", tmp_path / "b", patience=SOON)
        assert len(server.asked) == 5
    assert _nothing_but(tmp_path, "a")


@pytest.mark.parametrize("status", [404, 403, 410])
def test_answers_that_do_not_change_end_it_at_once(tmp_path, status):
    with FileServer({"/a": DATA}, {"/a": [status]}).running() as server:
        with pytest.raises(InputError, match=str(status)):
            download(f"{server.url}/a", tmp_path / "a", patience=SOON)
        assert len(server.asked) == 1
    assert _nothing_but(tmp_path)


def test_a_file_that_changed_meanwhile_is_begun_anew(tmp_path):
    other = DATA[::-1]
    with FileServer({"/a": DATA}, {"/a": [("cut", 50_000)] * 9}).running() as server:
        with pytest.raises(FailureError, match="what has arrived stays"):
            download(f"{server.url}/a", tmp_path / "a", patience=Patience(tries=1))
        assert (tmp_path / "a.part").stat().st_size == 50_000 and not (tmp_path / "a").exists()
        server.files["/a"], server.faults["/a"] = other, []
        download(f"{server.url}/a", tmp_path / "a", patience=SOON)
    assert (tmp_path / "a").read_bytes() == other


@pytest.mark.parametrize(("before", "after"), [
    ({"ETag": '"old"'}, {"ETag": '"new"'}), ({"ETag": '"old"'}, {"ETag": 'W/"old"'}),
    ({"Last-Modified": "Sat, 01 Feb 2020 00:00:00 GMT"}, {"Last-Modified": "Sun, 02 Feb 2020 00:00:00 GMT"})])
def test_a_part_that_says_it_is_of_another_file_is_not_put_to_what_is_there(tmp_path, before, after):
    old, new = b"A" * 1000, b"B" * 1000
    part = {**after, "Content-Range": "bytes 400-999/1000"}
    with scripted((200, {**before, "Content-Length": "1000"}, old[:400]), (206, part, new[400:]),
                  (200, {**after, "Content-Length": "1000"}, new)) as (url, asked):
        download(f"{url}/a", tmp_path / "a", patience=SOON)
    assert (tmp_path / "a").read_bytes() == new
    assert [headers["Range"] for headers in asked] == [None, "bytes=400-", None]


@pytest.mark.parametrize(("before", "after"), [
    ({"ETag": '"a"', "Last-Modified": "Sat, 01 Feb 2020 00:00:00 GMT"}, {}),
    ({"ETag": '"a"'}, {"ETag": '"a"', "Last-Modified": "Sun, 02 Feb 2020 00:00:00 GMT"}),
    ({"ETag": 'W/"a"', "Last-Modified": "Sat, 01 Feb 2020 00:00:00 GMT"}, {"ETag": 'W/"a"'})])
def test_a_part_that_does_not_say_otherwise_is_of_the_same_file(tmp_path, before, after):
    part = {**after, "Content-Range": "bytes 400-999/1000"}
    with scripted((200, {**before, "Content-Length": "1000"}, DATA[:400]), (206, part, DATA[400:1000])) as (url, asked):
        download(f"{url}/a", tmp_path / "a", patience=SOON)
    assert (tmp_path / "a").read_bytes() == DATA[:1000] and len(asked) == 2


@pytest.mark.parametrize("odd", [(503, {"Retry-After": "²"}, b""), (302, {"Location": "http://[/x"}, b""),
                                 (200, {"Content-Length": "9" * 5000}, b""), (200, {"Content-Length": "²"}, b"")])
def test_headers_that_are_nonsense_are_no_fault_of_ours(tmp_path, odd):
    with scripted(odd, (200, {"Content-Length": "5"}, DATA[:5])) as (url, _):
        try:
            download(f"{url}/a", tmp_path / "a", patience=SOON)
        except InputError as error:
            assert "how long" in str(error)
        else:
            assert (tmp_path / "a").read_bytes() == DATA[:5]


@pytest.mark.parametrize("path", ["/dive 1/ä b%.jpg?x=1 2", "/dive%201/%C3%A4%20b%25.jpg"])
def test_an_address_is_quoted_once(tmp_path, path):
    with FileServer({"/dive 1/ä b%.jpg": DATA}).running() as server:
        download(f"{server.url}{path}", tmp_path / "a", patience=SOON)
    assert (tmp_path / "a").read_bytes() == DATA


@pytest.mark.parametrize("server", [FileServer({"/a": DATA}, ranges=False), FileServer({"/a": DATA}, tags=""),
                                    FileServer({"/a": DATA}, lengths="chunked")],
                         ids=["no ranges", "nothing to know the file by", "no length"])
def test_servers_that_cannot_go_on_still_give_the_right_file(tmp_path, server):
    server.faults["/a"] = [("cut", 70_000), ("cut", 20_000)]
    with server.running():
        download(f"{server.url}/a", tmp_path / "a", patience=SOON)
    assert (tmp_path / "a").read_bytes() == DATA and _nothing_but(tmp_path, "a")


def test_a_length_that_nobody_states_is_refused_for_a_cut_could_not_be_told(tmp_path):
    with FileServer({"/a": DATA}, lengths="").running() as server:
        with pytest.raises(InputError, match="how long"):
            download(f"{server.url}/a", tmp_path / "a", patience=SOON)
        server.faults["/a"] = [("cut", 10)]
        download(f"{server.url}/a", tmp_path / "a", patience=SOON, size=len(DATA))
    assert (tmp_path / "a").read_bytes() == DATA


def test_wrong_bytes_are_fetched_again_and_never_kept(tmp_path):
    wrong = bytes(255 - byte for byte in DATA)
    with FileServer({"/a": DATA}, {"/a": [("body", wrong)]}).running() as server:
        download(f"{server.url}/a", tmp_path / "a", sha256=SHA.upper(), patience=SOON)
        assert (tmp_path / "a").read_bytes() == DATA
        server.faults["/a"] = [("body", wrong)] * 5
        with pytest.raises(FailureError, match="not those expected"):
            download(f"{server.url}/a", tmp_path / "b", sha256=SHA, patience=SOON)
    assert _nothing_but(tmp_path, "a")


def test_a_file_of_another_size_or_too_large_is_refused(tmp_path):
    with FileServer({"/a": DATA}).running() as server:
        with pytest.raises(InputError, match="300,000 bytes, not 7"):
            download(f"{server.url}/a", tmp_path / "a", size=7)
        with pytest.raises(InputError, match="at most 1,000"):
            download(f"{server.url}/a", tmp_path / "a", most_bytes=1000)
        server.lengths = "chunked"
        with pytest.raises(InputError, match=r"more than 1,000 bytes"):
            download(f"{server.url}/a", tmp_path / "a", most_bytes=1000)
    assert _nothing_but(tmp_path)


def test_another_file_in_the_place_is_not_overwritten(tmp_path):
    (tmp_path / "a").write_bytes(b"mine")
    with FileServer({"/a": DATA}).running() as server, pytest.raises(InputError, match="Another file is here"):
        download(f"{server.url}/a", tmp_path / "a", sha256=SHA)
    assert (tmp_path / "a").read_bytes() == b"mine"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/a", "/etc/passwd", "data:,a", "http://[/a",
                                 "http:///a", "http://127.0.0.1:port/a", "http://a b/c", "http://a..b/c"])
def test_only_web_servers_are_asked(tmp_path, url):
    with pytest.raises(InputError, match="no address of a web server"):
        download(url, tmp_path / "a")
    with FileServer({"/a": b""}, {"/a": [("away", url)] * 9}).running() as server, \
            pytest.raises((FailureError, InputError)):
        download(f"{server.url}/a", tmp_path / "a", patience=SOON)
    assert _nothing_but(tmp_path)


def test_two_processes_do_not_write_one_file(tmp_path):
    with FileServer({"/a": DATA}).running() as server, held(tmp_path / "a.part"), \
            pytest.raises(BusyError, match="Another process"):
        download(f"{server.url}/a", tmp_path / "a")


def test_a_stop_ends_a_wait_and_keeps_what_arrived(tmp_path):
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    started = time.monotonic()
    with FileServer({"/a": DATA}, {"/a": [("cut", 1000)] * 9}).running() as server, pytest.raises(Stopped):
        download(f"{server.url}/a", tmp_path / "a", patience=Patience(wait_s=30), stop=stop)
    assert time.monotonic() - started < 20 and (tmp_path / "a.part").stat().st_size == 1000


def test_a_killed_download_goes_on_and_was_never_there_by_half(tmp_path):
    code = ("import sys; from pathlib import Path; from groundswell.pipelines.marine.acquire.http import download; "
            "download(sys.argv[1], Path(sys.argv[2]))")
    with FileServer({"/a": DATA}, {"/a": [("stall", 120_000)]}, stall_s=30).running() as server:
        process = subprocess.Popen([sys.executable, "-c", code, f"{server.url}/a", str(tmp_path / "a")],
                                   env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
        until = time.monotonic() + 60
        while time.monotonic() < until and not (tmp_path / "a.part.json").exists():
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "a").exists()
        have = (tmp_path / "a.part").stat().st_size
        download(f"{server.url}/a", tmp_path / "a", sha256=SHA, patience=SOON)
        assert server.requests("/a")[1][0] == (f"bytes={have}-" if have else "")
    assert (tmp_path / "a").read_bytes() == DATA and _nothing_but(tmp_path, "a")


def test_a_kill_between_the_last_byte_and_the_name_costs_no_request(tmp_path):
    with FileServer({"/a": DATA}, {"/a": [("cut", 10)]}).running() as server:
        with pytest.raises(FailureError):
            download(f"{server.url}/a", tmp_path / "a", patience=Patience(tries=1))
        (tmp_path / "a.part").write_bytes(DATA)
        download(f"{server.url}/a", tmp_path / "a", patience=SOON)
        assert len(server.asked) == 1
    assert (tmp_path / "a").read_bytes() == DATA


@given(seed=st.integers(0, 2**31), attempt=st.integers(0, 12), name=st.text(max_size=20))
def test_waits_grow_are_drawn_from_the_seed_and_stay_between_two_and_ten_seconds(seed, attempt, name):
    patience = Patience(wait_s=2, longest_s=10, seed=seed)
    wait = patience.pause(attempt, name)
    assert min(10, 2 * 2**attempt) <= wait <= min(10, 4 * 2**attempt)
    assert wait == Patience(wait_s=2, longest_s=10, seed=seed).pause(attempt, name)


@given(cuts=st.lists(st.integers(1, 5000), max_size=12))
def test_wherever_it_breaks_the_bytes_are_the_same(tmp_path_factory, cuts):
    folder, data = tmp_path_factory.mktemp("cuts"), DATA[:5000]
    with FileServer({"/a": data}, {"/a": [("cut", cut) for cut in cuts]}).running() as server:
        download(f"{server.url}/a", folder / "a", patience=Patience(tries=20, wait_s=0, longest_s=0))
    assert (folder / "a").read_bytes() == data
