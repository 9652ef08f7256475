"""What a peer leaves behind on a pipeline after its own switch-off, and its removal."""

from __future__ import annotations

from types import TracebackType
from typing import Any

_IN_PLACE = ("_modules", "_forward_hooks", "_forward_pre_hooks")


class Traces:
    """Remembers the pipeline's attributes where caches put things, and restores them at the end.

    Looked at are the attributes of the transformer's modules, those of the classes, and new ones of the pipeline (whose
    own calls change its old ones). Take it after a first call of the pipeline, which leaves some itself.
    """

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._modules = {module: (name, _state(module)) for name, module in pipe.transformer.named_modules()}
        self._classes = {each: dict(vars(each)) for each in (type(pipe), type(pipe.transformer))}
        self._own = set(vars(pipe))

    def __enter__(self) -> Traces:
        return self

    def left(self) -> list[str]:
        """What is there now and was not: names such as `transformer_blocks.*.forward`."""
        found = set()
        for module, (name, before) in self._modules.items():
            place = ".".join(
                "*" if part.isdecimal() else part for part in ["transformer", *name.split(".")] if part
            )
            found |= {f"{place}.{each}" for each in _changed(before, _state(module))}
        for each, before in self._classes.items():
            found |= {f"{each.__name__}.{name}" for name in _changed(before, dict(vars(each)))}
        found |= {f"pipe.{name}" for name in set(vars(self._pipe)) - self._own}
        return sorted(found)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for module, (_, before) in self._modules.items():
            for name in _IN_PLACE:
                own = vars(module)[name]
                own.clear()
                own.update(before[name])
            for name in _changed(before, _state(module)):
                if name in before:
                    vars(module)[name] = before[name]
                else:
                    vars(module).pop(name, None)
        for each, before in self._classes.items():
            for name in _changed(before, dict(vars(each))):
                if name in before:
                    setattr(each, name, before[name])
                else:
                    delattr(each, name)
        for name in set(vars(self._pipe)) - self._own:
            del vars(self._pipe)[name]
        registry = vars(self._pipe.transformer).get("_diffusers_hook")
        if registry is not None:
            registry.invalidate_child_registries_cache()


def _state(module: Any) -> dict[str, Any]:
    return {name: dict(value) if name in _IN_PLACE else value for name, value in vars(module).items()}


def _changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Names that are new, gone, or have another value."""
    missing = object()
    return [
        name
        for name in before.keys() | now.keys()
        if not _same(before.get(name, missing), now.get(name, missing))
    ]


def _same(one: Any, other: Any) -> bool:
    return one == other if type(one) is dict and type(other) is dict else one is other
