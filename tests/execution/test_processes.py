"""Searches in processes of their own: killed, interrupted, without space; and what is left of them."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from contracts import fake_search
from contracts.fake_evaluator import candidates, expected

from ecad.errors import RunError
from ecad.execution import ExecutionSettings
from ecad.scoring.scenes import SHAPES
from ecad.searching.run import search
from ecad.searching.settings import SearchSettings
from ecad.storage import EvaluationLog, RunFolder

TESTS = Path(__file__).resolve().parent.parent
EVALUATIONS = fake_search.CONFIG.generations * fake_search.CONFIG.population


class Started:
    """A process with a mark in its environment, by which it and all its descendants are found."""

    def __init__(self, *arguments: Any, **variables: str) -> None:
        self.mark = f"ECAD_TEST_MARK={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH", "")]))
        unwanted = ("RAY_", "COV_")
        environment = {key: text for key, text in os.environ.items() if not key.startswith(unwanted)}
        self.process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env={**environment, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", name: value, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A shell starts what runs in its background with Ctrl-C ignored, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def family(self) -> list[int]:
        """All processes with the mark that are alive."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                marked = self.mark.encode() in (folder / "environ").read_bytes()
                # Some of Ray's processes overwrite their environment; they have files of their Ray open.
                own = f"/tmp/ecad-ray-{self.process.pid}-"
                if marked or any(str(link.readlink()).startswith(own) for link in (folder / "fd").iterdir()):
                    found.append(int(folder.name))
            except OSError:
                continue
        return found

    def wait_until(self, reached: Callable[[], bool], seconds: float = 120.0) -> None:
        deadline = time.monotonic() + seconds
        while not reached():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"did not get there: {self.process.communicate()}")
            time.sleep(0.05)

    def all_gone(self, seconds: float = 30.0) -> bool:
        deadline = time.monotonic() + seconds
        while self.family() and time.monotonic() < deadline:
            time.sleep(0.1)
        return not self.family()

    def ray_folders(self) -> list[Path]:
        return list(Path("/tmp").glob(f"ecad-ray-{self.process.pid}-*"))


@pytest.fixture
def start() -> Iterator[Callable[..., Started]]:
    started: list[Started] = []

    def begin(*arguments: Any, **variables: str) -> Started:
        started.append(Started(*arguments, **variables))
        return started[-1]

    yield begin
    for each in started:
        for process in each.family():
            os.kill(process, signal.SIGKILL)
        each.process.communicate()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole") / "run"
    fake_search.fake_search(folder, 0, 0.0)
    return results(folder)


def results(folder: Path) -> dict[str, bytes]:
    paths = [folder / "evaluations.jsonl", *sorted((folder / "front").glob("*.yaml"))]
    return {path.name: path.read_bytes() for path in paths}


def listening_addresses(processes: list[int]) -> set[str]:
    """Local addresses, in the kernel's hexadecimal, on which these processes accept TCP connections."""
    sockets = set()
    for process in processes:
        for entry in Path(f"/proc/{process}/fd").glob("*"):
            try:
                sockets.add(str(entry.readlink()))
            except OSError:
                continue
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                addresses.add(fields[1].partition(":")[0])
    return addresses


def test_killed_twenty_times_and_resumed_gives_the_same_bytes(
    whole: dict[str, bytes], start: Callable[..., Started], tmp_path: Path
) -> None:
    started = start(TESTS / "contracts" / "fake_search.py", tmp_path / "run", 0, 0.0005, 20)
    out, err = started.process.communicate(timeout=200)
    reached = [int(number) for number in out.split()]
    assert len(reached) == 20, err
    assert reached == sorted(reached)
    assert 20 < reached[-1] < EVALUATIONS  # they were killed at work, not before or after
    assert results(tmp_path / "run") == whole


