"""Whether a run folder may be used for a search, and the settings that it is then known by."""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from ecad.errors import RunError
from ecad.execution import ExecutionSettings
from ecad.families import Family, dump_family, find_model
from ecad.families.registry import is_shipped
from ecad.prompts import PromptSet
from ecad.sampling.subject import numerics_of
from ecad.searching.settings import ResolvedSearchSettings
from ecad.storage import RunFolder, first_difference
from ecad.storage.run_folder import RUN_FORMAT


def check_folder(
    folder: RunFolder,
    settings: ResolvedSearchSettings,
    search_prompts: PromptSet,
    selection_prompts: PromptSet | None,
    heldout_prompts: PromptSet,
    extend: bool,
    execution: ExecutionSettings,
) -> dict[str, Any]:
    """The content of config.yaml for this search, once it is clear that the folder may be used for it.

    A run continues only with equal settings; with `extend` the number of generations may be larger than before.
    A folder whose log is still empty may change its settings: nothing was found with the old ones. On a CPU the
    threads of each process are part of the numerics, because sums may depend on them: a run keeps its number.
    """
    numerics: dict[str, Any] = numerics_of(settings.choice)
    known = folder.read_config() if folder.is_started else {}
    if numerics["device"] == "cpu":
        earlier = (known.get("numerics") or {}).get("threads")
        is_kept = execution.threads is None and isinstance(earlier, int) and earlier > 0
        numerics["threads"] = earlier if is_kept else execution.threads_each(torch.get_num_threads())
        if known and earlier is None:  # of a version that did not note it
            known["numerics"] = {**(known.get("numerics") or {}), "threads": numerics["threads"]}
    source = find_model(settings.model)
    family = source.family
    content = {
        "settings": {**settings.identity(), "generations": settings.generations},
        "model": source.name,
        **({} if family is None or is_shipped(family) else {"family": _describe_family(family)}),
        "numerics": numerics,
        **({"asynchronous": True} if execution.asynchronous else {}),
        "prompts": {
            "search": _describe_prompts(search_prompts),
            **({} if selection_prompts is None else {"selection": _describe_prompts(selection_prompts)}),
            "heldout": _describe_prompts(heldout_prompts),
        },
    }
    if not folder.is_started:
        return content
    if folder.log.is_empty:
        if folder.has_results:
            raise RunError(
                f"run folder {folder.path} has results but no evaluations: its evaluations.jsonl is lost"
            )
        return content
    if known["ecad_run"] != RUN_FORMAT:
        raise RunError(
            f"the search in {folder.path} was started by an older ecad (run format {known['ecad_run']}, now "
            f"{RUN_FORMAT}), whose candidates this one would not ask for: it can be looked at and exported from, but "
            "to search on use the ecad version that wrote it or start a new run"
        )
    if extend and isinstance(known.get("settings"), dict):
        known["settings"] = {**known["settings"], "generations": settings.generations}
    for part in {**content, "asynchronous": None, "family": None}:
        if known.get(part) != content.get(part):
            difference = first_difference(known.get(part), content.get(part), part)
            raise RunError(
                f"run folder {folder.path} was started with other settings ({difference}): use another --out, or "
                "continue it unchanged with --resume"
            )
    return content


def _describe_family(family: Family) -> dict[str, str]:
    """One that did not ship with ecad: its file is in the run folder, too."""
    return {"name": family.name, "sha256": hashlib.sha256(dump_family(family).encode()).hexdigest()}


def _describe_prompts(prompts: PromptSet) -> dict[str, Any]:
    return {"name": prompts.name, "count": len(prompts), "sha256": prompts.sha256}
