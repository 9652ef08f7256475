"""`ecad models --inspect`: from a folder or a class name to a description."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ecad.devices import choose_device, choose_dtype, dtype_argument
from ecad.errors import ModelError, first_line
from ecad.families.pipeline_config import read_transformer_config
from ecad.inspection.describing import Description, describe

_OPTIONS = {"num_inference_steps": 2, "output_type": "latent"}  # of a pipeline's call, if it has them


class _ForwardDone(BaseException):
    """Ends a pipeline's call after the first forward of its transformer."""


def inspect_source(source: str, device: str = "auto") -> Description:
    """Describe the transformer of a pipeline folder, of a folder with its `config.json`, or of a class of diffusers.

    A pipeline is loaded and makes one forward, which is watched. Of a class or a config alone, and of a pipeline that
    cannot run, the modules are made without weights and only their tree is looked at.
    """
    try:
        path = Path(source).expanduser()
        is_there = path.exists()
    except (OSError, RuntimeError) as error:  # name too long; no such user (~name)
        raise ModelError(f"cannot read the model {source[:100]!r}: {error}") from None
    if is_there:
        if (path / "model_index.json").is_file():
            return _pipeline(path, device)
        config = _config_in(path)
        return describe(_without_weights(str(config["_class_name"]), config), origin=str(path))
    if not source.isidentifier():
        raise ModelError(
            f"nothing to inspect at {source!r}: not a folder, and not the name of a class of diffusers"
        )
    return describe(_without_weights(source, None), origin=f"{source} as it is made by default")


def _pipeline(folder: Path, device: str) -> Description:
    from diffusers import DiffusionPipeline

    chosen = choose_device(device)
    try:
        pipe = DiffusionPipeline.from_pretrained(folder, **dtype_argument(choose_dtype("auto", chosen))).to(
            chosen
        )
        pipe.set_progress_bar_config(disable=True)
    except Exception as error:  # whatever its files lack
        return _tree_of(folder, f"the pipeline cannot be loaded: {first_line(error)}")
    transformer = getattr(pipe, "transformer", None)
    if not isinstance(transformer, nn.Module):
        raise ModelError(f"{folder} is a {type(pipe).__name__}, which has no diffusion transformer")
    parameters = inspect.signature(type(pipe).__call__).parameters
    longest = parameters.get("max_sequence_length")
    known: dict[str, Any] = {"origin": str(folder)}
    if longest is not None and isinstance(longest.default, int):
        known["text_tokens"] = longest.default
    if "true_cfg_scale" in parameters:
        known["guidance_setting"] = "true_cfg_scale"
    try:
        return describe(transformer, lambda: _one_forward(pipe, parameters), **known)
    except ModelError:
        raise
    except Exception as error:  # whatever somebody else's pipeline does not like
        return _tree_of(folder, f"the pipeline's call failed: {first_line(error)}")


def _one_forward(pipe: Any, parameters: Mapping[str, inspect.Parameter]) -> None:
    def stop(*_: Any) -> None:
        raise _ForwardDone

    arguments = {name: value for name, value in _OPTIONS.items() if name in parameters}
    if "class_labels" in parameters:
        arguments["class_labels"] = [0]
    else:
        arguments["prompt"] = "a photo of a cat"
    handle = pipe.transformer.register_forward_hook(stop)
    try:
        pipe(**arguments)
    except _ForwardDone:
        pass
    finally:
        handle.remove()


def _tree_of(folder: Path, why: str) -> Description:
    config = read_transformer_config(folder)
    transformer = _without_weights(str(config.get("_class_name")), config)
    return describe(transformer, origin=f"{folder} ({why})")


def _config_in(path: Path) -> dict[str, Any]:
    """The `config.json` of a transformer: the file, or that of a folder."""
    file = path / "config.json" if path.is_dir() else path
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{path} has neither a model_index.json (a pipeline) nor a config.json (a transformer)"
        ) from None
    except (ValueError, OSError) as error:
        raise ModelError(f"cannot read {file}: {first_line(error)}") from None
    if not isinstance(config, dict) or not isinstance(config.get("_class_name"), str):
        raise ModelError(
            f"{file} names no class of diffusers: it must hold an object with the key '_class_name'"
        )
    return config


def _without_weights(class_name: str, config: Mapping[str, Any] | None) -> nn.Module:
    """A model of diffusers on the meta device, from a config or as its class makes it by default."""
    import diffusers

    model = getattr(diffusers, class_name, None)
    if not isinstance(model, type) or not issubclass(model, diffusers.ModelMixin):
        names = [name for name in dir(diffusers) if "Transformer" in name and name.endswith("Model")]
        close = difflib.get_close_matches(class_name, names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ModelError(f"diffusers {diffusers.__version__} has no model class {class_name!r}{hint}")
    try:
        with torch.device("meta"):
            made: nn.Module = model() if config is None else model.from_config(dict(config))  # type: ignore[attr-defined]
    except Exception as error:  # whatever a class does not like about a config, or about having no weights
        raise ModelError(f"{class_name} cannot be made without weights: {first_line(error)}") from None
    return made
