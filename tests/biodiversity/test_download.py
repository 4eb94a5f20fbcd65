"""Downloading a data set: from a server of our own, which stalls, breaks off and lies."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_server import COMMIT, REPO, Hub
from published_files import SHAPE, WIDTH, hub_folder

from groundswell.core import optional
from groundswell.core.errors import BusyError, FailureError, InputError, MissingExtraError
from groundswell.core.locks import held
from groundswell.pipelines.biodiversity.download import download_dataset
from groundswell.pipelines.biodiversity.importing import import_dataset

constants = pytest.importorskip("huggingface_hub.constants", reason="the extra 'biodiversity' is not installed")
LARGE = "vision_embeddings/embeddings_000000.parquet"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Timeouts of a second, and no cache or token of the person who runs this."""
    for name in ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"):
        monkeypatch.setattr(constants, name, 1)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_a_secret_of_this_person")
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A server with three files."""
    data = np.random.default_rng(0).bytes(300_000)
    with Hub({"observations.parquet": data[:1000], LARGE: data, "dataset_info.json": b"{}"}).running() as running:
        yield running


def fetch(hub: Hub, out: Path, **options: Any) -> list[str]:
    return download_dataset(REPO, out, **{"endpoint": hub.url, "wait_s": 0.05, **options})


def same(hub: Hub, out: Path) -> bool:
    return all((out / name).read_bytes() == data for name, data in hub.files.items())


def test_every_file_arrives_and_the_commit_is_said(hub: Hub, tmp_path: Path) -> None:
    lines = fetch(hub, tmp_path / "set")
    assert same(hub, tmp_path / "set")
    assert COMMIT[:12] in lines[0] and "3 files" in lines[0] and lines[1] == "fetched now: 3; there already: 0"


def test_nothing_is_sent_but_what_a_download_needs(hub: Hub, tmp_path: Path) -> None:
    fetch(hub, tmp_path / "set")
    assert hub.others == [], "no telemetry, no other route"
    assert all(token is None for _, token in hub.agents), "no access token, though the person has one"
    assert all("torch" not in agent for agent, _ in hub.agents)
    assert constants.HF_HUB_DISABLE_TELEMETRY is True
    fetch(hub, tmp_path / "other", token="hf_given")
    assert hub.agents[-1][1] == "Bearer hf_given"


def test_what_is_there_is_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    fetch(hub, tmp_path / "set")
    hub.asked.clear()
    assert fetch(hub, tmp_path / "set")[1] == "fetched now: 0; there already: 3"
    assert not [asked for asked in hub.asked if asked[0] == "GET"]
    (tmp_path / "set" / LARGE).unlink()
    assert fetch(hub, tmp_path / "set")[1] == "fetched now: 1; there already: 2"
    assert same(hub, tmp_path / "set")


@pytest.mark.parametrize("kind", ["cut", "stall"])
def test_a_file_that_breaks_off_goes_on_from_where_it_was(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                          kind: str) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 40_000)
    hub.faults[LARGE] = [(kind, 120_000)]
    fetch(hub, tmp_path / "set")
    assert same(hub, tmp_path / "set")
    assert hub.bodies(LARGE) == ["", "bytes=120000-"]


def test_a_server_that_fails_for_a_while_is_asked_again(hub: Hub, tmp_path: Path) -> None:
    hub.faults[LARGE] = [500, 503, ("cut", 7)]
    fetch(hub, tmp_path / "set")
    assert same(hub, tmp_path / "set")


def test_a_server_that_fails_for_good_leaves_what_has_arrived(hub: Hub, tmp_path: Path) -> None:
    hub.faults[LARGE] = [500] * 3
    with pytest.raises(FailureError, match="did not arrive in 3 attempts"):
        fetch(hub, tmp_path / "set", attempts=3)
    assert not (tmp_path / "set" / LARGE).exists()
    assert fetch(hub, tmp_path / "set")[0].startswith(f"{REPO} at")
    assert same(hub, tmp_path / "set")


def test_other_bytes_than_stated_are_not_kept(hub: Hub, tmp_path: Path) -> None:
    hub.faults[LARGE] = ["wrong", "wrong"]
    with pytest.raises(FailureError, match="not those that the server stated"):
        fetch(hub, tmp_path / "set", attempts=2)
    assert not (tmp_path / "set" / LARGE).exists()
    fetch(hub, tmp_path / "set")
    assert same(hub, tmp_path / "set")


def test_a_killed_download_goes_on(hub: Hub, tmp_path: Path) -> None:
    hub.faults[LARGE], hub.stall_s = [("stall", 100_000)], 8.0
    program = ("import sys; from pathlib import Path; from groundswell.pipelines.biodiversity.download import "
               "download_dataset as d; d(sys.argv[1], Path(sys.argv[2]), endpoint=sys.argv[3])")
    child = subprocess.Popen([sys.executable, "-c", program, REPO, str(tmp_path / "set"), hub.url],
                             stderr=subprocess.DEVNULL)
    small = tmp_path / "set" / "dataset_info.json"
    try:
        while not (small.exists() and list((tmp_path / "set").rglob("*.incomplete"))):
            assert child.poll() is None
            time.sleep(0.02)
    finally:
        child.kill()
        child.wait()
    assert not (tmp_path / "set" / LARGE).exists()
    fetch(hub, tmp_path / "set")
    assert same(hub, tmp_path / "set")
    assert not list((tmp_path / "set").rglob("*.incomplete"))
    assert len(hub.bodies("dataset_info.json")) == 1


def test_a_second_download_at_the_same_time_is_refused(hub: Hub, tmp_path: Path) -> None:
    lock = tmp_path / "set" / ".cache" / "huggingface" / "groundswell.lock"
    lock.parent.mkdir(parents=True)
    with held(lock), pytest.raises(BusyError):
        fetch(hub, tmp_path / "set")


def test_what_was_downloaded_can_be_imported(tmp_path: Path) -> None:
    source = hub_folder(tmp_path / "source")
    files = {path.relative_to(source).as_posix(): path.read_bytes() for path in source.rglob("*.parquet")}
    with Hub(files).running() as running:
        fetch(running, tmp_path / "set")
    lines = import_dataset(tmp_path / "set", tmp_path / "store", vision_shape=SHAPE, language_width=WIDTH)
    assert any("10 vectors" in line for line in lines)


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plants", "owner/plants/more", "../plants", "owner/", "http://server/owner/plants"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="not the name of a data set"):
        download_dataset(name, tmp_path / "set", endpoint="http://127.0.0.1:9")
    assert not (tmp_path / "set").exists()


def test_a_data_set_or_revision_that_is_not_there_is_refused(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'owner/animals' is not there"):
        download_dataset("owner/animals", tmp_path / "set", endpoint=hub.url)
    with pytest.raises(InputError, match="no revision 'v9'"):
        fetch(hub, tmp_path / "set", revision="v9")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("path", ["../outside.parquet", "/etc/outside", ".cache/huggingface/groundswell.lock"])
def test_a_file_that_leads_outside_is_refused(tmp_path: Path, path: str) -> None:
    with Hub({"observations.parquet": b"1", path: b"2"}).running() as running, pytest.raises(InputError):
        fetch(running, tmp_path / "set")
    assert not (tmp_path / "set").exists() and not (tmp_path / "outside.parquet").exists()


def test_a_server_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(FailureError, match="cannot be asked"):
        download_dataset(REPO, tmp_path / "set", endpoint="http://127.0.0.1:9")
    assert not (tmp_path / "set").exists()


def test_a_disk_that_is_too_small_is_said_first(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundswell.pipelines.biodiversity.download.free_gib", lambda _: 1e-6)
    with pytest.raises(FailureError, match="GiB more"):
        fetch(hub, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.setattr(optional.importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"groundswell\[biodiversity\]"):
        download_dataset(REPO, tmp_path / "set")
