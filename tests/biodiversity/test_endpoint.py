"""The endpoint: the same batches as read here, on this machine only, and clear words for what it refuses."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from published_files import SHAPE, WIDTH, hub_folder, observations
from safetensors import safe_open

from groundswell.cli.main import main
from groundswell.core.errors import FailureError, InputError
from groundswell.data.embeddings.store import EmbeddingStore
from groundswell.pipelines.biodiversity import endpoint
from groundswell.pipelines.biodiversity.batch import get_training_batch
from groundswell.pipelines.biodiversity.endpoint import BatchServer, serve, serving
from groundswell.pipelines.biodiversity.importing import import_dataset
from groundswell.pipelines.biodiversity.pooling import pool_store
from groundswell.pipelines.biodiversity.wire import BATCH, IDS, fetch_batch

KNOWN = [f"{i}_1" for i in observations()["gbif_id"]]
WITH_VISION = KNOWN[:10]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingStore:
    """12 observations, 10 with vision, pooled too."""
    folder = tmp_path_factory.mktemp("endpoint")
    import_dataset(hub_folder(folder / "set"), folder / "store", vision_shape=SHAPE, language_width=WIDTH)
    pool_store(folder / "store")
    return EmbeddingStore.open(folder / "store")


@pytest.fixture(scope="module")
def url(store: EmbeddingStore) -> Iterator[str]:
    with serving(store) as address:
        yield address


def raw(url: str, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, bytes]:
    """Status, JSON if it is some, and the bytes."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    connection.request(method, path, body, {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, json.loads(data) if "json" in answer.headers.get("Content-Type", "") else None, data


def post(url: str, **asked: Any) -> tuple[int, Any, bytes]:
    return raw(url, "POST", BATCH, json.dumps(asked).encode())


def same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    found["metadata"].pop("loaded_at")
    expected["metadata"].pop("loaded_at")
    return found.keys() == expected.keys() and all(
        value.dtype == found[name].dtype and torch.equal(value, found[name]) if isinstance(value, torch.Tensor) else
        value == found[name] for name, value in expected.items())


@given(st.lists(st.sampled_from(WITH_VISION), min_size=1, max_size=30), st.booleans(), st.booleans(),
       st.sampled_from(["vision", "vision_mean", "vision_temporal", "vision_grid"]))
def test_a_fetched_batch_is_the_batch_that_is_read_here(store: EmbeddingStore, url: str, ids: list[str], vision: bool,
                                                        language: bool, table: str) -> None:
    found = fetch_batch(url, ids, vision, language, table)
    assert same(found, get_training_batch(store, ids, vision, language, vision_table=table))


def test_vectors_are_sent_a_few_at_a_time(store: EmbeddingStore, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "CHUNK_BYTES", 3 * 4 * int(np.prod(SHAPE)))
    ids = [*reversed(WITH_VISION), WITH_VISION[3]]
    assert same(fetch_batch(url, ids), get_training_batch(store, ids))


def test_memory_is_used_again(url: str) -> None:
    first = fetch_batch(url, WITH_VISION[:4])
    second = fetch_batch(url, WITH_VISION[4:8], reuse=first)
    assert second["vision_embeddings"] is first["vision_embeddings"]
    assert fetch_batch(url, WITH_VISION[:2], reuse=first)["vision_embeddings"] is not first["vision_embeddings"]


def test_the_body_is_a_safetensors_file(store: EmbeddingStore, url: str, tmp_path: Path) -> None:
    _, _, data = post(url, observation_ids=WITH_VISION[:3])
    (tmp_path / "batch.safetensors").write_bytes(data)
    expected = get_training_batch(store, WITH_VISION[:3])
    with safe_open(tmp_path / "batch.safetensors", "pt") as file:
        assert set(file.keys()) == {"locations", "timestamps", "language_embeddings", "vision_embeddings"}
        assert all(torch.equal(file.get_tensor(name), expected[name]) for name in file.keys())  # noqa: SIM118
        assert json.loads(file.metadata()["batch"])["species"] == expected["species"]


def test_ids_are_listed(store: EmbeddingStore, url: str) -> None:
    assert raw(url, "GET", IDS)[1] == {"observation_ids": WITH_VISION}
    assert raw(url, "GET", f"{IDS}?has_vision=false&limit=11")[1] == {"observation_ids": KNOWN[:11]}
    assert raw(url, "GET", f"{IDS}?limit=0")[1] == {"observation_ids": []}


