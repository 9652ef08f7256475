"""Ray for the tests: one cluster of real Ray processes per session, as `ray.cluster_utils` makes them."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def ray_environment() -> dict[str, str]:
    """What a Ray of our own has set, for one that a test starts itself."""
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
        "RAY_DISABLE_IMPORT_WARNING": "1",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """A connected cluster: a head with 4 CPUs. Nodes that a test adds, it removes."""
    pytest.importorskip("ray", reason="Ray is not installed")
    # First: it has Ray listen on the loopback interface only.
    import ray
    from ray._private.authentication.authentication_token_setup import enable_token_auth_by_default
    from ray.cluster_utils import Cluster

    from ecad.execution.on_ray.cluster import loopback_only

    folder = tempfile.mkdtemp(prefix="ecad-test-", dir="/tmp")
    Path("/tmp/ray").mkdir(exist_ok=True)  # Cluster notes its address there, whatever its folder is
    before = dict(os.environ)
    os.environ.update(ray_environment())
    # The workers unpickle classes of tests/.
    paths = [str(Path(__file__).resolve().parent.parent), before.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    enable_token_auth_by_default()  # as ray.init does for a cluster of its own
    try:
        arguments = {
            "num_cpus": 4,
            "include_dashboard": False,
            "object_store_memory": 100 * 2**20,
            "temp_dir": folder,
            "node_ip_address": "127.0.0.1",
        }
        with loopback_only():
            cluster = Cluster(initialize_head=True, head_node_args=arguments)
            try:
                ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
                yield cluster
            finally:
                ray.shutdown()
                cluster.shutdown()
    finally:
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)
