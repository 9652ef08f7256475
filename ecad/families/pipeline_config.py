"""The small JSON files by which a local diffusers pipeline says what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ecad.errors import ModelError


def read_model_index(folder: Path) -> dict[str, Any]:
    """`model_index.json` of a local diffusers pipeline: its class, and (library, class) of each component."""
    return _read_json(folder, "model_index.json")


def read_transformer_config(folder: Path) -> dict[str, Any]:
    """`transformer/config.json` of a local diffusers pipeline."""
    return _read_json(folder, "transformer/config.json")


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object that every diffusers pipeline folder has."""
    path = folder / name
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{folder} is not a diffusers pipeline folder: {name} is missing "
            "(make one with pipe.save_pretrained(folder))"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not valid JSON: {error}") from None
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path} must hold a JSON object, not a {type(config).__name__}")
    return config
