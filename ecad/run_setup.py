"""Before the search: check that the folder may be used, load the model and prompts."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import ecad
from ecad.config import SearchConfig
from ecad.evaluation.cost import Workload, workload_for
from ecad.evaluation.evaluator import ModelEvaluator
from ecad.evaluation.latency import LatencyTable
from ecad.evaluation.loading import LoadedModel, load_model, settings_for
from ecad.evaluation.prompts import PromptSet, check_disjoint, load_prompts
from ecad.evaluation.samplers import Sampler, make_sampler
from ecad.evaluation.scorers import Scorer, as_quality, make_scorer
from ecad.execution import ExecutionSettings
from ecad.run_claim import check_folder
from ecad.run_latency import latency_table
from ecad.run_threads import use_threads
from ecad.schedule import ScheduleShape
from ecad.storage import RunFolder

# Held-out seeds start here, far above the search's, so that the two never share a noise.
HELDOUT_FIRST_SEED = 1_000_000_000


@dataclass(frozen=True)
class PreparedRun:
    """Everything a search works with."""

    config: SearchConfig
    model: LoadedModel
    shape: ScheduleShape
    workload: Workload
    sampler: Sampler
    scorer: Scorer
    search_prompts: PromptSet
    heldout_prompts: PromptSet
    evaluator: ModelEvaluator
    latency_table: LatencyTable | None
    selection_prompts: PromptSet | None = None
    selection_evaluator: ModelEvaluator | None = None


def prepare(
    folder: RunFolder, config: SearchConfig, extend: bool, execution: ExecutionSettings | None = None
) -> PreparedRun:
    """Load the model and the prompts and claim the folder; `config` is resolved.

    Everything that can be wrong with the settings is found before the folder is changed. The run's number of
    threads is set in torch.
    """
    execution = execution or ExecutionSettings()
    search_prompts, selection_prompts, heldout_prompts = _load_prompt_sets(config)
    content = check_folder(
        folder, config, search_prompts, selection_prompts, heldout_prompts, extend, execution
    )
    if "threads" in content["numerics"]:
        use_threads(content["numerics"]["threads"])
    scorer = as_quality(make_scorer(config.quality or "", config.device), config.device)
    model = _load_model(config, config.device)
    settings = settings_for(model.source, config)
    shape = ScheduleShape(
        model.spec.family, settings.steps, model.spec.block_counts(model.source.transformer_config or {})
    )
    sampler = make_sampler(model, settings)
    workload = _workload(model, sampler)
    for prompts in (search_prompts, selection_prompts, heldout_prompts):
        if prompts is not None:
            scorer.check(prompts.prompts, settings.height, settings.width)
    folder.write_config(content)
    folder.write_json("environment.json", environment(model))
    batch_size = config.batch_size or 1
    table = latency_table(folder, config, sampler, search_prompts, shape)

    def evaluator_on(prompts: PromptSet, first_seed: int) -> ModelEvaluator:
        return ModelEvaluator(
            sampler,
            scorer,
            prompts,
            workload,
            seeds_per_prompt=config.seeds_per_prompt,
            first_seed=first_seed,
            batch_size=batch_size,
            latency_table=table,
            cost=config.cost,
        )

    evaluator = evaluator_on(search_prompts, 0)
    # Seeds go on where those of the search end, as if all prompts had been searched on.
    selection_evaluator = (
        None
        if selection_prompts is None
        else evaluator_on(selection_prompts, evaluator.images_per_evaluation)
    )
    # The report's prompts are encoded now, so that the search has the text encoders' memory for images.
    sampler.encode(heldout_prompts.prompts, batch_size)
    model.free_text_encoders()
    return PreparedRun(
        config,
        model,
        shape,
        workload,
        sampler,
        scorer,
        search_prompts,
        heldout_prompts,
        evaluator,
        table,
        selection_prompts,
        selection_evaluator,
    )


@dataclass(frozen=True)
class EvaluatorFactory:
    """Makes, in another process, the evaluator that scores as the driver's own would; can be pickled.

    The model is loaded there, from the same name or path; the prompts come along. Costs are the driver's to
    state, so no latency table is needed.
    """

    config: SearchConfig  # resolved
    prompts: PromptSet
    first_seed: int
    device: str
    threads: int

    def __call__(self) -> ModelEvaluator:
        config = self.config
        use_threads(self.threads)
        scorer = as_quality(make_scorer(config.quality or "", self.device), self.device)
        model = _load_model(config, self.device)
        sampler = make_sampler(model, settings_for(model.source, config))
        evaluator = ModelEvaluator(
            sampler,
            scorer,
            self.prompts,
            _workload(model, sampler),
            seeds_per_prompt=config.seeds_per_prompt,
            first_seed=self.first_seed,
            batch_size=config.batch_size or 1,
        )
        model.free_text_encoders()
        return evaluator


def _load_model(config: SearchConfig, device: str) -> LoadedModel:
    return load_model(
        config.model,
        device,
        config.dtype,
        device_map=config.device_map,
        embedding_cache=config.embedding_cache,
    )


def _workload(model: LoadedModel, sampler: Sampler) -> Workload:
    settings = sampler.settings
    return workload_for(
        model.source,
        height=settings.height,
        width=settings.width,
        guidance=sampler.has_guidance_rows,
        true_guidance=sampler.has_guidance_rows,
        text_tokens=settings.max_sequence_length,
    )


def environment(model: LoadedModel) -> dict[str, Any]:
    """Versions and hardware, for people who read the results."""
    device = model.device
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor_name()
    return {
        "ecad": ecad.__version__,
        "python": sys.version.split()[0],
        **{name: metadata.version(name) for name in ("torch", "diffusers", "transformers", "numpy", "pymoo")},
        "platform": platform.platform(),
        "device": str(device),
        "hardware": hardware,
        "torch_threads": torch.get_num_threads(),
        "dtype": str(model.pipe.transformer.dtype),
    }


def _processor_name() -> str:
    """The CPU's name and number of usable cores; Linux tells the name only in /proc/cpuinfo."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {os.cpu_count()} cores"


def _load_prompt_sets(config: SearchConfig) -> tuple[PromptSet, PromptSet | None, PromptSet]:
    """For the search, for the selection of its front (None: no selection), and for the report."""
    searched, selected = config.prompts_limit or 0, config.selection_limit or 0
    prompts = load_prompts(config.prompts or "", searched + selected)
    heldout_prompts = load_prompts(config.heldout_prompts or "", config.heldout_limit)
    check_disjoint(prompts, heldout_prompts)
    selection_prompts = prompts.part(searched, len(prompts)) if len(prompts) > searched else None
    return prompts.part(0, searched), selection_prompts, heldout_prompts