def test_many_at_once_get_their_own(store: EmbeddingStore, url: str) -> None:
    found: dict[int, dict[str, Any]] = {}
    orders = [list(np.random.default_rng(seed).permutation(WITH_VISION)) for seed in range(12)]

    def ask(k: int) -> None:
        found[k] = fetch_batch(url, orders[k])

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(found[k], get_training_batch(store, orders[k])) for k in range(12))


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "match"), [
    ({}, "1 to 1000 observation_ids, not 0"),
    ({"observation_ids": []}, "1 to 1000 observation_ids, not 0"),
    ({"observation_ids": WITH_VISION[:1] * 1001}, "not 1001"),
    ({"observation_ids": "4000000000_1"}, "observation_ids"),
    ({"observation_ids": WITH_VISION, "include_vision": "yes"}, "include_vision"),
    ({"observation_ids": WITH_VISION, "incldue_vision": True}, "incldue_vision"),
    ({"observation_ids": [["4000000000_1"]]}, "not ids of observations"),
    ({"observation_ids": ["4000000000"]}, "'4000000000'"),
    ({"observation_ids": WITH_VISION, "vision_table": "language"}, "no vision table 'language'"),
    ({"observation_ids": WITH_VISION, "vision_table": "../vision"}, "no vision table"),
])
def test_a_request_that_is_none_gets_400_and_a_reason(url: str, asked: dict[str, Any], match: str) -> None:
    status, told, _ = post(url, **asked)
    assert status == 400 and match in told["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"null", b"\xff\xfe"])
def test_a_body_that_is_no_object_gets_400(url: str, body: bytes) -> None:
    assert raw(url, "POST", BATCH, body)[0] == 400


def test_unknown_ids_get_404_and_are_named(url: str) -> None:
    status, told, _ = post(url, observation_ids=[WITH_VISION[0], "77_1", "78_1"])
    assert status == 404 and told["observation_ids"] == ["77_1", "78_1"] and "77_1" in told["error"]


def test_ids_without_a_vector_get_404_and_are_named(url: str) -> None:
    status, told, _ = post(url, observation_ids=[WITH_VISION[0], KNOWN[11]])
    assert status == 404 and KNOWN[11] in told["error"] and "no vision vector" in told["error"]
    assert post(url, observation_ids=[KNOWN[11]], include_vision=False)[0] == 200


def test_a_body_that_is_too_large_gets_413_unread(url: str) -> None:
    assert raw(url, "POST", BATCH, b"{}", **{"Content-Length": str(1 << 40)})[0] == 413
    assert raw(url, "POST", BATCH, b"{}", **{"Content-Length": "9" * 5000})[0] == 413


def test_other_sites_and_forms_are_refused(url: str) -> None:
    assert raw(url, "GET", IDS, None, Host="evil.example")[0] == 403
    body = json.dumps({"observation_ids": WITH_VISION}).encode()
    assert raw(url, "POST", BATCH, body, **{"Content-Type": "text/plain"})[0] == 400
    assert raw(url, "GET", "/etc/passwd")[0] == 404 and raw(url, "GET", BATCH)[0] == 404
    assert raw(url, "GET", f"{IDS}?limit=-1")[0] == 400 and raw(url, "GET", f"{IDS}?everything=1")[0] == 400


def test_it_listens_on_this_machine_only(store: EmbeddingStore) -> None:
    with BatchServer(store) as server:
        assert server.server_address[0] == "127.0.0.1" and server.socket.family == socket.AF_INET


def test_a_port_that_is_taken_is_an_input_error(store: EmbeddingStore) -> None:
    with BatchServer(store) as server:
        for port in (server.server_address[1], 70_000):
            with pytest.raises(InputError, match=f"port {port}"):
                serve(store.path, port)


def test_the_command_refuses_what_it_cannot_serve_or_listen_on(store: EmbeddingStore, tmp_path: Path,
                                                               capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([str(tmp_path)], [str(store.path), "--port", "70000"]):
        assert main(["biodiversity", "serve", *words]) == 2
    assert "port 70000" in capsys.readouterr().err


def test_a_store_without_observations_is_not_served(tmp_path: Path) -> None:
    EmbeddingStore.create(tmp_path / "store")
    with pytest.raises(InputError, match="no observations"):
        serve(tmp_path / "store")


# -- the client -------------------------------------------------------------------------------------------------------


def test_the_client_gives_the_servers_words(url: str) -> None:
    with pytest.raises(InputError, match="77_1"):
        fetch_batch(url, ["77_1"])
    with pytest.raises(InputError, match="not the address"):
        fetch_batch("file:///etc/passwd", WITH_VISION)


def test_a_server_that_is_not_there_or_breaks_off_is_a_failure(store: EmbeddingStore, url: str,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FailureError):
        fetch_batch("http://127.0.0.1:9", WITH_VISION)

    def failing(*_: Any, **__: Any) -> Any:
        raise InputError("The part ends early")

    monkeypatch.setattr(store, "read", failing)
    with pytest.raises(FailureError):
        fetch_batch(url, WITH_VISION, include_language=False)


@pytest.mark.parametrize("answer", [b"", b"\xff" * 64, (2).to_bytes(8, "little") + b"{}",
                                    (8).to_bytes(8, "little") + b'{"a": 1}'])
def test_an_answer_of_something_else_is_a_failure(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        def once() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)

        thread = threading.Thread(target=once)
        thread.start()
        with pytest.raises(FailureError):
            fetch_batch(f"http://127.0.0.1:{listening.getsockname()[1]}", WITH_VISION)
        thread.join()


def test_ctrl_c_ends_serving(store: EmbeddingStore) -> None:
    program = "import sys; from groundswell.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", program, "biodiversity", "serve", str(store.path)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        line = child.stderr.readline()
        address = line.split(" at ")[1].split(";")[0]
        assert address.startswith("http://127.0.0.1:")
        assert same(fetch_batch(address, WITH_VISION), get_training_batch(store, WITH_VISION))
        with pytest.raises(InputError, match="not 1001"):
            fetch_batch(address, WITH_VISION[:1] * 1001)
        assert len(fetch_batch(address, WITH_VISION[:1] * 1000, include_vision=False)["species"]) == 1000
        child.send_signal(2)
        assert child.wait(20) == 0
