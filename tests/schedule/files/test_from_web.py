"""`https://...#sha256=` addresses, against servers of this process, one of them with a certificate of its own."""

from __future__ import annotations

import hashlib
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ecad.errors import ScheduleError
from ecad.evaluating.contenders import read_wishes
from ecad.schedule import ScheduleShape, dump_schedule, heuristic, load_schedule
from ecad.schedule.files.from_web import Patience, web_file

SCHEDULE = heuristic("fora:2", ScheduleShape("pixart", 4, {"transformer_blocks": 3}))
CONTENT = dump_schedule(SCHEDULE).encode()
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NOBODY = "0" * 64


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers)))  # type: ignore[attr-defined]
        name, _, argument = self.path.partition("?")[0].strip("/").partition("/")
        getattr(self, f"answer_{name}", self.answer_missing)(argument)

    def send(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content_Length": str(len(content)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def answer_file(self, argument: str) -> None:
        self.send(CONTENT)

    def answer_status(self, argument: str) -> None:
        self.send(b"", int(argument))

    def answer_missing(self, argument: str) -> None:
        self.send(b"", 404)

    def answer_to(self, argument: str) -> None:
        self.send(b"", 302, Location=self.server.target)  # type: ignore[attr-defined]

    def answer_circle(self, argument: str) -> None:
        self.send(b"", 302, Location=self.path)

    def answer_large(self, argument: str) -> None:
        """Says nothing of its size, and never ends."""
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"x" * 65_536)
                self.server.sent += 65_536  # type: ignore[attr-defined]
        except OSError:  # the client has gone
            pass

    def answer_announced(self, argument: str) -> None:
        self.send(b"", Content_Length="5000000000")

    def answer_short(self, argument: str) -> None:
        self.send(CONTENT, Content_Length=str(len(CONTENT) + 100))

    def answer_silent(self, argument: str) -> None:
        self.server.stop.wait(10)  # type: ignore[attr-defined]

    def answer_drops(self, argument: str) -> None:
        """A byte now and then: never silent for long."""
        self.send_response(200)
        self.end_headers()
        try:
            while not self.server.stop.wait(0.02):  # type: ignore[attr-defined]
                self.wfile.write(b"x")
                self.wfile.flush()
        except OSError:
            pass

    def answer_nonsense(self, argument: str) -> None:
        self.wfile.write(b"\x00\x01 not HTTP\r\n\r\n")

    def log_message(self, *arguments: Any) -> None:
        pass


def serve(context: ssl.SSLContext | None = None) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.requests, server.sent, server.stop = [], 0, threading.Event()  # type: ignore[attr-defined]
    server.target = ""  # type: ignore[attr-defined]
    server.handle_error = lambda *arguments: None  # type: ignore[method-assign]  # a client that went away
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


def stop(server: ThreadingHTTPServer) -> None:
    server.stop.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


@pytest.fixture
def plain() -> Iterator[Any]:
    server = serve()
    server.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield server
    stop(server)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key of `localhost`, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not here")
    path = tmp_path_factory.mktemp("certificate") / "both.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    files = ["-keyout", str(path), "-out", str(path.with_suffix(".crt"))]
    subprocess.run([*command, *files], check=True, capture_output=True)
    with path.open("ab") as file:
        file.write(path.with_suffix(".crt").read_bytes())
    return path


