"""Ends what is left of a Ray of ours when the process that started it was killed and could not do so itself.

Run as a program of its own, with the folder of that Ray as argument and the parent's pipe as standard input: the
pipe closes when the parent ends, however that happens. All processes of that Ray have the folder in their
environment (`FOLDER_VARIABLE`). Ray's own processes would end too, but some take up to a minute to notice.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

FOLDER_VARIABLE = "ECAD_RAY_FOLDER"
# A process that is just being started shows no environment: none counts as left after so many looks without any.
_EMPTY_LOOKS = 8
_MOST_LOOKS = 120
_BETWEEN_LOOKS_S = 0.25


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[None]:
    """While inside, a Ray in `folder` ends with this process. Where there is no /proc it does nothing."""
    if not Path("/proc/self/environ").exists():
        yield
        return
    # A session of its own: Ctrl-C in the terminal is not for it.
    watchdog = subprocess.Popen(
        [sys.executable, "-I", __file__, str(folder)], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield
    finally:
        watchdog.kill()  # what it watches over has been ended properly
        watchdog.communicate()


def end_processes_of(folder: str) -> None:
    """Kill all of this user's processes with this folder in their environment."""
    empty_looks = 0
    for _ in range(_MOST_LOOKS):
        found = _processes_of(folder)
        for process in found:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                os.kill(process, signal.SIGKILL)
        empty_looks = 0 if found else empty_looks + 1
        if empty_looks == _EMPTY_LOOKS:
            return
        time.sleep(_BETWEEN_LOOKS_S)


def _processes_of(folder: str) -> list[int]:
    entry = f"{FOLDER_VARIABLE}={folder}".encode()
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            with contextlib.suppress(OSError):  # it has ended, or belongs to somebody else
                if entry in (path / "environ").read_bytes().split(b"\0"):
                    found.append(int(path.name))
    return found


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end_processes_of(sys.argv[1])
    shutil.rmtree(sys.argv[1], ignore_errors=True)
