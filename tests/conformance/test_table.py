"""docs/families.md says of each class what its family says."""

from __future__ import annotations

from conformance.table import PAGE, Row, described_rows, page_with, pipelines_of, read_rows
from conformance.tiny import Subject, tiny_transformers

import ecad
from ecad.caching.blocks import has_fast_path
from ecad.families import FAMILIES


def test_the_page_has_every_class_as_its_family_describes_it() -> None:
    found = [row.described for row in read_rows(PAGE.read_text(encoding="utf-8"))]
    expected = [row.described for row in described_rows()]
    assert found == expected, "run in tests/: python -m conformance.table"


def test_what_was_tried_is_said() -> None:
    for row in read_rows(PAGE.read_text(encoding="utf-8")):
        assert row.passes_with not in ("", "-"), row.transformer
        assert row.compiled in ("yes", "no", "not tried"), row.transformer


def test_a_page_gives_back_its_rows() -> None:
    row = Row(
        "`Some`", "A, B", "blocks: `attn`<br>more: `ff`", "known", "-", "yes", "not tried", "0.40.0, 0.42.1"
    )
    text = page_with("before\n<!-- table -->\n<!-- end of the table -->\nafter\n", [row])
    assert read_rows(text) == [row]
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert page_with(text, [row]) == text


def test_pipelines_are_found_by_what_they_are_made_of() -> None:
    found = pipelines_of()
    assert {"PixArtAlpha", "PixArtSigma"} <= found["PixArtTransformer2DModel"]
    assert {"Flux", "FluxImg2Img"} <= found["FluxTransformer2DModel"]


def test_a_fast_path_that_is_claimed_is_there() -> None:
    """The other way round is a conformance test: a model whose blocks are decided as a whole claims it."""
    for family in FAMILIES.values():
        if has_fast_path(family):
            tiny = next(each for each in tiny_transformers() if each.class_name in family.transformer_classes)
            subject = Subject(tiny)
            with ecad.applied(subject.transformer, subject.heuristic("all")) as handle:
                assert handle._blocks, family.name