@pytest.fixture
def secure(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = serve(context)
    server.url = f"https://localhost:{server.server_port}"  # type: ignore[attr-defined]
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    yield server
    stop(server)


def refused(address: str) -> str:
    with pytest.raises(ScheduleError) as error:
        load_schedule(address)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    return str(error.value)


# --- what it reads ---


def test_https(secure: Any) -> None:
    address = f"{secure.url}/file/fast.yaml"
    assert load_schedule(f"{address}#sha256={DIGEST}") == SCHEDULE
    assert (
        load_schedule(f"{address.replace('https', 'HTTPS')}?download=1#SHA256={DIGEST.upper()}") == SCHEDULE
    )
    assert [path for path, _ in secure.requests] == ["/file/fast.yaml", "/file/fast.yaml?download=1"]
    (wish,) = read_wishes([f"{address}?a=b/c.d#sha256={DIGEST}"])
    assert (wish.name, wish.schedule) == ("fast", SCHEDULE)


def test_plain_http_to_this_machine_itself(plain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # which is not asked
    assert load_schedule(f"{plain.url}/file/a%20b c\u00e9.yaml#sha256={DIGEST}") == SCHEDULE
    ((path, headers),) = plain.requests
    assert path == "/file/a%20b%20c%C3%A9.yaml"
    assert not {"Authorization", "Cookie"} & set(headers)


def test_it_follows_where_it_is_sent_by_https(secure: Any) -> None:
    secure.target = f"{secure.url}/file/other.yaml"
    assert load_schedule(f"{secure.url}/to/fast.yaml#sha256={DIGEST}") == SCHEDULE
    secure.target = "/file/relative.yaml"
    assert load_schedule(f"{secure.url}/to/fast.yaml#sha256={DIGEST}") == SCHEDULE
    assert secure.requests[-1][0] == "/file/relative.yaml"


# --- what it refuses ---


def test_https_never_leads_to_plain_http(secure: Any, plain: Any) -> None:
    """Not even to this machine itself."""
    secure.target = f"{plain.url}/file/fast.yaml"
    message = refused(f"{secure.url}/to/fast.yaml#sha256={DIGEST}")
    assert f"the server sends elsewhere, and not by https ({plain.url})" in message
    assert plain.requests == []


@pytest.mark.parametrize(
    "target", ["http://example.com/fast.yaml", "ftp://127.0.0.1/fast.yaml", "file:///etc/passwd"]
)
def test_this_machine_does_not_lead_elsewhere(target: str, plain: Any) -> None:
    plain.target = target
    message = refused(f"{plain.url}/to/fast.yaml#sha256={DIGEST}")
    assert "give the address of the file itself" in message


def test_a_circle(plain: Any) -> None:
    message = refused(f"{plain.url}/circle/fast.yaml#sha256={DIGEST}")
    assert "from one address to the next without end" in message


def test_a_certificate_that_nobody_trusts(
    secure: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "none.pem").write_text("")
    monkeypatch.delenv("SSL_CERT_FILE")
    message = refused(f"{secure.url}/file/fast.yaml#sha256={DIGEST}")
    assert "certificate is not one that this machine trusts" in message
    assert secure.requests == []


def test_another_content(plain: Any) -> None:
    message = refused(f"{plain.url}/file/fast.yaml#sha256={NOBODY}")
    assert message == (
        f"{plain.url}/file/fast.yaml: the file is not the one that the address names: its SHA-256 is {DIGEST}, not "
        f"{NOBODY}; ask whoever gave you the address"
    )


@pytest.mark.parametrize("fragment", ["", "#", "#fast", "#md5=0123"])
def test_the_hash_is_needed_before_anything_is_asked(fragment: str, plain: Any) -> None:
    message = refused(f"{plain.url}/file/fast.yaml{fragment}")
    assert f"write {plain.url}/file/fast.yaml#sha256=HEX, as sha256sum FILE prints it" in message
    assert plain.requests == []


@pytest.mark.parametrize("digits", ["", "abc", "g" * 64, "0" * 63, "0" * 65, "0" * 5000])
def test_a_hash_that_is_none(digits: str, plain: Any) -> None:
    assert "HEX must be 64 hexadecimal digits" in refused(f"{plain.url}/file/fast.yaml#sha256={digits}")


@pytest.mark.parametrize("host", ["example.com", "128.0.0.1", "localhost.example.com", "[2001:db8::1]"])
def test_plain_http_to_others(host: str) -> None:
    message = refused(f"http://{host}/fast.yaml#sha256={DIGEST}")
    assert message == f"http://{host}/fast.yaml: plain http can be read and changed on its way: use https"


def test_secrets_are_neither_sent_nor_shown(plain: Any) -> None:
    message = refused(f"{plain.url.replace('//', '//me:secret@')}/file/fast.yaml#sha256={DIGEST}")
    assert "ecad sends no name and password" in message
    assert "secret" not in message
    message = refused(f"{plain.url}/missing/fast.yaml?token=secret#sha256={DIGEST}")
    assert "there is no such file (HTTP 404)" in message
    assert "secret" not in message


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "no permission (HTTP 401); ecad sends no password or token"),
        (403, "no permission (HTTP 403); ecad sends no password or token"),
        (404, "there is no such file (HTTP 404): check the address"),
        (500, "the server answers HTTP 500 Internal Server Error: try again later"),
        (503, "the server answers HTTP 503 Service Unavailable: try again later"),
    ],
)
def test_answers_that_are_no_file(status: int, message: str, plain: Any) -> None:
    assert message in refused(f"{plain.url}/status/{status}#sha256={DIGEST}")


