"""Where scorers find their weights: a local path that the user gave, or the model hub's cache and download."""

from __future__ import annotations

import os
from pathlib import Path

from ecad.errors import ConfigError


def given_path(option: str | None, variable: str) -> Path | None:
    """The path in `option`, else in the environment variable; None if neither is set.

    Raises ConfigError if nothing is there.
    """
    text = option if option is not None else os.environ.get(variable, "")
    if not text:
        return None
    path = Path(text).expanduser()
    if not path.exists():
        source = f"{variable}={text}" if option is None else repr(text)
        raise ConfigError(f"{source}: there is no such file or folder")
    return path


def hub_file(repository: str, name: str, remedy: str) -> Path:
    """A file of a hub repository, from the cache or downloaded; ConfigError with the `remedy` if it cannot be had."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, name))
    except (
        Exception
    ) as error:  # its many errors have no common base: offline, gated, unknown, proxy, disk full
        reason = str(error).strip().splitlines() or [""]
        raise ConfigError(
            f"cannot get {name} of {repository} ({type(error).__name__}: {reason[0][:160]}): {remedy}"
        ) from None


def cached_hub_file(repository: str, name: str) -> Path | None:
    """A file of a hub repository if it is in the local cache; nothing is downloaded."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, name)
    return Path(found) if isinstance(found, str) else None
