"""Whether the model hub can be asked. Where it cannot, what is missing shows in seconds.

huggingface_hub asks a hub that is away again and again, for every file: minutes. One question beforehand spares that,
and a download that has begun may take as long as it likes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ecad.errors import all_lines

_REMEMBERED_S = 60.0
_answers: dict[
    str, tuple[float, str | None]
] = {}  # endpoint -> when it was asked, and why it cannot be reached


def endpoint() -> str:
    """Of the environment now, which may have changed after huggingface_hub was imported."""
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or str(constants.ENDPOINT)


def why_away() -> str | None:
    """Why the hub cannot be asked; None if it answers, whatever that is, within HF_HUB_ETAG_TIMEOUT (10 s)."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    where = endpoint()
    asked, answer = _answers.get(where, (-_REMEMBERED_S, None))
    if time.monotonic() - asked < _REMEMBERED_S:
        return answer
    answer = None
    try:
        get_session().head(where, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:  # of requests or of httpx, depending on the version
        answer = f"cannot reach {where} ({all_lines(error)})"
    _answers[where] = (time.monotonic(), answer)
    return answer


@contextmanager
def hub_or_cache() -> Iterator[str | None]:
    """While inside, the libraries that load from the hub use their cache alone, if the hub is away. Yields why it is.

    What takes `local_files_only` should be told, too.
    """
    from huggingface_hub import constants, utils

    why = why_away()
    if why is None:
        yield None
        return
    # Before version 1 a session knew from its making whether it is offline.
    make_new_sessions: Callable[[], None] = getattr(utils, "reset_sessions", lambda: None)
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    make_new_sessions()
    try:
        yield why
    finally:
        constants.HF_HUB_OFFLINE = before
        make_new_sessions()
