"""A station: the package installs, its service calls what exists, and recordings are counted once, kills or not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from marine_sets import picture
from tiny_detectors import tiny_ensemble, tiny_onnx

import groundswell
from groundswell.core.errors import FailureError, InputError, RefusedError
from groundswell.pipelines.marine.deploying import watching
from groundswell.pipelines.marine.deploying.application import NEEDED
from groundswell.pipelines.marine.deploying.health import check_health
from groundswell.pipelines.marine.deploying.packaging import package
from groundswell.pipelines.marine.deploying.watching import Watch, recordings_in
from groundswell.pipelines.marine.detecting import open_detector
from groundswell.pipelines.marine.image_files import encode
from groundswell.pipelines.marine.tracking.recipe import TrackRecipe

SOURCE = str(Path(groundswell.__file__).parents[1])
ENVIRONMENT = {**os.environ, "PYTHONPATH": SOURCE, "OMP_NUM_THREADS": "1"}
MODULE = "groundswell.pipelines.marine.deploying.watching"


def recording(folder, name="dive", frames=3, seed=0):
    """A folder of frames that arrived long ago."""
    made = folder / name
    made.mkdir(parents=True)
    for k in range(frames):
        (made / f"{k}.png").write_bytes(encode(picture(seed + k), ".png"))
        os.utime(made / f"{k}.png", (1e9, 1e9))
    return made


@pytest.fixture
def watch(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    return Watch(open_detector(tiny_onnx(tmp_path / "a.onnx")), "a.onnx", tmp_path / "in", tmp_path / "out",
                 TrackRecipe(), settle_s=0)


def done_of(watch):
    return {one["recording"]: one for one in watch.state()[0].values()}


def health_of(watch):
    return json.loads((watch.out / "health.json").read_text())


# -- the package ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    tiny_ensemble(folder / "export")
    package(folder / "export", "jetson", folder / "package")
    return folder / "package"


def install(packed, *options):
    return subprocess.run(["/bin/sh", str(packed / "install.sh"), *map(str, options)], capture_output=True, text=True,
                          env=ENVIRONMENT, check=False)


@pytest.mark.slow
def test_a_package_installs_answers_as_before_and_runs_its_service(packed, tmp_path) -> None:
    prefix, source, out = tmp_path / "opt", tmp_path / "in", tmp_path / "out"
    recording(source)
    done = install(packed, "--prefix", prefix, "--input", source, "--out", out, "--python", sys.executable)
    assert done.returncode == 0, done.stderr
    assert "answers as it did" in done.stdout
    unit = (prefix / "groundswell-marine.service").read_text()
    assert "@" not in unit.replace("#", "")
    start = next(line for line in unit.splitlines() if line.startswith("ExecStart=")).removeprefix("ExecStart=").split()
    # What the service calls exists, with just these options: it is run as the service runs it.
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(prefix / "app")}
    ran = subprocess.run([*start, "--once", "--settle", "0"], capture_output=True, text=True, env=environment,
                         cwd="/", check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads((out / "health.json").read_text())["done"] == 1
    assert (out / "dive.tracks" / "tracks.json").is_file()
    if shutil.which("systemd-analyze"):
        checked = subprocess.run(["systemd-analyze", "verify", "--man=no", prefix / "groundswell-marine.service"],
                                 capture_output=True, text=True, check=False)
        assert "groundswell-marine.service:" not in checked.stderr, checked.stderr
    # A second installation keeps the keys that a person may have changed.
    (prefix / "config" / "track.yaml").write_text("min_hits: 2\n")
    again = install(packed, "--prefix", prefix, "--input", source, "--out", out, "--python", sys.executable,
                    "--no-check")
    assert again.returncode == 0 and (prefix / "config" / "track.yaml").read_text() == "min_hits: 2\n"


def test_a_dry_run_changes_nothing(packed, tmp_path) -> None:
    done = install(packed, "--prefix", tmp_path / "opt", "--input", tmp_path / "in", "--out", tmp_path / "out",
                   "--dry-run", "--enable")
    assert done.returncode == 0, done.stderr
    assert "would run: systemctl restart" in done.stdout and "pip install" in done.stdout
    assert list(tmp_path.iterdir()) == []


SYSTEMCTL = """#!/bin/sh
# Of the service manager: what is started runs as it was then, until it is restarted.
unit=$(dirname "$0")/unit running=$(dirname "$0")/running
case "$*" in
    "enable --now "*) [ -e "$running" ] || cp "$unit" "$running" ;;
    "restart "*) cp "$unit" "$running" ;;