def test_resumed_from_a_log_torn_anywhere(whole: dict[str, bytes], tmp_path: Path) -> None:
    log = whole["evaluations.jsonl"]
    for number, length in enumerate(range(0, len(log), len(log) // 7)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "evaluations.jsonl").write_bytes(log[:length])
        fake_search.fake_search(folder, 0, 0.0)
        assert results(folder) == whole


def test_a_disk_that_fills_up_is_one_error_and_costs_no_record(tmp_path: Path) -> None:
    """The kernel refuses to let the file grow in the middle of a record."""
    path = tmp_path / "log.jsonl"
    asked = candidates(9)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with EvaluationLog(path) as log:
        for each in asked[:3]:
            log.append(each, expected(each))
        three = path.read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(three) + 100, before[1]))
        try:
            with pytest.raises(RunError, match=r"cannot write .*log.jsonl: .*--resume"):
                log.append(asked[3], expected(asked[3]))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == three
    with EvaluationLog(path) as log:
        assert [evaluation.key for evaluation in log] == [each.key for each in asked[:3]]


def test_a_folder_that_cannot_be_written_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        pytest.raises(RunError, match="cannot write to run folder /proc/ecad-run"),
        RunFolder(Path("/proc/ecad-run")),
    ):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write to run folder"), RunFolder(tmp_path / "file" / "run"):
        pass


@pytest.mark.ray
def test_killed_on_ray_nothing_outlives_it_and_the_resume_is_the_same(
    whole: dict[str, bytes], start: Callable[..., Started], tmp_path: Path
) -> None:
    started = start(TESTS / "contracts" / "fake_search.py", tmp_path / "run", 2, 0.05)
    folder = RunFolder(tmp_path / "run")

    def workers() -> list[dict[str, Any]]:
        path = tmp_path / "run" / "status.json"
        return json.loads(path.read_text())["workers"] if path.exists() else []

    # On a busy machine the second worker starts late.
    started.wait_until(
        lambda: (
            folder.count_evaluations() >= 10 and [each["images"] > 0 for each in workers()] == [True, True]
        )
    )
    assert len(started.family()) > 4  # it, Ray's own processes and two workers
    # 127.0.0.1 and ::ffff:127.0.0.1
    assert listening_addresses(started.family()) <= {"0100007F", "0000000000000000FFFF00000100007F"}
    assert listening_addresses(started.family())
    started.process.kill()
    assert started.all_gone(), started.family()
    assert not started.ray_folders()
    assert {each["state"] for each in workers()} <= {"busy", "idle"}
    assert [each["images"] > 0 for each in workers()] == [True, True]
    done = folder.count_evaluations()
    assert 10 <= done < EVALUATIONS
    fake_search.fake_search(tmp_path / "run", 0, 0.0)
    assert results(tmp_path / "run") == whole


@pytest.mark.ray
def test_interrupted_on_ray_everything_is_tidied_up(start: Callable[..., Started], tmp_path: Path) -> None:
    started = start(TESTS / "contracts" / "fake_search.py", tmp_path / "run", 2, 0.02)
    folder = RunFolder(tmp_path / "run")
    started.wait_until(lambda: folder.count_evaluations() >= 5)
    assert len(started.ray_folders()) == 1
    os.killpg(started.process.pid, signal.SIGINT)  # what a terminal does on Ctrl-C
    _, err = started.process.communicate(timeout=60)
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert started.all_gone(), started.family()
    assert not started.ray_folders()
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "stopped"


