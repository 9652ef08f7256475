"""Where and in what precision torch computes, and with how many CPU threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch

from ecad.errors import ConfigError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def choose_device(name: str = "auto") -> torch.device:
    """A torch device by name; "auto" takes a GPU if there is one."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device {name!r}: use auto, cpu, cuda, cuda:N or mps") from None
    if device.type not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"unknown device {name!r}: use auto, cpu, cuda, cuda:N or mps")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} was asked for, but torch sees no CUDA GPU on this machine")
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """A torch dtype by name; "auto" is float32 on a CPU, which has no fast half precision, else float16."""
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    if name not in DTYPES:
        raise ConfigError(f"unknown dtype {name!r}: use auto or one of {', '.join(DTYPES)}")
    return DTYPES[name]


def free_memory_bytes(device: torch.device, processes: int = 1) -> int | None:
    """Bytes that each of so many processes can still use: on a CUDA GPU what is free (each has its own), on a CPU its
    share of what the machine has available; None where nobody says."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    if device.type == "cpu":
        return int(psutil.virtual_memory().available) // max(1, processes)
    return None


def dtype_argument(dtype: torch.dtype) -> dict[str, Any]:
    """The dtype as an argument of diffusers' `from_pretrained`, which 0.42 renamed; the old name warns there."""
    import diffusers

    release = tuple(int(part) for part in diffusers.__version__.split(".")[:2])
    return {"dtype" if release >= (0, 42) else "torch_dtype": dtype}


# Sums may depend in their last bits on the number of CPU threads: it is part of a run's numerics. threadpoolctl comes
# with the extra `search` and is imported at its use: `ecad evaluate` works without that extra.


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