esac
"""
COPY = """#!/bin/sh
case "$2" in
    /etc/*) exec REAL "$1" "$(dirname "$0")/unit" ;;
esac
exec REAL "$@"
"""


def test_an_upgrade_restarts_the_service_and_sudo_does_not_make_it_roots(packed, tmp_path, monkeypatch) -> None:
    fakes = tmp_path / "bin"
    fakes.mkdir()
    for name, text in {"systemctl": SYSTEMCTL, "cp": COPY.replace("REAL", shutil.which("cp")), "chown": "#!/bin/sh\n",
                       "id": '#!/bin/sh\n[ "$1" = -un ] && echo root || echo 0\n'}.items():
        (fakes / name).write_text(text)
        (fakes / name).chmod(0o755)
    monkeypatch.setitem(ENVIRONMENT, "PATH", f"{fakes}:{os.environ['PATH']}")
    monkeypatch.setitem(ENVIRONMENT, "SUDO_USER", "diver")
    for out in ("first", "second"):
        done = install(packed, "--prefix", tmp_path / "opt", "--input", "/i", "--out", tmp_path / out, "--python",
                       sys.executable, "--no-check", "--enable")
        assert done.returncode == 0, done.stderr
        lines = (fakes / "running").read_text().splitlines()
        assert f"ReadWritePaths={tmp_path / out}" in lines and "User=diver" in lines
    monkeypatch.delitem(ENVIRONMENT, "SUDO_USER")
    done = install(packed, "--prefix", tmp_path / "opt", "--input", "/i", "--out", tmp_path / "first", "--python",
                   sys.executable, "--no-check", "--enable")
    assert done.returncode == 0 and "User=root" in (fakes / "running").read_text().splitlines()


@pytest.mark.parametrize("options", [
    [], ["--prefix", "/p", "--input", "/i"], ["--prefix", "p", "--input", "/i", "--out", "/o"],
    ["--prefix", "/", "--input", "/i", "--out", "/o"], ["--prefix", "/p/..", "--input", "/i", "--out", "/o"],
    ["--prefix", "/p", "--input", "/i;reboot", "--out", "/o"], ["--prefix", "/p", "--input", "/i", "--out", "/o|w"],
    ["--prefix", "/p", "--input", "/i", "--out", "/o", "--user", "a b"], ["--what"], ["--prefix"],
    ["--prefix", "/p", "--input", "/i", "--out", "/o", "--python", "/none"]])
def test_an_installer_that_is_told_nonsense_stops_before_it_does_anything(packed, options) -> None:
    done = install(packed, *options)
    assert done.returncode == 2 and "install.sh: " in done.stderr


def test_a_damaged_package_is_not_installed(packed, tmp_path) -> None:
    shutil.copytree(packed, tmp_path / "package")
    with open(tmp_path / "package" / "models" / "member0.onnx", "ab") as file:
        file.write(b"x")
    done = install(tmp_path / "package", "--prefix", tmp_path / "opt", "--input", "/i", "--out", "/o", "--python",
                   sys.executable)
    assert done.returncode == 2 and "damaged" in done.stderr and not (tmp_path / "opt").exists()


def test_scripts_are_clean_for_any_shell(packed) -> None:
    scripts = sorted(packed.glob("*.sh"))
    assert len(scripts) == 3
    for script in scripts:
        assert subprocess.run(["/bin/sh", "-n", script], check=False).returncode == 0
        assert os.access(script, os.X_OK) and "latest" not in script.read_text()
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not at hand")
    assert subprocess.run(["shellcheck", *scripts], check=False).returncode == 0


def test_an_archive_holds_the_same_and_names_nobody(tmp_path) -> None:
    lines = package(tiny_onnx(tmp_path / "one.onnx"), "jetson", tmp_path / "station.tar.gz")
    assert any("simulated" in line for line in lines) and any("Energy: " in line for line in lines)
    with tarfile.open(tmp_path / "station.tar.gz") as archive:
        names = archive.getnames()
        assert {entry.uname for entry in archive} == {""} and all(name.split("/")[0] == "station" for name in names)
        readme = archive.extractfile("station/README.md").read().decode()
        everything = "".join(archive.extractfile(name).read().decode() for name in names
                             if name.endswith((".json", ".sh", ".md", ".in", ".yaml")) and "/app/" not in name)
    assert "SIMULATED" in readme and "@" not in readme
    assert {"station/SHA256SUMS", "station/models/ensemble.json", "station/install.sh"} <= set(names)
    assert str(tmp_path) not in everything
    with pytest.raises(InputError, match="something here"):
        package(tmp_path / "one.onnx", "jetson", tmp_path / "station.tar.gz")


def test_a_model_that_answers_otherwise_is_found_out(packed, tmp_path) -> None:
    assert "answers as it did" in check_health(packed / "models", packed / "health")
    tiny_ensemble(tmp_path / "other")
    tiny_onnx(tmp_path / "other" / "member1.onnx", seed=7)
    with pytest.raises(RefusedError, match="does not answer"):
        check_health(tmp_path / "other", packed / "health")
    shutil.copytree(packed / "health", tmp_path / "health")
    (tmp_path / "health" / "answer.json").write_text('{"classes": ["fish", "shark"], "highest": "high"}')
    with pytest.raises(InputError):
        check_health(packed / "models", tmp_path / "health")


# -- the service ---------------------------------------------------------------------------------------------------


def test_each_recording_is_looked_at_once_and_a_new_one_of_the_same_name_again(watch) -> None:
    recording(watch.source, "a")
    recording(watch.source, "b", seed=9)
    assert watch.pass_once() == 2 and watch.pass_once() == 0
    assert {one["state"] for one in done_of(watch).values()} == {"done"}
    shutil.rmtree(watch.source / "a")
    recording(watch.source, "a", frames=4)
    assert watch.pass_once() == 1
    assert sorted(path.name for path in watch.out.glob("*.tracks*")) == ["a.tracks", "a.tracks-2", "b.tracks"]
    assert health_of(watch)["state"] == "idle"


@pytest.mark.parametrize("ahead_s", [-3600, 0, 365 * 86400])
def test_what_still_arrives_is_left_alone_whatever_its_date_says(watch, ahead_s) -> None:
    made, elapsed = recording(watch.source), [500.0]
    watch.settle_s, watch.elapsed = 10, lambda: elapsed[0]
    date = watch.now() + ahead_s  # by the clock of the computer that it comes from
    for k in range(3):
        os.utime(made / f"{k}.png", (date, date))
    assert watch.pass_once() == 0
    elapsed[0] += 9
    os.utime(made / "2.png", (date + 1, date + 1))  # it still grows
    assert watch.pass_once() == 0
    elapsed[0] += 9
    assert watch.pass_once() == 0 and health_of(watch)["pending"] == 1
    elapsed[0] += 1
    assert watch.pass_once() == 1 and health_of(watch)["pending"] == 0


def test_what_is_hidden_partial_or_empty_is_no_recording(watch) -> None:
    recording(watch.source)
    for name in (".hidden", "half.mp4.part", "notes.txt"):
        (watch.source / name).write_text("x")
    (watch.source / "empty").mkdir()
    assert [one.path.name for one in recordings_in(watch.source)] == ["dive"]


def test_a_bad_recording_is_told_and_the_next_is_done(watch) -> None:
    (watch.source / "broken.mp4").write_bytes(b"no video")
    os.utime(watch.source / "broken.mp4", (1, 1))
    recording(watch.source)
    assert watch.pass_once() == 2
    found = done_of(watch)
    assert found["broken.mp4"]["state"] == "failed" and "video" in found["broken.mp4"]["why"]
    assert found["dive"]["state"] == "done" and watch.pass_once() == 0


def test_a_folder_of_recordings_that_is_not_mounted_is_trouble_that_passes(watch, monkeypatch) -> None:
    recording(watch.source)
    watch.source.rename(watch.source.parent / "away")
    assert watch.pass_once() == 0
    health = health_of(watch)
    assert health["state"] == "trouble" and str(watch.source) in health["trouble"]
    (watch.source.parent / "away").rename(watch.source)
    follow = watching.follow

    def unmounted(*args, **more):
        watch.source.rename(watch.source.parent / "away")
        return follow(*args, **more)

    monkeypatch.setattr(watching, "follow", unmounted)
    assert watch.pass_once() == 0 and health_of(watch)["state"] == "trouble"
    assert watch.state() == ({}, {})  # the recording is not to blame
    monkeypatch.setattr(watching, "follow", follow)
    watch.source.mkdir()  # where it was mounted nothing is left
    assert watch.pass_once() == 0 and health_of(watch)["state"] == "idle"
    watch.source.rmdir()
    (watch.source.parent / "away").rename(watch.source)
    assert watch.pass_once() == 1 and done_of(watch)["dive"]["state"] == "done"


def test_a_full_disk_is_trouble_that_passes(watch, monkeypatch) -> None:
    recording(watch.source)
    follow = watching.follow

    def full(*args, **more):
        raise FailureError("No space left on the device")

    monkeypatch.setattr(watching, "follow", full)
    for _ in range(watching.TRIES + 1):
        assert watch.pass_once() == 0
    health = health_of(watch)
    assert health["state"] == "trouble" and "No space" in health["trouble"] and health["pending"] == 1
    monkeypatch.setattr(watching, "follow", follow)
    assert watch.pass_once() == 1


def test_a_recording_that_ends_the_service_again_and_again_does_not_stop_the_others(watch, monkeypatch) -> None:
    recording(watch.source, "deadly")
    os.utime(recording(watch.source, "good") / "0.png", (1e9 + 1, 1e9 + 1))
    follow = watching.follow

    def dies(detector, model, source, *args, **more):
        if source.name == "deadly":
            raise MemoryError
        return follow(detector, model, source, *args, **more)

    monkeypatch.setattr(watching, "follow", dies)
    for _ in range(watching.TRIES):
        with pytest.raises(MemoryError):
            watch.pass_once()
    assert watch.pass_once() == 2
    assert done_of(watch)["deadly"]["state"] == "failed" and done_of(watch)["good"]["state"] == "done"


def test_a_recording_is_not_given_up_because_the_service_was_told_to_stop_while_it_looked_at_it(
        watch, monkeypatch) -> None:
    recording(watch.source)
    follow = watching.follow

    def stopped(*args, **more):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    def dies(*args, **more):
        raise MemoryError

    before = signal.signal(signal.SIGTERM, watching._stop)
    try:
        for number in range(watching.TRIES + 1):
            monkeypatch.setattr(watching, "follow", stopped)
            with pytest.raises(SystemExit) as ended:
                watch.pass_once()
            assert ended.value.code == 0
            # What it died of before still counts.
            assert list(watch.state()[1].values()) == [1] * (number > 0)
            if number == 0:
                monkeypatch.setattr(watching, "follow", dies)
                with pytest.raises(MemoryError):
                    watch.pass_once()
    finally:
        signal.signal(signal.SIGTERM, before)
    monkeypatch.setattr(watching, "follow", follow)
    assert watch.pass_once() == 1 and done_of(watch)["dive"]["state"] == "done"
    assert watch.state()[1] == {}


def test_results_that_were_not_remembered_are_replaced(watch) -> None:
    recording(watch.source)
    watch.pass_once()
    (watch.out / "state.json").unlink()  # as if the power went between the two
    assert watch.pass_once() == 1
    assert [path.name for path in watch.out.glob("*.tracks*")] == ["dive.tracks"]
    (watch.out / "state.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        watch.pass_once()


def start(tmp_path, *more):
    return subprocess.Popen([sys.executable, "-m", MODULE, "--model", str(tmp_path / "a.onnx"), "--input",
                             str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--interval", "0.05",
                             "--settle", "0", *more], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)


def until(ready, seconds=60.0):
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_service_goes_on_and_finishes_to_the_same_result(tmp_path) -> None:
    tiny_onnx(tmp_path / "a.onnx")
    for k in range(3):
        recording(tmp_path / "in", f"dive{k}", frames=30, seed=40 * k)
    first = start(tmp_path)
    until(lambda: (tmp_path / "out" / ".work" / "tracks").exists())
    first.send_signal(signal.SIGKILL)
    first.communicate()
    second = start(tmp_path)
    until(lambda: len(list((tmp_path / "out").glob("*.tracks"))) == 3)
    other = start(tmp_path, "--once")  # a second one keeps its hands off
    assert "Another process" in other.communicate()[1] and other.returncode == 2
    until(lambda: json.loads((tmp_path / "out" / "health.json").read_text())["state"] == "idle")
    second.send_signal(signal.SIGTERM)
    second.communicate(timeout=30)
    assert second.returncode == 0
    plain = Watch(open_detector(tmp_path / "a.onnx"), "a.onnx", tmp_path / "in", tmp_path / "plain", TrackRecipe(),
                  settle_s=0)
    plain.out.mkdir()
    plain.pass_once()
    for k in range(3):
        killed, whole = ((tmp_path / name / f"dive{k}.tracks" / "counts.csv").read_text() for name in ("out", "plain"))
        assert killed == whole


WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Nothing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Nothing())
import groundswell.pipelines.marine.deploying.serving, groundswell.pipelines.marine.deploying.health
from groundswell.pipelines.marine.deploying.watching import main
code = main(sys.argv[1:])
print(*sorted({name.split(".")[0] for name in sys.modules}))
sys.exit(code)
"""


@pytest.mark.slow
def test_what_a_package_says_it_needs_is_enough_to_find_animals(tmp_path) -> None:
    tiny_onnx(tmp_path / "a.onnx")
    recording(tmp_path / "in")
    owners = {name: {one.lower().replace("_", "-") for one in them} for name, them in packages_distributions().items()}
    needed = {name.lower() for name in NEEDED}
    allowed = needed | {name for one in needed for name in _below(one, set())} | {"setuptools", "groundswell"}
    blocked = {name for name, them in owners.items() if not them & allowed} - sys.stdlib_module_names
    assert {"transformers", "lightly", "onnxscript", "obspy", "pytest"} & set(owners) <= blocked
    done = subprocess.run([sys.executable, "-c", f"BLOCKED = {blocked!r}\n{WITHOUT}", "--model", tmp_path / "a.onnx",
                           "--input", tmp_path / "in", "--out", tmp_path / "out", "--video", "--once", "--settle", "0"],
                          env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "dive.tracks" / "annotated.mp4").is_file()
    used = {one for name in done.stdout.split() for one in owners.get(name, set())}
    assert needed - used <= {"rich"}  # what nothing imports is not asked for


def _below(name, seen):
    """What a distribution brings with it."""
    from importlib.metadata import PackageNotFoundError, requires

    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in requires(name) or []]
    except PackageNotFoundError:
        return seen
    for one in wanted:
        plain = one.name.lower().replace("_", "-")
        if plain not in seen and (one.marker is None or one.marker.evaluate({"extra": ""})):
            seen.add(plain)
            _below(plain, seen)
    return seen