@pytest.mark.ray
def test_the_command_on_ray_gives_the_local_bytes(
    tiny_folder: Path, start: Callable[..., Started], tmp_path: Path
) -> None:
    """The tiny PixArt pipeline, in this process and on two workers that load it themselves."""
    (tmp_path / "search.txt").write_text(
        "a large red circle on a gray background\na small blue square on a white background\n"
        "a small green square on a white background\na large green circle on a gray background\n"
        "a large blue circle on a white background\n"
    )
    # Of which the last three are left to the workers: three batches are timed by the driver.
    scenes = [
        f"a {size} red {shape} on a white background\n" for size in ("small", "large") for shape in SHAPES
    ]
    (tmp_path / "heldout.txt").write_text("".join(scenes[:9]))
    settings = {
        **{"model": str(tiny_folder), "steps": 6, "generations": 3, "population": 6, "quality": "alignment"},
        **{"prompts": str(tmp_path / "search.txt"), "heldout_prompts": str(tmp_path / "heldout.txt")},
        **{"height": 64, "width": 64, "batch_size": 2, "device": "cpu"},
        **{"prompts_limit": 3, "selection_limit": 2},
    }
    options = [
        part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))
    ]
    command = ["-m", "ecad.cli.main", "search", *options, "--threads", "1", "--out", tmp_path / "ray"]
    started = start(*command, "--workers", "2")
    _, err = started.process.communicate(timeout=240)
    assert started.process.returncode == 0, err
    assert started.all_gone(), started.family()
    assert "\x1b" not in err
    assert "ray" not in err.lower().replace(str(tmp_path / "ray"), "").replace("gray", ""), err
    assert "starting 2 workers" in err
    search(SearchSettings.from_mapping(settings), tmp_path / "local", execution=ExecutionSettings(threads=1))
    for name in (
        "config.yaml",
        "evaluations.jsonl",
        "selection-1.jsonl",
        "selection-2.jsonl",
        "history.json",
    ):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()
    fronts = [sorted((tmp_path / run / "front").glob("*")) for run in ("ray", "local")]
    assert [path.read_bytes() for path in fronts[0]] == [path.read_bytes() for path in fronts[1]]
    reports = [json.loads((tmp_path / run / "report.json").read_text()) for run in ("ray", "local")]
    measured = ("latency_s", "speedup_latency", "speedup_latency_range", "latency_spread")
    rows = [[{**row, **dict.fromkeys(measured)} for row in report["rows"]] for report in reports]
    assert rows[0] == rows[1]
    assert [report["latency"]["batches"] for report in reports] == [3, 4]


@pytest.mark.ray
def test_two_nodes_started_by_hand_and_a_driver_that_joins_by_address(
    whole: dict[str, bytes], start: Callable[..., Started], tmp_path: Path
) -> None:
    """What experiments/cluster does on several machines, on one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "ab" * 32, "RAY_USAGE_STATS_ENABLED": "0"}
    common = ["--num-cpus=1", f"--object-store-memory={100 * 2**20}", "--block"]
    ray = ["-c", "from ray.scripts.scripts import main; main()", "start"]
    folder = tempfile.mkdtemp(prefix="ecad-test-", dir="/tmp")  # short: it holds sockets
    try:
        port = address.rpartition(":")[2]
        head = start(
            *(*ray, "--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={folder}", *common),
            **token,
        )
        head.wait_until(lambda: "raylet" in names(head.family()))
        node = start(*ray, f"--address={address}", *common, **token)
        node.wait_until(lambda: "raylet" in names(node.family()))
        script = TESTS / "contracts" / "fake_search.py"
        variables = {**token, fake_search.ADDRESS: address}
        driver = start(script, tmp_path / "run", 2, 0.04, **variables)
        _, err = driver.process.communicate(timeout=150)
        assert driver.process.returncode == 0, err
        assert results(tmp_path / "run") == whole
        # One worker on each node, for each has one CPU; the cluster is still there afterwards.
        status = json.loads((tmp_path / "run" / "status.json").read_text())
        assert [worker["images"] > 0 for worker in status["workers"]] == [True, True]
        for each in (node, head):
            assert "raylet" in names(each.family())
            each.process.terminate()
        assert node.all_gone()
        assert head.all_gone()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def names(processes: list[int]) -> set[str]:
    found = set()
    for process in processes:
        with contextlib.suppress(OSError):
            found.add(Path(f"/proc/{process}/comm").read_text().strip())
    return found


def test_the_files_for_clusters_can_be_read() -> None:
    folder = TESTS.parent / "experiments" / "cluster"
    cluster = yaml.safe_load((folder / "ray-cluster.yaml").read_text())
    assert {"cluster_name", "provider", "available_node_types", "head_node_type"} <= set(cluster)
    assert cluster["head_node_type"] in cluster["available_node_types"]
    subprocess.run(["bash", "-n", folder / "search.slurm"], check=True)
