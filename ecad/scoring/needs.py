"""What only some scorers need: packages, and weights that lie where the user says or on a model hub.

What is missing or broken is named in one line, with the remedy.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from urllib.request import Request, urlopen

from ecad.errors import ConfigError, all_lines
from ecad.hub import hub_or_cache

_PACKAGES_REMEDY = "pip install 'ecad[metrics]'"


def need_package(package: str, metric: str) -> None:
    """Import `package`; ConfigError with the remedy if that fails, also for reasons of its own."""
    try:
        import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise ConfigError(
                f"{metric} needs {package}, which needs {error.name}: {_PACKAGES_REMEDY}"
            ) from None
        raise ConfigError(f"{metric} needs the package {package}: {_PACKAGES_REMEDY}") from None
    except Exception as error:  # torchvision of another torch raises RuntimeError, a missing library OSError
        raise ConfigError(
            f"{metric} needs {package}, which cannot be imported here ({all_lines(error)}): "
            "install torch and torchvision versions that belong together"
        ) from None


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

    with hub_or_cache() as why:
        try:
            return Path(hf_hub_download(repository, name, local_files_only=why is not None))
        except Exception as error:  # many, without a common base: offline, gated, unknown, proxy, disk full
            reason = all_lines(error) if why is None else f"{why}, and it is not in the hub's cache"
            raise ConfigError(f"cannot get {name} of {repository} ({reason}): {remedy}") from None


def check_address(url: str) -> None:
    """OSError in seconds if nobody answers there: torch's own downloads wait without an end."""
    with urlopen(Request(url, method="HEAD"), timeout=10):
        pass


def cached_hub_file(repository: str, name: str) -> Path | None:
    """A file of a hub repository if it is in the local cache; nothing is downloaded."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, name)
    return Path(found) if isinstance(found, str) else None
