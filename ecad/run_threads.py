"""The number of CPU threads is part of a run's numerics: sums may depend on it in their last bits.

threadpoolctl comes with the extra `search` and is imported at its use: `ecad evaluate` works without that extra.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def use_threads(threads: int) -> None:
    """Let this process compute with so many threads: torch, and the BLAS library that numpy calls."""
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    threadpool_limits(limits=threads, user_api="blas")


@contextmanager
def same_threads_afterwards() -> Iterator[None]:
    """Give torch and BLAS their numbers of threads back, which `use_threads` sets."""
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    with threadpool_limits(limits=None):
        try:
            yield
        finally:
            torch.set_num_threads(threads)
