"""A file by its https address, which must carry the hash of the content: `https://host/fast.yaml#sha256=HEX`.

Whoever gives such an address says what is behind it, so it does not matter who serves it. Nothing is sent but the
request: no password, no token, no cookie.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import time
from typing import IO, Any, NamedTuple
from urllib.parse import SplitResult, quote, urlsplit

from ecad.errors import ScheduleError, one_line

_SAFE = "/:?#[]@!$&'()*+,;=%~"  # what is in an address as it is; the rest is percent-encoded
_DIGEST = re.compile(r"sha256=([0-9a-f]{64})", re.IGNORECASE)
_CHUNK_BYTES = 65_536


class Patience(NamedTuple):
    """Seconds that a server may be silent, and that all may take."""

    silent_s: float = 20.0
    whole_s: float = 60.0


def web_file(address: str, most_bytes: int, patience: Patience = Patience()) -> tuple[bytes, str]:  # noqa: B008
    """The content, and the address without what may be secret in it. ScheduleError, one line, if it cannot be had."""
    parts, shown = _checked(address)
    digest = _digest(parts, shown)
    content = _read(parts._replace(fragment="").geturl(), shown, most_bytes, patience)
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise ScheduleError(
            f"{shown}: the file is not the one that the address names: its SHA-256 is {found}, not {digest}; ask "
            "whoever gave you the address"
        )
    return content, shown


def _checked(address: str) -> tuple[SplitResult, str]:
    """The address in its parts, and what to show of it: no password, and no query, which may hold a token."""
    try:
        parts = urlsplit(quote(address, safe=_SAFE))
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ScheduleError(one_line(f"not an address: {address[:100]!r} ({error})")) from None
    if not host or not parts.path.strip("/"):
        raise ScheduleError(
            one_line(f"{address[:100]!r} names no file: the form is https://HOST/PATH#sha256=HEX")
        )
    shown = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}{parts.path}"
    if "@" in parts.netloc:
        raise ScheduleError(f"{shown}: ecad sends no name and password: take them out of the address")
    if not _is_allowed(parts):
        raise ScheduleError(f"{shown}: plain http can be read and changed on its way: use https")
    return parts, shown


def _is_allowed(parts: SplitResult) -> bool:
    """https, or http to this machine itself."""
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _digest(parts: SplitResult, shown: str) -> str:
    match = _DIGEST.fullmatch(parts.fragment)
    if match is not None:
        return match[1].lower()
    form = f"{shown}#sha256=HEX"
    if parts.fragment.lower().startswith("sha256="):
        digits = parts.fragment[len("sha256=") :]
        raise ScheduleError(f"{form}: HEX must be 64 hexadecimal digits, not {digits[:70]!r} ({len(digits)})")
    raise ScheduleError(
        f"{shown}: the hash of the content is missing, without which it could change unnoticed: write {form}, as "
        "sha256sum FILE prints it"
    )


def _read(address: str, shown: str, most_bytes: int, patience: Patience) -> bytes:
    import http.client
    import ssl
    import urllib.error

    deadline = time.monotonic() + patience.whole_s
    too_slow = ScheduleError(
        f"{shown}: the server is too slow: try again later, or download the file yourself"
    )
    try:
        with _opener(shown).open(address, timeout=patience.silent_s) as response:
            return _content(response, shown, most_bytes, deadline, too_slow)
    except urllib.error.HTTPError as error:
        with error:
            raise ScheduleError(one_line(f"{shown}: {_meaning(error.code, error.reason)}")) from None
    except (
        OSError,
        http.client.HTTPException,
        ValueError,
    ) as error:  # ValueError: host names, as idna sees them
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            raise too_slow from None
        if isinstance(reason, ssl.SSLCertVerificationError):
            remedy = "its certificate is not one that this machine trusts (SSL_CERT_FILE names others)"
            raise ScheduleError(one_line(f"{shown}: {remedy}: {reason.verify_message}")) from None
        said = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        raise ScheduleError(
            one_line(f"{shown}: cannot be read ({said}): check the address and the network")
        ) from None


def _content(response: IO[bytes], shown: str, most_bytes: int, deadline: float, too_slow: Exception) -> bytes:
    """All of it, unless it is too large or comes too slowly."""
    too_large = ScheduleError(
        f"{shown} is too large for a schedule: it has more than {most_bytes / 1e6:g} MB"
    )
    announced = response.headers.get("Content-Length", "")  # type: ignore[attr-defined]
    if announced.isdecimal() and int(announced) > most_bytes:
        raise too_large
    chunks: list[bytes] = []
    received = 0
    while chunk := response.read1(_CHUNK_BYTES):  # type: ignore[attr-defined]  # what is there, without waiting for more
        chunks.append(chunk)
        received += len(chunk)
        if received > most_bytes:
            raise too_large
        if time.monotonic() > deadline:
            raise too_slow
    if announced.isdecimal() and received < int(announced):
        raise ScheduleError(
            f"{shown}: the connection broke off after {received} of {announced} bytes: try again"
        )
    return b"".join(chunks)


def _meaning(status: int, reason: str) -> str:
    if status in (404, 410):
        return f"there is no such file (HTTP {status}): check the address"
    if 300 <= status < 400:
        return (
            "the server sends from one address to the next without end: give the address of the file itself"
        )
    if status in (401, 403):
        return f"no permission (HTTP {status}); ecad sends no password or token: download the file yourself"
    return f"the server answers HTTP {status} {reason}: try again later"


def _opener(shown: str) -> Any:
    """urllib's opener that goes where `_is_allowed` says, also when it is sent elsewhere."""
    import urllib.request

    class Redirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(
            self, request: Any, file: Any, code: int, message: str, headers: Any, url: str
        ) -> Any:
            target, start = urlsplit(url), urlsplit(request.full_url)
            if not _is_allowed(target) or (start.scheme == "https" and target.scheme != "https"):
                file.close()
                raise ScheduleError(
                    one_line(
                        f"{shown}: the server sends elsewhere, and not by https ({target.scheme}://{target.netloc}): "
                        "give the address of the file itself"
                    )
                )
            return super().redirect_request(request, file, code, message, headers, url)

    # Plain http is for this machine itself, which no proxy can reach.
    proxies = {scheme: proxy for scheme, proxy in urllib.request.getproxies().items() if scheme != "http"}
    return urllib.request.build_opener(urllib.request.ProxyHandler(proxies), Redirects)
