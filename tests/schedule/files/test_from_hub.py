"""`hf://` addresses, against a server of this process that answers as a model hub does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

import ecad
from ecad.errors import ScheduleError
from ecad.evaluating.contenders import read_wishes
from ecad.schedule import ScheduleShape, dump_schedule, heuristic, load_schedule
from ecad.schedule.files.from_hub import HubFile, parse_hub_address

SHAPE = ScheduleShape("pixart", 4, {"transformer_blocks": 3})
OLD, NEW = heuristic("fora:2", SHAPE), heuristic("fora:3", SHAPE)
FIRST = "1" * 40  # the commit of v1


class Hub:
    """A hub's repositories: (kind/)name -> revision -> path -> content, and what to answer instead."""

    def __init__(self) -> None:
        old, new = dump_schedule(OLD).encode(), dump_schedule(NEW).encode()
        main = {
            "fast.yaml": new,
            "deep/er/fast.yaml": new,
            "broken.yaml": b"ecad_schedule: 7\n",
            "a@b.yaml": new,
        }
        self.files: dict[str, dict[str, dict[str, bytes]]] = {
            "owner/name": {"main": main, "v1": {"fast.yaml": old}, FIRST: {"fast.yaml": old}},
            "datasets/owner/name": {"main": {"fast.yaml": old}},
        }
        self.files["owner/name"]["refs/pr/1"] = self.files["owner/name"]["v1"]
        self.private: set[str] = set()
        self.gated: set[str] = set()
        self.status: int | None = None  # of every answer
        self.size: int | None = None  # what it says that a file has
        self.requests: list[tuple[str, str]] = []
        self.url = ""

    def answer(self, path: str, token: str | None) -> tuple[int, dict[str, str], bytes]:
        if self.status is not None:
            return self.status, {}, b""
        name, _, rest = path.strip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        revision = unquote(revision)
        if name not in self.files or (name in self.private and token != "hf_good"):
            return 401, {"X-Error-Code": "RepoNotFound"}, b""
        if name in self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        if revision not in self.files[name]:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        files = self.files[name][revision]
        commit = (
            FIRST if files is self.files[name].get("v1") else hashlib.sha1(repr(files).encode()).hexdigest()
        )
        if unquote(file) not in self.files[name][revision]:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b""
        content = self.files[name][revision][unquote(file)]
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        size = str(len(content) if self.size is None else self.size)
        return 200, {"X-Repo-Commit": commit, "ETag": etag, "Content-Length": size}, content


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def answer(self, has_body: bool) -> None:
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
            hub.requests.append((self.command, self.path))
            status, headers, content = hub.answer(urlsplit(self.path).path, token)
            self.send_response(status)
            for key, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if has_body:
                self.wfile.write(content)

        def do_HEAD(self) -> None:
            self.answer(has_body=False)

        def do_GET(self) -> None:
            self.answer(has_body=True)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield hub
    server.shutdown()
    server.server_close()


def refused(address: str) -> str:
    with pytest.raises(ScheduleError) as error:
        load_schedule(address)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    return str(error.value)


# --- what it reads ---


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("hf://owner/name/fast.yaml", NEW),
        ("HF://owner/name/deep/er/fast.yaml", NEW),
        ("hf://owner/name@v1/fast.yaml", OLD),
        (f"hf://owner/name@{FIRST}/fast.yaml", OLD),
        ("hf://owner/name@refs/pr/1/fast.yaml", OLD),
        ("hf://owner/name@refs%2Fpr%2F1/fast.yaml", OLD),
        ("hf://datasets/owner/name/fast.yaml", OLD),
        ("hf://models/owner/name/fast.yaml", NEW),
        ("hf://owner/name/a@b.yaml", NEW),
    ],
)
def test_reads(address: str, expected: Any, hub: Hub) -> None:
    assert load_schedule(address) == expected


def test_apply_evaluate_and_the_public_name(hub: Hub, tiny_pipe: Any) -> None:
    with ecad.applied(tiny_pipe, "hf://owner/name/fast.yaml") as applied:
        assert applied.schedule == NEW
    (wish,) = read_wishes(["hf://owner/name@v1/fast.yaml"])
    assert (wish.name, wish.long_name, wish.schedule) == ("fast", "hf://owner/name@v1/fast.yaml", OLD)
    assert ecad.load_schedule("hf://owner/name/fast.yaml") == NEW


def test_a_branch_is_asked_for_each_time_a_commit_once(hub: Hub) -> None:
    load_schedule("hf://owner/name/fast.yaml")
    hub.files["owner/name"]["main"] = {"fast.yaml": dump_schedule(OLD).encode()}
    assert load_schedule("hf://owner/name/fast.yaml") == OLD
    load_schedule(f"hf://owner/name@{FIRST}/fast.yaml")
    hub.requests.clear()
    assert load_schedule(f"hf://owner/name@{FIRST}/fast.yaml") == OLD
    assert hub.requests == []


