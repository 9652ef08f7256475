"""Loading another pipeline: as it is, or with a student's network, a merged LoRA, a prior, another scheduler.

Nothing here knows a model by its name: what a pipeline is made of stands in its index, what its call takes in its
signature, and diffusers says which pipeline makes images from text of the same parts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ecad.devices import choose_dtype, dtype_argument
from ecad.errors import ConfigError, EcadError, ModelError, first_line
from ecad.families import find_model
from ecad.families.registry import find_preset
from ecad.sampling.any_pipeline import call_parameters
from ecad.sampling.baseline_spec import BaselineSpec
from ecad.sampling.loading import dtype_of
from ecad.sampling.pipeline_files import find_files, from_hub

_WEIGHTS = ".safetensors"


def load_pipeline(spec: BaselineSpec, device: torch.device) -> Any:
    """The pipeline on its device. ConfigError or ModelError, in one line, for whatever cannot be loaded."""
    dtype = choose_dtype(spec.dtype, device)
    if is_named(spec):
        dtype = dtype_of(find_model(spec.location), spec.dtype, device)
    place, pipeline_class, transformer = _found(spec)
    index = _told(spec.location, lambda: pipeline_class.load_config(place))
    unknown = next((name for name in spec.parts if name not in index), None)
    if unknown is not None:
        parts = ", ".join(name for name, value in index.items() if isinstance(value, (list, tuple)))
        raise ConfigError(f"baseline {spec.name!r} has no {unknown!r}: {spec.location} is made of {parts}")
    passed: dict[str, Any] = {}
    for name, part in {**({"transformer": transformer} if transformer else {}), **spec.parts}.items():
        if not part.endswith(_WEIGHTS):
            passed[name] = _told(part, partial(_network, part, name, dtype))
    if spec.scheduler is not None or spec.scheduler_settings:
        passed["scheduler"] = _scheduler(spec, place, index)
    if spec.custom_pipeline is not None:
        passed |= {"custom_pipeline": spec.custom_pipeline, "trust_remote_code": True}
    pipe = _told(
        spec.location, lambda: pipeline_class.from_pretrained(place, **passed, **dtype_argument(dtype))
    )
    pipe = _from_text(spec, pipe, place, dtype)
    for name, part in spec.parts.items():
        if part.endswith(_WEIGHTS):
            _told(part, partial(_load_weights, getattr(pipe, name), part))
    if spec.lora is not None:
        _told(spec.lora, partial(_merge_lora, spec, pipe))
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


def is_named(spec: BaselineSpec) -> bool:
    """Whether it is one of ecad's models by its name, and not a folder or a hub id."""
    return find_preset(spec.location) is not None and not Path(spec.location).is_dir()


def _found(spec: BaselineSpec) -> tuple[str, Any, str | None]:
    """(folder, pipeline class, the place of its transformer if it has one of its own)."""
    import diffusers

    if Path(spec.location).is_dir():
        return spec.location, diffusers.DiffusionPipeline, None
    if not is_named(spec):
        return _told(spec.location, lambda: _downloaded(spec.location)), diffusers.DiffusionPipeline, None
    source = find_model(spec.location)
    files = find_files(source)
    own = None if source.preset is None else source.preset.transformer_source
    return str(files.folder), getattr(diffusers, files.pipeline_class), own


def _downloaded(hub_id: str) -> str:
    """The folder of its files in the hub's cache, with what belongs to it (a decoder's prior)."""
    import diffusers

    with from_hub() as passed:
        return str(diffusers.DiffusionPipeline.download(hub_id, load_connected_pipeline=True, **passed))


def _network(place: str, name: str, dtype: torch.dtype) -> Any:
    """A network of whatever class its config says: from a folder, a pipeline's folder, a hub id, or a folder in one."""
    import diffusers

    path = Path(place).expanduser()
    if place.startswith(("/", ".", "~")) and not path.is_dir():
        raise ConfigError(
            f"no folder {place} for the baseline's {name}: give a folder, a hub id or a .safetensors file"
        )
    if path.is_dir():
        if not (path / "config.json").is_file() and (path / name).is_dir():
            path = path / name
        return diffusers.AutoModel.from_pretrained(str(path), **dtype_argument(dtype))
    owner_and_name = "/".join(place.split("/")[:2])
    subfolder = "/".join(place.split("/")[2:])
    arguments = {"subfolder": subfolder} if subfolder else {}
    with from_hub() as passed:
        return diffusers.AutoModel.from_pretrained(
            owner_and_name, **arguments, **passed, **dtype_argument(dtype)
        )


def _load_weights(network: Any, file: str) -> None:
    from safetensors.torch import load_file

    network.load_state_dict(load_file(file))


