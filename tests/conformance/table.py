"""Writes the table of docs/families.md: what ecad can do with each transformer class, and where that was tried.

    cd tests
    python -m conformance.table             # a minute or two: which classes pass with the installed diffusers
    python -m conformance.table --compile   # ten more: and which do compiled

What was tried before stays: a row names all versions of diffusers in which its class passed when it was tried last.
"""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import diffusers
import torch
from conformance.tiny import Subject, TinyTransformer, tiny_transformers

import ecad
from ecad.caching.blocks import has_fast_path
from ecad.families import FAMILIES, Family

PAGE = Path(__file__).resolve().parents[2] / "docs" / "families.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of the table -->\n"
HEADINGS = (
    "transformer", "pipelines", "components", "level", "fast path", "summed runs", "compiled", "passes with",
)  # fmt: skip


class Row(NamedTuple):
    """A line of the table. The last two are what was tried, the others follow from the descriptions."""

    transformer: str
    pipelines: str
    components: str
    level: str
    fast_path: str
    summed_runs: str
    compiled: str = ""
    passes_with: str = ""

    @property
    def described(self) -> tuple[str, ...]:
        """What follows from the families alone."""
        return self[:1] + self[2:6]


def described_rows() -> list[Row]:
    """One line for each class of each family, complete families first."""
    families = sorted(FAMILIES.values(), key=lambda family: (family.level, family.name))
    return [row for family in families for row in _rows_of(family)]


def _rows_of(family: Family) -> Iterator[Row]:
    lists = [
        f"{each.name}: {', '.join(f'`{name}`' for name in each.component_names)}"
        for each in family.block_lists
    ]
    fast_path, summed_runs = ("yes" if each else "-" for each in (has_fast_path(family), family.sums_up))
    for name in family.transformer_classes:
        pipelines = ", ".join(sorted(pipelines_of().get(name, ())))
        yield Row(f"`{name}`", pipelines, "<br>".join(lists), family.level, fast_path, summed_runs)


@cache
def pipelines_of() -> dict[str, set[str]]:
    """Transformer class -> pipelines whose `transformer` it is, by the annotations of the installed diffusers."""
    found: dict[str, set[str]] = {}
    for path in (Path(diffusers.__file__).parent / "pipelines").rglob("pipeline_*.py"):
        if "deprecated" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef) or not node.name.endswith("Pipeline"):
                continue
            for kind in _annotated(node, "transformer"):
                found.setdefault(kind, set()).add(node.name.removesuffix("Pipeline"))
    return found


def _annotated(pipeline: ast.ClassDef, argument: str) -> Iterator[str]:
    """The names in the annotation of an argument of the pipeline's `__init__`."""
    for method in pipeline.body:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            for each in (*method.args.args, *method.args.kwonlyargs):
                if each.arg == argument and each.annotation is not None:
                    yield from (node.id for node in ast.walk(each.annotation) if isinstance(node, ast.Name))


def read_rows(page: str) -> list[Row]:
    """The lines of the table in a page."""
    table = page.partition(BEGIN)[2].partition(END)[0]
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    return [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines]


def page_with(page: str, rows: list[Row]) -> str:
    """The page with this table in the place of its old one."""
    before, _, rest = page.partition(BEGIN)
    lines = ["| " + " | ".join(cells) + " |" for cells in (HEADINGS, ["---"] * len(HEADINGS), *rows)]
    return before + BEGIN + "\n".join(lines) + "\n" + END + rest.partition(END)[2]


def passes(tiny: TinyTransformer) -> bool:
    """Whether a tiny model is what it was under a schedule that recomputes everything, and follows one that does not
    as the plainest implementation does."""
    from conformance.test_conformance import mixed
    from conformance.tiny import equal

    subject = Subject(tiny)
    untouched, schedule = subject.run(), mixed(subject, 1)
    expected = subject.reference(schedule)
    for followed, outputs in ((subject.heuristic("all"), untouched), (schedule, expected)):
        with ecad.applied(subject.transformer, followed, summed_runs=False):
            if not equal(subject.run(), outputs):
                return False
    return equal(subject.run(), untouched)


def passes_compiled(tiny: TinyTransformer) -> bool:
    """Whether a compiled tiny model follows a schedule as it does uncompiled, but for rounding."""
    subject = Subject(tiny)
    schedule = subject.heuristic("fora:2")
    with ecad.applied(subject.transformer, schedule, summed_runs=False):
        expected = subject.run()
    torch.compiler.reset()
    subject.transformer.compile(backend="eager")
    with ecad.applied(subject.transformer, schedule, summed_runs=False):
        found = subject.run()
    pairs = (pair for step in zip(expected, found, strict=True) for pair in zip(*step, strict=True))
    return all(torch.allclose(one, other, rtol=1e-4, atol=1e-4) for one, other in pairs)


def tried_rows(old: list[Row], is_compiled: bool) -> list[Row]:
    """All lines, with what is found in the installed diffusers."""
    before = {row.transformer: row for row in old}
    version = diffusers.__version__
    rows = []
    for row in described_rows():
        models = [each for each in tiny_transformers() if f"`{each.class_name}`" == row.transformer]
        versions = (
            set(before[row.transformer].passes_with.split(", ")) if row.transformer in before else set()
        )
        compiled = before[row.transformer].compiled if row.transformer in before else "not tried"
        if all(each.is_there for each in models):
            sys.stderr.write(f"{row.transformer}\n")
            passed = all(map(passes, models))
            versions = versions | {version} if passed else versions - {version}
            if is_compiled:
                compiled = "yes" if all(map(passes_compiled, models)) else "no"
        shown = ", ".join(sorted(versions - {"", "-"}, key=_by_number))
        rows.append(row._replace(compiled=compiled, passes_with=shown or "-"))
    return rows


def _by_number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(
        page_with(text, tried_rows(read_rows(text), "--compile" in sys.argv[1:])), encoding="utf-8"
    )
