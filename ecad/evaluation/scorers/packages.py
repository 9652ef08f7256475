"""Packages that only some scorers need: missing or broken ones are named in one line."""

from __future__ import annotations

from importlib import import_module

from ecad.errors import ConfigError


def need_package(package: str, metric: str) -> None:
    """Import `package`; ConfigError with the remedy if that fails, also for reasons of its own."""
    try:
        import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise ConfigError(f"{metric} needs {package}, which needs {error.name}: {_REMEDY}") from None
        raise ConfigError(f"{metric} needs the package {package}: {_REMEDY}") from None
    except Exception as error:  # torchvision of another torch raises RuntimeError, a missing library OSError
        reason = " ".join(str(error).split())[:160]
        raise ConfigError(
            f"{metric} needs {package}, which cannot be imported here ({type(error).__name__}: {reason}): "
            "install torch and torchvision versions that belong together"
        ) from None


_REMEDY = "pip install 'ecad[metrics]'"
