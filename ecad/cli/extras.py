"""Commands that need more than the base installation say so in one line, before they start."""

from ecad.functions.extras import need

__all__ = ["need"]