def test_a_token_opens_what_is_private(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.private.add("owner/name")
    message = refused("hf://owner/name/fast.yaml")
    assert "no model repository owner/name, or no permission to read it" in message
    assert "hf auth login" in message
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert load_schedule("hf://owner/name/fast.yaml") == NEW


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_the_cache_helps_where_the_hub_does_not(status: int, hub: Hub) -> None:
    load_schedule("hf://owner/name/fast.yaml")
    hub.status = status
    assert load_schedule("hf://owner/name/fast.yaml") == NEW
    message = refused("hf://owner/name@v1/fast.yaml")
    assert "permission" in message if status in (401, 403) else f"HTTP {status}" in message


def test_without_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    load_schedule("hf://owner/name/fast.yaml")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    assert load_schedule("hf://owner/name/fast.yaml") == NEW
    message = refused("hf://owner/name@v1/fast.yaml")
    assert "cannot reach http://127.0.0.1:9 (" in message
    assert "not in the cache" in message


def test_the_command_line_online_and_offline(hub: Hub, tmp_path: Path) -> None:
    """In processes of their own, because huggingface_hub reads its settings when it is imported."""
    places = {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_CACHE": str(tmp_path / "other"),
        "HF_HOME": str(tmp_path / "home"),
    }
    command = [
        sys.executable,
        "-m",
        "ecad.cli.main",
        "schedule",
        "check",
        "hf://owner/name/fast.yaml",
        "--json",
    ]

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        where = Path(ecad.__file__).resolve().parent.parent
        environment = {**os.environ, **places, "PYTHONPATH": str(where), **more}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    nothing = run(HF_HUB_OFFLINE="1")
    assert nothing.returncode == 2
    (line,) = nothing.stderr.splitlines()
    assert line.startswith(
        "error: hf://owner/name/fast.yaml: HF_HUB_OFFLINE is set, and the file is not in the cache"
    )
    assert json.loads(run().stdout)["steps"] == 4
    hub.requests.clear()
    offline = run(HF_HUB_OFFLINE="1")
    assert json.loads(offline.stdout)["steps"] == 4
    assert hub.requests == []


def test_generate_reads_it_before_it_loads_a_model(hub: Hub) -> None:
    from typer.testing import CliRunner

    from ecad.cli.main import app

    command = [
        "generate",
        "--model",
        "pixart-mini",
        "--prompt",
        "a cat",
        "--schedule",
        "hf://owner/name/slow.yaml",
    ]
    error = CliRunner().invoke(app, command).exception
    assert isinstance(error, ScheduleError)
    assert "owner/name has no file 'slow.yaml'" in str(error)


# --- what it refuses ---


def test_a_missing_file(hub: Hub) -> None:
    message = refused("hf://owner/name/slow.yaml")
    assert "owner/name has no file 'slow.yaml' at 'main'" in message
    assert f"{hub.url}/owner/name/tree/main" in message
    assert "a revision stands behind the name" in refused("hf://owner/name/fast.yaml@v1")


def test_a_wrong_revision(hub: Hub) -> None:
    assert "owner/name has no revision 'v9': name a branch, tag or commit" in refused(
        "hf://owner/name@v9/fast.yaml"
    )


def test_a_missing_repository(hub: Hub) -> None:
    assert "there is no model repository owner/other" in refused("hf://owner/other/fast.yaml")
    assert "there is no dataset repository owner/other" in refused("hf://datasets/owner/other/fast.yaml")


def test_a_gated_repository(hub: Hub) -> None:
    hub.gated.add("owner/name")
    message = refused("hf://owner/name/fast.yaml")
    assert f"ask for it at {hub.url}/owner/name" in message
    assert "hf auth login" in message


def test_a_large_file_is_not_downloaded(hub: Hub) -> None:
    hub.size = 5_000_000_000
    assert "says that it has 5000.0 MB; a schedule has at most 2 MB, so nothing was downloaded" in refused(
        "hf://owner/name/fast.yaml"
    )
    assert {method for method, _ in hub.requests} == {"HEAD"}


def test_the_content_is_checked_as_of_any_file(hub: Hub) -> None:
    assert refused("hf://owner/name/broken.yaml").startswith(
        "hf://owner/name/broken.yaml, line 1: format version 7"
    )
    hub.files["owner/name"]["main"]["fast.yaml"] = b"\xff\xfe"
    assert "hf://owner/name/fast.yaml, line 1: not UTF-8 text" in refused("hf://owner/name/fast.yaml")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://", "owner, name and PATH are needed"),
        ("hf://owner", "owner, name and PATH are needed"),
        ("hf://owner/name", "owner, name and PATH are needed"),
        ("hf://owner/name/", "owner, name and PATH are needed"),
        ("hf://owner//fast.yaml", "owner, name and PATH are needed"),
        ("hf://datasets/owner/name", "owner, name and PATH are needed"),
        ("hf://owner/name@/fast.yaml", "a revision behind it"),
        ("hf://owner/@v1/fast.yaml", "a name stands before the @"),
        ("hf://owner/name/../fast.yaml", "cannot lead out of the repository"),
        ("hf://owner/name/fast.yaml#sha256=1", "name a commit as the REVISION"),
        ("hf://owner/na me!/fast.yaml", "hf://owner/na me!/fast.yaml: "),
        ("hf://owner/name/a\nb.yaml", "has no file"),
    ],
)
def test_addresses_that_are_none(address: str, message: str, hub: Hub) -> None:
    assert message in refused(address)


def test_the_parts_of_an_address() -> None:
    assert parse_hub_address("o/n@a%2Fb/c/d.yaml") == HubFile("o/n", "c/d.yaml", "a/b", "model")
    assert str(parse_hub_address("spaces/o/n@v1/c.yaml")) == "hf://spaces/o/n@v1/c.yaml"
