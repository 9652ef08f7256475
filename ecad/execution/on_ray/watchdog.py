"""Ends what is left of a Ray of ours when the process that started it was killed and could not do so itself.

Run as a program of its own, by the process that it watches: it gets the folder of that Ray as argument, and acts when
its standard input closes or its parent is another one. Processes are recognised by the folder in their environment
(`FOLDER_VARIABLE`) or by open files in it; some of Ray's overwrite their environment with their title. They would end
without it, too, but some take a minute to notice.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
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

_LOGGER = logging.getLogger(__name__)


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[None]:
    """While inside, a Ray in `folder` ends with this process. Where there is no /proc it does nothing."""
    watchdog = _start(folder) if Path("/proc/self/environ").exists() else None
    is_clean = False
    try:
        yield
        is_clean = True
    finally:
        if watchdog is not None and watchdog.stdin is not None:
            if is_clean:  # Ray was ended properly
                watchdog.kill()
                watchdog.wait()
            watchdog.stdin.close()  # otherwise it has a look


def _start(folder: Path) -> subprocess.Popen[bytes] | None:
    try:
        return subprocess.Popen(
            [sys.executable, "-I", __file__, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # Ctrl-C in the terminal is not for it
        )
    except OSError as error:
        _LOGGER.warning("if this process is killed, Ray's may outlive it for a minute: %s", error)
        return None


def end_processes_of(folder: str, spared: int) -> None:
    """Kill all of this user's processes that belong to this folder, but for process number `spared`."""
    empty_looks = 0
    for _ in range(_MOST_LOOKS):
        found = [process for process in _processes_of(folder) if process not in (spared, os.getpid())]
        for process in found:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                os.kill(process, signal.SIGKILL)
        empty_looks = 0 if found else empty_looks + 1
        if empty_looks == _EMPTY_LOOKS:
            return
        time.sleep(_BETWEEN_LOOKS_S)


def _processes_of(folder: str) -> list[int]:
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended, or belongs to somebody else
                if _belongs_to(path, folder):
                    found.append(int(path.name))
    return found


def _belongs_to(process: Path, folder: str) -> bool:
    if f"{FOLDER_VARIABLE}={folder}".encode() in (process / "environ").read_bytes().split(b"\0"):
        return True
    for entry in (process / "fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            if str(entry.readlink()).startswith(f"{folder}/"):
                return True
    return False


def _wait_for_end_of(parent: int) -> None:
    """Until the pipe is closed or the parent has gone; a forked child of the parent may keep the pipe open."""
    while os.getppid() == parent and not select.select([sys.stdin], [], [], 1.0)[0]:
        pass


if __name__ == "__main__":
    watched_process = os.getppid()
    _wait_for_end_of(watched_process)
    end_processes_of(sys.argv[1], spared=watched_process)
    shutil.rmtree(sys.argv[1], ignore_errors=True)
