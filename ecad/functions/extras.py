"""What needs more than the base installation says so in one line, before it starts."""

from __future__ import annotations

from importlib.util import find_spec

from ecad.errors import ConfigError


def need(*packages: str) -> None:
    """Raise ConfigError, with the remedy, if one of these packages of the extra `search` is missing."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ConfigError(f"this needs {', '.join(missing)}: pip install 'ecad[search]'")
