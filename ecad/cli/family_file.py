"""The option `--family` of the commands that load a model or a schedule."""

from ecad.functions.given import use_family

__all__ = ["HELP", "use_family"]

HELP = "Family file of a transformer that ecad does not know (ecad models --inspect writes one)."
