"""What this machine has for ecad: versions, devices, memory, disk, Ray, a browser. Nothing is loaded or asked for."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import torch

import ecad
from ecad import hub
from ecad.measuring.environment import processor_name, versions
from ecad.sampling.embeddings import cache_folder

_PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "huggingface-hub", "numpy")
_OF_EXTRAS = ("pymoo", "ray", "matplotlib", "torchvision", "open_clip_torch", "torchmetrics", "lpips", "peft")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def machine() -> dict[str, dict[str, Any]]:
    """Section -> name -> what was found, as plain data; sizes in bytes."""
    return {
        "versions": {
            "ecad": ecad.__version__,
            "python": sys.version.split()[0],
            **versions(*_PACKAGES, *_OF_EXTRAS),
            "platform": platform.platform(),
        },
        "devices": _devices(),
        "memory": {"total": psutil.virtual_memory().total, "available": psutil.virtual_memory().available},
        "disk": _disk(),
        "hub": {"address": hub.endpoint(), "offline": _is_offline()},
        "ray": {"version": versions("ray")["ray"], "address": os.environ.get("RAY_ADDRESS")},
        "browser": _browser(),
    }


def _devices() -> dict[str, Any]:
    found: dict[str, Any] = {"cpu": processor_name(), "cpu_threads": torch.get_num_threads()}
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(number)
        name = torch.cuda.get_device_name(number)
        found[f"cuda:{number}"] = {"name": name, "total": total, "free": free}
    if torch.backends.mps.is_available():
        found["mps"] = "Metal"
    return found


def _disk() -> dict[str, Mapping[str, Any]]:
    """Of the folders that grow: where they are, and how much is free there."""
    from huggingface_hub import constants

    folders = {
        "runs": Path.cwd(),
        "hub's cache": Path(constants.HF_HUB_CACHE),
        "ecad's cache": cache_folder(),
    }
    found: dict[str, Mapping[str, Any]] = {}
    for name, folder in folders.items():
        there = next(each for each in (folder, *folder.parents) if each.is_dir())
        found[name] = {"folder": str(folder), "free": shutil.disk_usage(there).free}
    return found


def _is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _browser() -> dict[str, str | None]:
    """For pictures and tests of the report page; people look at it with any browser."""
    path = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        return {"path": None, "version": None}
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {"path": path, "version": None}
    return {"path": path, "version": said.stdout.strip() or None}
