"""What a transformer that ecad does not know is made of: looked at, and watched in one forward."""

from ecad.inspection.describing import Description, describe

__all__ = ["Description", "describe"]