@pytest.mark.parametrize("name", ["large", "announced"])
def test_a_large_file_is_not_read_to_its_end(name: str, plain: Any) -> None:
    message = refused(f"{plain.url}/{name}/fast.yaml#sha256={DIGEST}")
    assert message == f"{plain.url}/{name}/fast.yaml is too large for a schedule: it has more than 2 MB"
    assert plain.sent < 20_000_000  # two, and what fits into the sockets' buffers


@pytest.mark.parametrize("name", ["silent", "drops"])
def test_a_slow_server_is_left(name: str, plain: Any) -> None:
    started = time.monotonic()
    with pytest.raises(ScheduleError, match="the server is too slow: try again later"):
        web_file(f"{plain.url}/{name}/fast.yaml#sha256={DIGEST}", 10**6, Patience(0.3, 0.5))
    assert time.monotonic() - started < 5


def test_a_connection_that_breaks_off(plain: Any) -> None:
    message = refused(f"{plain.url}/short/fast.yaml#sha256={DIGEST}")
    assert f"broke off after {len(CONTENT)} of {len(CONTENT) + 100} bytes" in message


def test_what_is_no_http(plain: Any) -> None:
    assert "cannot be read" in refused(f"{plain.url}/nonsense/fast.yaml#sha256={DIGEST}")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("https://", "names no file"),
        ("https://host", "names no file"),
        ("https://host/", "names no file"),
        ("https:///fast.yaml", "names no file"),
        ("https://host:port/fast.yaml", "not an address"),
        ("https://host:99999/fast.yaml", "not an address"),
        ("https://[::1/fast.yaml", "not an address"),
        (f"https://127.0.0.1:9/fast.yaml#sha256={DIGEST}", "cannot be read (Connection refused)"),
        (f"https://no-such-host.invalid/fast.yaml#sha256={DIGEST}", "cannot be read"),
        (f"https://{'a' * 70}.invalid/fast.yaml#sha256={DIGEST}", "cannot be read"),
        (f"https://a..b/fast.yaml#sha256={DIGEST}", "cannot be read"),
        (
            "ftp://host/fast.yaml",
            "a schedule's address is hf://owner/name/PATH or https://HOST/PATH#sha256=HEX",
        ),
        ("s3://bucket/fast.yaml", "a schedule's address is"),
        ("file:///etc/passwd", "a schedule's address is"),
    ],
)
def test_addresses_that_are_none(address: str, message: str) -> None:
    assert message in refused(address)


@pytest.mark.parametrize("address", ["https://host/fast.yaml", "hf://owner/name/fast.yaml"])
def test_an_address_as_a_path(address: str) -> None:
    with pytest.raises(
        ScheduleError, match="give an address as text, not as a Path, which makes one slash of two"
    ):
        load_schedule(Path(address))


def test_the_content_is_checked_as_of_any_file(plain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = b"ecad_schedule: 7\n"
    monkeypatch.setattr(Handler, "answer_file", lambda self, argument: self.send(wrong))
    message = refused(f"{plain.url}/file/fast.yaml#sha256={hashlib.sha256(wrong).hexdigest()}")
    assert message.startswith(f"{plain.url}/file/fast.yaml, line 1: format version 7")
