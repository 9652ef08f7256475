"""`ecad.families.describe`: the way down to `ecad.inspection`, which needs torch, at its first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecad.inspection import Description


def describe(transformer: Any, run: Callable[[], object] | None = None) -> Description:
    """The family of a transformer that ecad does not know, found in its modules and in one forward.

    `run` makes a forward (`lambda: transformer(**inputs)`), and is called twice. Without it only the module tree is
    looked at. The result's `family` is for `register`, its `to_yaml()` for a person to look over. ModelError for a
    class without blocks.
    """
    from ecad.inspection import describe as find

    return find(transformer, run)
