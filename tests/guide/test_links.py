"""The links of README, the guide and the experiments: files are there, addresses are well-formed.

The guide's own build (`.ci/run`) checks headings too; it needs the extra `docs`. Nothing asks the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted(
    path
    for pattern in (
        "*.md",
        "docs/*.md",
        "experiments/*/README.md",
        "schedules/*.md",
        "calibration_prompts/*.md",
    )
    for path in ROOT.glob(pattern)
)


def links(tokens: list[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type in ("link_open", "image"):
            yield str(token.attrs.get("href") or token.attrs["src"])
        yield from links(token.children or [])


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links(page: Path) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    for link in links(tokens):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme == "https", link
            assert "." in (parts.hostname or ""), link
            assert not parts.hostname or parts.hostname == parts.hostname.lower(), link
        elif parts.path:  # otherwise a heading of this page
            assert (page.parent / unquote(parts.path)).exists(), link


def test_links_are_found() -> None:
    text = "[a](b.md) ![c](d.png)\n\n| x |\n|---|\n| [e](https://f.g) |\n"
    assert list(links(MarkdownIt("commonmark").enable("table").parse(text))) == [
        "b.md",
        "d.png",
        "https://f.g",
    ]
