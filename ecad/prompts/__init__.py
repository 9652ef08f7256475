"""Prompt sets: read once, checked, and identified by a hash that is stored with every result."""

from ecad.prompts.prompt_set import PromptSet, check_disjoint, load_prompts, prompt_set

__all__ = ["PromptSet", "check_disjoint", "load_prompts", "prompt_set"]
