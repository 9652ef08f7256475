"""Vega, Vega-Lite and Vega-Embed as one piece of JavaScript, from the package vl-convert, which carries them."""

from __future__ import annotations

from functools import lru_cache

from ecad.errors import ConfigError


@lru_cache(maxsize=1)
def vega_bundle() -> str:
    """About 0.9 MB; seconds at the first call in a process."""
    try:
        import vl_convert
    except ImportError:
        raise ConfigError("the report page needs vl-convert-python: pip install 'ecad[search]'") from None
    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub forgets the default
    # Inside an element of HTML these would end or change it; JavaScript means the same with the escape.
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")
