"""Applying a schedule to a diffusers pipeline: hooks on the component modules that reuse stored outputs."""

from ecad.caching.install import AppliedSchedule, applied, apply, remove

__all__ = ["AppliedSchedule", "applied", "apply", "remove"]
