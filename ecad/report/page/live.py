"""A running search as a page that follows it: a small server for this machine alone."""

from __future__ import annotations

import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from ecad.errors import EcadError, RunError
from ecad.report.page.build import folder_content
from ecad.report.page.html import page_html
from ecad.report.page.state import search_state
from ecad.storage import RunFolder
from ecad.storage.status import STATUS_NAME

LOOPBACK = "127.0.0.1"
# What the page shows of a search; the status file, which changes every second, is only a sentence of it.
_WATCHED = ("evaluations.jsonl", "report.json", "calibration.json")
_LOCAL_NAMES = (LOOPBACK, "localhost")


class LivePage:
    """The page of a folder; it is made anew only when the folder's results have changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._made: tuple[str, bytes] | None = None

    def version(self) -> str:
        """Another text whenever there are other results."""
        files = [self._folder / name for name in _WATCHED]
        return ";".join(
            f"{path.name}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in files if path.is_file()
        )

    def state(self) -> dict[str, str | bool]:
        """What the page asks for every few seconds."""
        if (self._folder / "report.json").is_file():
            return {"version": self.version(), "finished": True}
        status = RunFolder(self._folder).read_json(STATUS_NAME) or {}
        state, sentence = search_state(self._folder, status, int(status.get("evaluations", 0)))
        return {"version": self.version(), "finished": False, "state": state, "status": sentence}

    def html(self) -> bytes:
        with self._lock:
            version = self.version()
            if self._made is None or self._made[0] != version:
                text = page_html(folder_content(self._folder), live=version)
                self._made = version, text.encode()
            return self._made[1]


def live_server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server on the loopback address, on any free port if it is 0; `serve_forever` runs it.

    RunError if the folder has no page yet, or the port is taken.
    """
    page = LivePage(folder)
    page.html()  # what is wrong with the folder is said now

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # Another site that has its name point here (DNS rebinding) must not read the page.
            host = (self.headers.get("Host") or "").rpartition(":")[0]
            if host not in _LOCAL_NAMES:
                self._answer(HTTPStatus.FORBIDDEN, "text/plain", b"only for this machine\n")
            elif self.path in ("/", "/index.html"):
                try:
                    self._answer(HTTPStatus.OK, "text/html; charset=utf-8", page.html())
                except EcadError as error:
                    self._answer(
                        HTTPStatus.SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", f"{error}\n".encode()
                    )
            elif self.path == "/state":
                self._answer(HTTPStatus.OK, "application/json", json.dumps(page.state()).encode())
            elif self.path == "/favicon.ico":
                self._answer(HTTPStatus.NO_CONTENT, "image/x-icon", b"")
            else:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"there is only the page: /\n")

        def _answer(self, status: HTTPStatus, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nothing: only the command line prints."""

    try:
        return ThreadingHTTPServer((LOOPBACK, port), Handler)
    except (OSError, OverflowError) as error:
        raise RunError(f"cannot listen on {LOOPBACK}:{port}: {error}; give another --port") from None
