"""How much GPU memory a piece of work takes."""

from __future__ import annotations

from typing import Any

import torch


class PeakMemory:
    """Context manager: the peak of CUDA memory inside, as if only this pipeline were on the GPU.

    Other models that wait on the same GPU do not count. On other devices `peak_bytes` stays None.
    """

    def __init__(self, pipe: Any) -> None:
        modules = [part for part in getattr(pipe, "components", {}).values() if hasattr(part, "parameters")]
        tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
        on_gpu = {tensor.data_ptr(): tensor for tensor in tensors if tensor.device.type == "cuda"}
        self._device = next((tensor.device for tensor in on_gpu.values()), None)
        self._weights_bytes = sum(tensor.numel() * tensor.element_size() for tensor in on_gpu.values())
        self._before_bytes = 0
        self.peak_bytes: int | None = None

    def __enter__(self) -> PeakMemory:
        if self._device is not None:
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before_bytes = torch.cuda.memory_allocated(self._device)
        return self

    def __exit__(self, *error: object) -> None:
        if self._device is not None:
            peak = torch.cuda.max_memory_allocated(self._device)
            self.peak_bytes = peak - self._before_bytes + self._weights_bytes
