"""How much memory each process of a search has for outputs that it keeps."""

from __future__ import annotations

import os

import torch

from ecad.devices import free_memory_bytes
from ecad.execution import ExecutionSettings
from ecad.sampling.loading import LoadedModel


def free_for_each_process(model: LoadedModel, execution: ExecutionSettings) -> int | None:
    """Bytes beside the model, which is loaded here; None where that is not known.

    Of workers on this machine each loads the model, too, and has an equal share of what is left; a GPU that they are
    to have is given up by this process. Of a cluster that is joined nothing is known: its machines count as this one
    with a worker each.
    """
    free = free_memory_bytes(model.device)
    if free is None or not execution.uses_ray:
        return free
    weights = weights_bytes(model)
    if model.device.type == "cuda":
        free += weights
    return max(0, free // _sharing(execution, model.device) - weights)


def _sharing(execution: ExecutionSettings, device: torch.device) -> int:
    """How many workers share the memory."""
    if device.type == "cuda":
        share = execution.gpus_per_worker or 1.0
        return int(1.0 / share) if share < 1.0 else 1
    if execution.ray_address is not None:
        return 1
    return execution.workers or max(1, (os.cpu_count() or 1) // torch.get_num_threads())


def weights_bytes(model: LoadedModel) -> int:
    """Of all modules of the pipeline."""
    modules = [part for part in model.pipe.components.values() if isinstance(part, torch.nn.Module)]
    tensors = {
        id(tensor): tensor for module in modules for tensor in (*module.parameters(), *module.buffers())
    }
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
