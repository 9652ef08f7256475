"""The name of the cache context that a pipeline has opened round the current forward ("cond", "uncond")."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

_METHOD = "cache_context"  # of diffusers' CacheMixin; PixArtTransformer2DModel has none


class CacheContextWatch:
    """Listens to `transformer.cache_context(name)` while it is installed.

    diffusers hands the name only to its own stateful hooks, by a list of hooked children that can be out of date
    and in a form that differs between versions. The method itself is stable, so an attribute of the same name on
    the instance notes the name and calls the original.
    """

    def __init__(self, transformer: nn.Module) -> None:
        self.current: str | None = None
        self._transformer = transformer

    @staticmethod
    def fits(transformer: nn.Module) -> bool:
        """Whether the transformer has cache contexts at all."""
        return callable(getattr(transformer, _METHOD, None))

    def install(self) -> None:
        if not self.fits(self._transformer):
            return
        original = getattr(self._transformer, _METHOD)

        @contextmanager
        def cache_context(name: str, *args: Any, **kwargs: Any) -> Iterator[Any]:
            before, self.current = self.current, name
            try:
                with original(name, *args, **kwargs) as value:
                    yield value
            finally:
                self.current = before

        self._transformer.__dict__[_METHOD] = cache_context

    def remove(self) -> None:
        self._transformer.__dict__.pop(_METHOD, None)
        self.current = None
