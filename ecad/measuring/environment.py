"""Facts of hardware and versions, for people who read results; and which versions decide them."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import ecad


def environment(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Versions and hardware of this process, computing there in that dtype."""
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    return {
        "ecad": ecad.__version__,
        "python": sys.version.split()[0],
        **versions("torch", "diffusers", "transformers", "numpy", "pymoo"),
        "platform": platform.platform(),
        "device": str(device),
        "hardware": hardware,
        "torch_threads": torch.get_num_threads(),
        "dtype": str(dtype),
    }


def versions(*packages: str, absent: str = "missing") -> dict[str, str]:
    """Package -> installed version, or `absent`."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = absent
    return found


def processor_name() -> str:
    """The CPU's name and number of usable cores; Linux tells the name only in /proc/cpuinfo."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {os.cpu_count()} cores"
