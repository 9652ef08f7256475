"""The Ray that a search runs on: one of its own on this machine, or a cluster that it joins."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ray

from ecad.errors import ConfigError, RunError, describe
from ecad.execution.on_ray.watchdog import FOLDER_VARIABLE, watched

_OBJECT_STORE_BYTES = 128 * 2**20  # it holds the pickled factory and results of a few hundred bytes
_LOOPBACK = "127.0.0.1"
_FOLDER_PREFIX = "ecad-ray-"
_CONNECT_TIMEOUT_S = 5.0


@contextlib.contextmanager
def own_cluster(workers: int, cpus: float, gpus: float) -> Iterator[None]:
    _remove_leftovers()
    # Ray's socket paths must fit into 107 bytes: a run folder's path may not leave enough room.
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-", dir="/tmp"))
    changed = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    if not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
        # Ray (2.60 and later) turns on authentication by token for a cluster that it starts. A token of this
        # process only, instead of the file in the home folder that Ray would write for all to read.
        changed["RAY_AUTH_TOKEN"] = _token()
    try:
        with watched(folder), loopback_only(), _environment(changed):
            with _environment({FOLDER_VARIABLE: str(folder)}):  # of Ray's processes, not of others of ours
                _start(folder, cpus=max(os.cpu_count() or 1, int(workers * cpus + 0.5)))
            try:
                yield
            finally:
                ray.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, cpus: int) -> None:
    """Start Ray's processes. They have 30 s, which is short on a machine that is very busy: hence two tries.

    `cpus` are what Ray believes to have: more workers than cores are slow, but not refused.
    """
    for attempt in (1, 2):
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=str(folder),
                _node_ip_address=_LOOPBACK,
            )
            return
        except Exception as error:
            ray.shutdown()
            if attempt == 2:
                raise RunError(f"cannot start Ray on this machine: {describe(error)}") from error


@contextlib.contextmanager
def loopback_only() -> Iterator[None]:
    """A Ray that is started meanwhile listens on the loopback interface and nowhere else.

    Ray replaces 127.0.0.1 by the machine's address, except where it holds clusters to be unsupported (Windows
    and macOS). This says that they are, to this process and, by the variable, to those that it starts.
    """
    constants = getattr(getattr(ray, "_private", None), "ray_constants", None)
    before = getattr(constants, "ENABLE_RAY_CLUSTER", None)
    if constants is not None and before is not None:
        constants.ENABLE_RAY_CLUSTER = False
    try:
        with _environment({"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}):
            yield
    finally:
        if constants is not None and before is not None:
            constants.ENABLE_RAY_CLUSTER = before


@contextlib.contextmanager
def joined_cluster(address: str) -> Iterator[None]:
    if "://" not in address and address != "auto":
        _check_listening(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise RunError(f"cannot join the Ray cluster at {address!r}: {describe(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_listening(address: str) -> None:
    """Ray itself would try for a minute."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"--ray-address must be auto, host:port or ray://host:port, not {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise RunError(f"no Ray cluster at {address}: {error.strerror or error}") from None


def check_resources(cpus: float, gpus: float) -> None:
    """An actor that fits on no node would wait for ever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0.0) >= cpus and node.get("GPU", 0.0) >= gpus for node in nodes):
        most_cpus = max((node.get("CPU", 0.0) for node in nodes), default=0.0)
        most_gpus = max((node.get("GPU", 0.0) for node in nodes), default=0.0)
        raise RunError(
            f"each worker asks for {cpus:g} CPUs and {gpus:g} GPUs on one machine, the cluster's largest have "
            f"{most_cpus:g} and {most_gpus:g}: change --threads or --gpus-per-worker"
        )


_process_token = ""


def _token() -> str:
    """The same for all clusters of this process, because Ray reads it only once."""
    global _process_token
    _process_token = _process_token or secrets.token_hex(32)
    return _process_token


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in [*values, "RAY_AUTH_MODE"]}  # Ray sets the last one
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _remove_leftovers() -> None:
    """Folders of processes of ours that were killed before they could tidy up."""
    for folder in Path("/tmp").glob(f"{_FOLDER_PREFIX}*-*"):
        process = folder.name.removeprefix(_FOLDER_PREFIX).partition("-")[0]
        try:
            is_ours = not folder.is_symlink() and folder.stat().st_uid == os.getuid()
            if is_ours and process.isdigit() and not Path(f"/proc/{process}").exists():
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue
