"""A container's recipe names only what is there, and its entry point really answers, or says why it does not."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from marine_sets import picture
from tiny_detectors import tiny_ensemble, tiny_onnx

import groundswell
from groundswell.pipelines.marine import image_files
from groundswell.pipelines.marine.deploying import container, serving
from groundswell.pipelines.marine.deploying.container import instructions, lint
from groundswell.pipelines.marine.deploying.packaging import package
from groundswell.pipelines.marine.deploying.serving import MOST_BYTES, MOST_IMAGES, Service
from groundswell.pipelines.marine.detecting import open_detector
from groundswell.pipelines.marine.image_files import encode

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(groundswell.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
PNG = encode(picture(3, 90, 60), ".png")


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    tiny_ensemble(folder / "export", thresholds=(0.1, 0.1))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(container, "container_engine", lambda: "")
        lines = package(folder / "export", "container", folder / "package")
    assert any("Not built: no container engine here" in line for line in lines)
    return folder / "package"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    made = Service(open_detector(tiny_ensemble(folder, thresholds=(0.1, 0.1))), port=0)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def ask(service, method, path, body=None, **headers):
    link = http.client.HTTPConnection("127.0.0.1", service.server_address[1], timeout=20)
    link.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = link.getresponse()
    found = answer.status, json.loads(answer.read())
    link.close()
    return found


def instances(*images):
    return json.dumps({"instances": [{"b64": base64.b64encode(image).decode()} for image in images]})


def until(ready, seconds=20.0):
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


# -- the recipe ----------------------------------------------------------------------------------------------------


def test_the_recipe_is_sound(packed) -> None:
    assert lint(packed) == []
    steps = instructions((packed / "Containerfile").read_text())
    image = next(rest for name, rest in steps if name == "FROM")
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", image)
    entry = json.loads(next(rest for name, rest in steps if name == "ENTRYPOINT"))
    assert entry[:3] == ["python", "-m", "groundswell.pipelines.marine.deploying.serving"]
    requirements = (packed / "app" / "requirements.txt").read_text()
    assert "torch==" in requirements and "onnxruntime==" in requirements and "ultralytics" not in requirements
    assert all("==" in line for line in requirements.splitlines() if not line.startswith("#"))
    for line in (packed / "SHA256SUMS").read_text().splitlines():
        assert (packed / line.split("  ")[1]).is_file()
    assert "SIMULATED" in (packed / "README.md").read_text()


@pytest.mark.parametrize(("old", "new", "problem"), [
    ("python:3.11.14-slim-bookworm", "python:latest", "has no version"),
    ("python:3.11.14-slim-bookworm", "host:5000/python", "has no version"),
    ("COPY models", "COPY weights", "weights: it is not there"), ("COPY models", "COPY ../up", "it is not there"),
    ("USER 10001", "USER root", "runs as root"), ("USER 10001", "", "runs as root"),
    ('ENTRYPOINT ["python"', 'ENTRYPOINT python [', "list of words"), ("ENTRYPOINT", "LABEL a=", "no entry point")])
def test_what_is_wrong_with_a_recipe_is_found(packed, tmp_path, old, new, problem) -> None:
    shutil.copytree(packed, tmp_path / "package")
    (tmp_path / "up").mkdir()
    file = tmp_path / "package" / "Containerfile"
    file.write_text(file.read_text().replace(old, new))
    assert any(problem in found for found in lint(tmp_path / "package"))


def test_the_cloud_is_told_of_the_same_routes_ports_and_replicas(packed) -> None:
    run, vertex = (yaml.safe_load((packed / name).read_text()) for name in ("cloudrun.yaml", "vertex.yaml"))
    template = run["spec"]["template"]
    assert template["metadata"]["annotations"] == {"autoscaling.knative.dev/minScale": "1",
                                                   "autoscaling.knative.dev/maxScale": "3"}
    served = template["spec"]["containers"][0]
    assert served["startupProbe"]["httpGet"]["path"] == vertex["model"]["containerSpec"]["healthRoute"] == "/health"
    assert vertex["model"]["containerSpec"]["predictRoute"] == "/predict"
    assert served["ports"][0]["containerPort"] == vertex["model"]["containerSpec"]["ports"][0]["containerPort"] == 8080
    machine = vertex["deployment"]["dedicatedResources"]
    assert machine["machineSpec"]["machineType"] == "n1-standard-4"
    assert machine["machineSpec"]["acceleratorType"] == "NVIDIA_TESLA_T4"
    assert (machine["minReplicaCount"], machine["maxReplicaCount"]) == (1, 3)
    for image in (served["image"], vertex["model"]["containerSpec"]["imageUri"]):
        assert "@" in image and "latest" not in image


def test_an_engine_is_only_one_that_answers(monkeypatch, tmp_path) -> None:
    (tmp_path / "podman").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "podman").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert container.container_engine() == ""
    (tmp_path / "docker").chmod(0o755)
    assert container.container_engine() == "docker"


# -- the service ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_entry_point_of_the_recipe_runs_and_answers(packed) -> None:
    steps = instructions((packed / "Containerfile").read_text())
    entry = json.loads(next(rest for name, rest in steps if name == "ENTRYPOINT"))
    words = [sys.executable, *(str(packed / "models") if word == "/app/models" else word for word in entry[1:])]
    words[words.index("0.0.0.0")] = "127.0.0.1"
    process = subprocess.Popen([*words, "--port", "0"], stderr=subprocess.PIPE, text=True, env={
        **os.environ, "PYTHONPATH": str(packed / "app"), "OMP_NUM_THREADS": "1", "AIP_PREDICT_ROUTE": "/v1/find"})
    try:
        line = process.stderr.readline()
        where = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert where, line + process.stderr.read()
        link = http.client.HTTPConnection("127.0.0.1", int(where[1]), timeout=30)
        link.request("GET", "/health")
        assert json.loads(link.getresponse().read())["status"] == "ready"
        for path in ("/predict", "/v1/find"):
            link = http.client.HTTPConnection("127.0.0.1", int(where[1]), timeout=30)
            link.request("POST", path, PNG)
            assert json.loads(link.getresponse().read())["predictions"][0]["width"] == 90
        link = http.client.HTTPConnection("127.0.0.1", int(where[1]), timeout=30)
        link.request("POST", "/predict", encode(np.zeros((7000, 7000, 3), np.uint8), ".png"))  # small, and 147 MB
        answer = link.getresponse()
        assert answer.status == 413 and "40000000 pixels at most" in json.loads(answer.read())["error"]
    finally:
        process.kill()
        process.communicate()


def test_an_image_gets_the_boxes_that_the_detector_counts(service) -> None:
    status, answer = ask(service, "POST", "/predict", PNG, Content_Type="image/png")
    boxes, score, label = service.detector.counted(service.detector([picture(3, 90, 60)])[0])
    found = answer["predictions"][0]
    assert status == 200 and answer["simulated"] is True and len(found["boxes"]) == len(boxes) > 0
    for one, box, s, k in zip(found["boxes"], boxes, score, label, strict=True):
        assert one["box"] == pytest.approx(box.tolist(), abs=0.01) and one["score"] == pytest.approx(s, abs=1e-5)
        assert one["category"] == service.detector.classes[k] and one["priority"] == service.detector.priority[k]


def test_vertex_gets_one_prediction_an_instance(service) -> None:
    other = encode(picture(5), ".jpg")
    status, answer = ask(service, "POST", "/predict", instances(PNG, other), Content_Type="application/json")
    assert status == 200 and [one["width"] for one in answer["predictions"]] == [90, 64]
    nested = json.dumps({"instances": [{"image_bytes": {"b64": base64.b64encode(PNG).decode()}}]})
    assert ask(service, "POST", "/predict", nested, Content_Type="application/json; charset=utf-8")[0] == 200


@pytest.mark.parametrize(("body", "kind", "why"), [
    (b"", "image/png", "empty"), (b"GIF89a", "image/gif", "no image"), (PNG[:-30], "image/png", "cut off"),
    (b"{", "application/json", "form"), (b"[]", "application/json", "form"),
    (b"[" * 100_000, "application/json", "form"),
    (b'{"instances": [{"b64": "***"}]}', "application/json", "form"),
    (b'{"instances": [{"b64": 5}]}', "application/json", "form"), (b'{"instances": []}', "application/json", "1 to"),
    (instances(*[PNG] * (MOST_IMAGES + 1)), "application/json", "1 to"),
    (instances(PNG, b"x"), "application/json", "instance 1")])
def test_a_bad_request_gets_a_reason_and_the_next_is_answered(service, body, kind, why) -> None:
    status, answer = ask(service, "POST", "/predict", body, Content_Type=kind)
    assert status == 400 and why in answer["error"] and "Traceback" not in answer["error"]
    assert ask(service, "GET", "/health")[0] == 200


def test_what_is_too_long_is_refused_unread_and_other_paths_are_not_there(service) -> None:
    for length in (str(MOST_BYTES + 1), "9" * 5000):
        with socket.create_connection(service.server_address, timeout=10) as link:
            link.sendall(f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
            assert b" 413 " in link.recv(200)
    assert ask(service, "POST", "/predict", PNG, Content_Length=f"{len(PNG):05000}")[0] == 200
    with socket.create_connection(service.server_address, timeout=10) as link:
        link.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert b" 411 " in link.recv(200)
    assert ask(service, "POST", "/../etc/passwd", b"x")[0] == 404
    assert ask(service, "GET", "/predict")[0] == 404


def test_of_all_requests_together_one_decoded_image_is_in_memory(service, monkeypatch) -> None:
    there, most, decode = [], [], image_files.decode

    def watched(data, where, **more):
        most.append(sum(one() is not None for one in there))
        image = decode(data, where, **more)
        there.append(weakref.ref(image))
        return image

    monkeypatch.setattr(image_files, "decode", watched)
    with ThreadPoolExecutor(4) as pool:
        done = pool.map(lambda _: ask(service, "POST", "/predict", instances(*[PNG] * 6),
                                      Content_Type="application/json"), range(4))
    assert [status for status, _ in done] == [200] * 4
    assert len(most) == 24 and max(most) == 0  # when another one is decoded


def test_images_with_too_many_pixels_are_refused_with_the_number_that_is_allowed(service, monkeypatch) -> None:
    monkeypatch.setattr(serving, "MOST_PIXELS_IN_ALL", 2 * 90 * 60)
    assert ask(service, "POST", "/predict", instances(PNG, PNG), Content_Type="application/json")[0] == 200
    status, answer = ask(service, "POST", "/predict", instances(PNG, PNG, PNG), Content_Type="application/json")
    assert status == 413 and "10800 pixels in all" in answer["error"]
    monkeypatch.setattr(serving, "MOST_PIXELS", 90 * 60 - 1)
    status, answer = ask(service, "POST", "/predict", PNG)
    assert status == 413 and "5399 pixels at most" in answer["error"]


def test_too_many_at_once_are_told_to_come_again(service) -> None:
    taken = [service.seats.take() for _ in range(serving.AT_ONCE)]
    try:
        assert all(taken) and ask(service, "POST", "/predict", PNG)[0] == 503
        assert ask(service, "GET", "/health")[0] == 200
    finally:
        for _ in taken:
            service.seats.give()
    assert ask(service, "POST", "/predict", PNG)[0] == 200


@contextmanager
def promising(service, number, length=100, sent=b""):
    """Clients that say how much they will send, and send something else."""
    with ExitStack() as stack:
        links = [stack.enter_context(socket.create_connection(service.server_address, timeout=10))
                 for _ in range(number)]
        for link in links:
            link.sendall(f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode() + sent)
        yield links


def test_clients_that_only_promise_to_send_something_keep_nobody_out(service) -> None:
    with promising(service, 3 * serving.AT_ONCE) as links:
        assert ask(service, "POST", "/predict", PNG)[0] == 200
        for link in links:
            link.sendall(b"x")
        assert ask(service, "POST", "/predict", PNG)[0] == 200


def test_a_request_that_trickles_in_is_cut_off_at_one_deadline_for_all_of_it(service, monkeypatch) -> None:
    monkeypatch.setattr(serving, "TIMEOUT_S", 0.4)
    begin = time.monotonic()
    with promising(service, 1) as (link,):
        link.settimeout(0.1)
        answer = b""
        while not answer and time.monotonic() < begin + 30:
            link.sendall(b"x")
            with suppress(TimeoutError):
                answer = link.recv(200)
    assert b" 408 " in answer and time.monotonic() - begin < 20


def test_what_arrives_takes_no_more_memory_than_there_is_for_it(service, monkeypatch) -> None:
    until(lambda: service.held.taken == 0)
    monkeypatch.setattr(service.held, "most", len(PNG) + 500)
    with promising(service, 1, sent=b"y" * 99) as (link,):
        assert ask(service, "POST", "/predict", PNG)[0] == 200
        link.sendall(b"y")  # whole, and no image
        assert b" 400 " in link.recv(200)
    with promising(service, 1, length=70_000, sent=b"y" * 65_536) as (link,):
        assert b" 503 " in link.recv(200)
    until(lambda: service.held.taken == 0)
    monkeypatch.setattr(service.held, "most", 65_536 + 100)
    with promising(service, 1, length=70_000, sent=b"y" * 65_536):
        until(lambda: service.held.taken == 65_536)
        assert ask(service, "POST", "/predict", PNG)[0] == 503
    until(lambda: service.held.taken == 0)
    assert ask(service, "POST", "/predict", PNG)[0] == 200


def test_connections_are_counted_and_those_that_end_make_room(service, monkeypatch) -> None:
    until(lambda: service.links.taken == 0)
    monkeypatch.setattr(service.links, "most", 2)
    with promising(service, 2):
        until(lambda: service.links.taken == 2)
        with socket.create_connection(service.server_address, timeout=10) as link:
            assert b" 503 " in link.recv(200)
    until(lambda: service.links.taken == 0)
    assert ask(service, "GET", "/health")[0] == 200


# The service with a detector that takes its time; as the first process of a container it gets no other signals.
SLOW = """
import sys, time, types
import numpy as np