def _scheduler(spec: BaselineSpec, place: str, index: dict[str, Any]) -> Any:
    """The pipeline's own or another class of diffusers, made from its config."""
    import diffusers

    name = spec.scheduler or index["scheduler"][1]
    scheduler_class: Any = getattr(diffusers, name, None)
    is_scheduler = inspect.isclass(scheduler_class) and issubclass(scheduler_class, diffusers.SchedulerMixin)
    if not is_scheduler:
        raise ConfigError(
            f"baseline {spec.name!r}: diffusers has no scheduler {name!r}: use a class, for example LCMScheduler"
        )
    known = inspect.signature(scheduler_class).parameters
    unknown = next((key for key in spec.scheduler_settings if key not in known), None)
    if unknown is not None:
        raise ConfigError(
            f"baseline {spec.name!r}: a {name} has no setting {unknown!r}, it has {', '.join(known)}"
        )
    return _told(
        spec.location,
        lambda: scheduler_class.from_pretrained(place, subfolder="scheduler", **spec.scheduler_settings),
    )


def _from_text(spec: BaselineSpec, pipe: Any, place: str, dtype: torch.dtype) -> Any:
    """The pipeline, or if its call takes no prompt the one of the same parts, and of a prior's, whose call does."""
    import diffusers

    if {"prompt", "class_labels"} & set(call_parameters(pipe)):
        if spec.prior is not None:
            raise ConfigError(
                f"baseline {spec.name!r} is a {type(pipe).__name__}, which is called with a prompt: leave out prior"
            )
        return pipe
    auto = diffusers.AutoPipelineForText2Image
    if spec.prior is None:
        try:
            return auto.from_pretrained(place, **dtype_argument(dtype))
        except Exception as error:  # there is none, or its other half is out of reach
            raise ConfigError(
                f"baseline {spec.name!r} is a {type(pipe).__name__}, whose call takes no 'prompt', and no pipeline "
                f"from text can be made of it ({first_line(error)}): if it is a decoder, add prior=FOLDER"
            ) from error
    folder = spec.prior if Path(spec.prior).is_dir() else _told(spec.prior, partial(_downloaded, spec.prior))
    prior = _told(
        spec.prior, lambda: diffusers.DiffusionPipeline.from_pretrained(folder, **dtype_argument(dtype))
    )
    of_prior = {f"prior_{name}": part for name, part in prior.components.items()}
    try:
        return auto.from_pipe(pipe, **of_prior)
    except Exception as error:
        raise ConfigError(
            f"baseline {spec.name!r}: a {type(pipe).__name__} and the prior {spec.prior} make no pipeline of diffusers "
            f"({first_line(error)})"
        ) from error


def _merge_lora(spec: BaselineSpec, pipe: Any) -> None:
    """Adapters become part of the weights, so that the row costs what the network costs."""
    try:
        from peft import PeftModel
        from peft.tuners.tuners_utils import BaseTunerLayer
    except ImportError:
        raise ConfigError(f"baseline {spec.name!r}: lora={spec.lora} needs peft: pip install peft") from None

    before = _sums(pipe)
    with nullcontext() if Path(str(spec.lora)).exists() else from_hub():
        if hasattr(pipe, "load_lora_weights"):
            pipe.load_lora_weights(spec.lora)
            pipe.fuse_lora(lora_scale=spec.lora_scale)
            pipe.unload_lora_weights()
        else:
            # PixArt's pipelines have no loader: their LoRAs are published as adapters of peft for the transformer.
            name = next(name for name in ("transformer", "unet") if getattr(pipe, name, None) is not None)
            adapted = PeftModel.from_pretrained(getattr(pipe, name), spec.lora)
            for module in adapted.modules():
                if isinstance(module, BaseTunerLayer):
                    module.scale_layer(spec.lora_scale)
            setattr(pipe, name, adapted.merge_and_unload())
    if (
        spec.lora_scale != 0.0 and _sums(pipe) == before
    ):  # of another model, which the loaders pass over in silence
        raise ConfigError(
            f"baseline {spec.name!r}: lora={spec.lora} changes no weight: its layers are not those of {spec.location}"
        )


def _sums(pipe: Any) -> list[float]:
    """A number for each parameter, to see whether it changed."""
    networks = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    return [
        float(parameter.detach().double().abs().sum())
        for network in networks
        for parameter in network.parameters()
    ]


def _told(place: str | None, load: Callable[[], Any]) -> Any:
    """What `load` gives. Whatever is missing, damaged or out of reach: three libraries report it in a dozen classes."""
    try:
        return load()
    except EcadError:
        raise
    except Exception as error:
        if Path(str(place)).exists():
            remedy = (
                "it is incomplete, damaged or of another model; save it again with save_pretrained(folder)"
            )
        else:
            remedy = f"download it where there is a network (hf download {place}) and give its folder"
        raise ModelError(f"cannot load the baseline {place}: {first_line(error)} -- {remedy}") from error