class Slow:
    classes, priority, simulated, calibrator = ("fish",), ("low",), True, None

    def __call__(self, images):
        time.sleep(0.4)
        return [(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))]

    def counted(self, found):
        return found

def opened(path):
    if path.name == "late":
        sys.stderr.write("opening\\n")
        time.sleep(20)
    return Slow()

sys.modules["groundswell.pipelines.marine.detecting"] = types.SimpleNamespace(open_detector=opened)
from groundswell.pipelines.marine.deploying import serving
serving.STOP_S = 0.2
sys.exit(serving.main(sys.argv[1:]))
"""


@contextmanager
def slow(model):
    process = subprocess.Popen([sys.executable, "-c", SLOW, "--model", model, "--port", "0"], stderr=subprocess.PIPE,
                               text=True, env=ENVIRONMENT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_answers_what_has_arrived_and_ends_well(number) -> None:
    with slow("x") as process:
        service = SimpleNamespace(server_address=("127.0.0.1", int(process.stderr.readline().rpartition(":")[2])))
        with promising(service, 1):  # one that never sends what it promised does not keep it
            links = [http.client.HTTPConnection(*service.server_address, timeout=20) for _ in range(2)]
            for link in links:
                link.request("POST", "/predict", PNG)
            assert ask(service, "GET", "/health")[0] == 200  # it knows of those that came before
            process.send_signal(number)
            assert [link.getresponse().status for link in links] == [200, 200]
            assert process.wait(10) == 0
        with pytest.raises(ConnectionRefusedError):
            ask(service, "GET", "/health")


def test_told_to_stop_before_it_listens_it_ends_well() -> None:
    with slow("late") as process:
        assert "opening" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_it_listens_on_loopback_unless_told_otherwise(tmp_path, service, capsys) -> None:
    assert service.server_address[0] == "127.0.0.1"
    model, heard = str(tiny_onnx(tmp_path / "a.onnx")), signal.getsignal(signal.SIGINT)
    assert serving.main(["--model", model, "--port", str(service.server_address[1])]) == 2
    assert "Cannot listen there" in capsys.readouterr().err
    assert serving.main(["--model", str(tmp_path / "none.onnx")]) == 2
    assert signal.getsignal(signal.SIGINT) is heard  # who calls it gets their own back
