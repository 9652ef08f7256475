"""Who may import whom: every import under ecad/, also inside functions, must be allowed by the table below.

CONTRIBUTING has the same table, for people: `python tests/test_layering.py` prints it, and a test compares the two.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGE = CHECKOUT / "ecad"


class Layer(NamedTuple):
    """What a room is for, the modules of ecad that it may import, and the third-party packages."""

    what: str
    inside: str = ""
    outside: str = ""


# A room is a folder or a module at the top of ecad/. It may also import the standard library, itself and GROUND. A part
# of a room may have a row of its own, which is strict: beside the standard library and itself it may import only what
# the row lists. From the ground floor up.
GROUND = "__version__ arrays atomic errors foreign_files progress resources yaml_nodes"
LAYERS: dict[str, Layer] = {
    "errors": Layer("errors, and how they are told in one line"),
    "resources": Layer("where the files that ship with ecad are"),
    "arrays": Layer("the arrays that rooms hand to each other, by name", "", "numpy"),
    "atomic": Layer("files that are the old or the new version, never half of one"),
    "foreign_files": Layer("what people hand over by mistake instead of a file"),
    "progress": Layer("how far a search is, and how fast"),
    "yaml_nodes": Layer("YAML files of plain data, read strictly and with line numbers", "", "yaml"),
    "devices": Layer(
        "torch devices, dtypes and threads; memory that is free", "", "torch diffusers threadpoolctl psutil"
    ),
    "hub": Layer("whether the model hub can be asked", "", "huggingface_hub"),
    "families": Layer("one file per transformer family, as data; presets, recognition, bundled minis"),
    # The one import downwards, at its first use: a public name of `ecad.families` that must watch a model.
    "families.inspected": Layer("", "families inspection"),
    "schedule": Layer(
        "schedules, their shape, genomes, heuristics, liveness; `files/`", "families", "numpy yaml"
    ),
    "schedule.files.from_hub": Layer("", "errors hub", "huggingface_hub"),  # no other part of the room does
    "records": Layer("candidates, evaluations, the evaluator's protocol", "schedule"),
    "caching": Layer(
        "a schedule at work: known blocks as a whole, else hooks", "families schedule", "torch diffusers"
    ),
    "prompts": Layer("prompt sets and their file formats"),
    "scoring": Layer(
        "metrics, one record each; `image_reward/`, `scenes/`",
        "devices hub",
        "numpy PIL torch transformers huggingface_hub torchvision torchmetrics open_clip lpips",
    ),
    # Runs in another environment, which has neither ecad nor its packages.
    "scoring.image_reward.package_worker": Layer("", "", "PIL ImageReward"),
    "sampling": Layer(
        "loading a model, preparing it once (`subject`), samplers, sharing of steps",
        "devices hub families schedule caching",
        "numpy torch diffusers transformers safetensors peft",
    ),
    "inspection": Layer(
        "what a transformer that ecad does not know is made of: its module tree, one forward watched",
        "devices families caching sampling",
        "torch diffusers",
    ),
    "measuring": Layer(
        "MACs, latency, memory, statistics, comparisons and their rows",
        "__init__ hub families schedule caching prompts scoring sampling",
        "numpy scipy torch huggingface_hub psutil",
    ),
    "measuring.rows": Layer(""),  # light: every table is made of these
    "genetic": Layer("NSGA-II as ask and tell, operators, seeding, fronts", "schedule", "numpy pymoo"),
    "execution": Layer("where evaluations run; `on_ray/`", "schedule records"),
    "execution.on_ray": Layer("", "__version__ errors records execution", "ray"),
    "storage": Layer(
        "the run folder, its log, the results folder", "families schedule records", "numpy yaml filelock"
    ),
    "report": Layer(
        "tables, plots, pictures: returns, never prints",
        "schedule measuring.rows",
        "numpy PIL rich matplotlib textalloc",
    ),
    # What is plotted of a search that is not finished is in its log.
    "report.plot_data": Layer("", "errors measuring.rows genetic storage report"),
    "report.front_plot": Layer("", "measuring.rows genetic report", "matplotlib"),
    # Reads the two kinds of folders.
    "report.page": Layer(
        "",
        "__init__ __version__ arrays atomic errors families schedule records measuring.rows genetic storage report",
        "numpy PIL yaml jinja2 vl_convert",
    ),
    "searching": Layer(
        "`ecad search`; `run` is the main path",
        "__init__ devices families schedule records caching prompts scoring sampling measuring genetic execution "
        "storage report",
        "numpy scipy torch yaml",
    ),
    "evaluating": Layer(
        "`ecad evaluate`; `run` is the main path",
        "families schedule prompts scoring sampling measuring storage report",
        "numpy",
    ),
    "functions": Layer(
        "`ecad.search` and `ecad.evaluate` for Python, and what they show meanwhile",
        "families schedule scoring sampling measuring execution storage report searching evaluating",
        "rich diffusers",
    ),
    "cli": Layer(
        "one file per command; imports inside it",
        "__init__ families schedule caching prompts scoring.availability scoring.registry sampling inspection "
        "measuring execution storage report searching evaluating functions",
        "rich typer",
    ),
    "__init__": Layer("the public names, at their first use", "schedule caching functions"),
}


class Import(NamedTuple):
    """One import: `module` is absolute ("ecad.genetic.front", "numpy.typing")."""

    module: str
    line: int


def exists(module: str) -> bool:
    """Whether `module` ("ecad.genetic.front") is a module of ecad."""
    path = PACKAGE.parent.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or path.is_dir()


def module_of(path: Path) -> str:
    """ecad/genetic/front.py -> "ecad.genetic.front"; a package's `__init__.py` -> the package."""
    parts = list(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


def imports_of(tree: ast.AST, package: str) -> Iterator[Import]:
    """All imports of a module that lies in `package`, those in functions and `import_module("...")` too.

    `import ecad` and a public name from it count as "ecad.__init__".
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import("ecad.__init__" if alias.name == "ecad" else alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                anchor = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*anchor, base] if base else anchor)
            for alias in node.names:
                # `from ecad.genetic import front` names a module, `import hypervolume` would not.
                inner = f"{base}.{alias.name}"
                outer = "ecad.__init__" if base == "ecad" else base
                is_module = exists(inner) or inner == "ecad.__version__"
                yield Import(inner if is_module else outer, node.lineno)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield Import(node.args[0].value, node.lineno)


def covers(allowed: str, name: str) -> bool:
    """Whether one of the names in `allowed` is `name` or a package that holds it."""
    return any(name == entry or name.startswith(entry + ".") for entry in allowed.split())


def layer_of(module: str) -> str | None:
    """The row of LAYERS for a module given without "ecad.": the longest that covers it."""
    rows = [row for row in LAYERS if covers(row, module)]
    return max(rows, key=len) if rows else None


def offences(source: str, module: str, file: str, package: str) -> Iterator[str]:
    """What `source`, the text of `module` ("ecad.genetic.front"), imports against the table."""
    name = module.removeprefix("ecad.")
    layer = layer_of(name)
    if layer is None:
        yield f"{file}:1: {name!r} has no row in LAYERS"
        return
    _, inside, outside = LAYERS[layer]
    ground = "" if "." in layer else GROUND
    found = sorted(set(imports_of(ast.parse(source), package)), key=lambda each: (each.line, each.module))
    for target, line in found:
        top, _, rest = target.partition(".")
        if top == "ecad":
            fine = covers(f"{layer} {inside} {ground}", rest)
        else:
            fine = top in sys.stdlib_module_names or top in outside.split()
        if not fine:
            yield f"{file}:{line}: {layer!r} must not import {target!r}"


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def offences_of_file(path: Path) -> Iterator[str]:
    module = module_of(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    package = "ecad" if module == "ecad.__init__" else package
    file = str(path.relative_to(PACKAGE.parent))
    yield from offences(path.read_text(encoding="utf-8"), module, file, package)


def test_every_import_is_allowed_by_the_table():
    found = [offence for path in sources() for offence in offences_of_file(path)]
    assert not found, "\n" + "\n".join(found)


def test_importing_ecad_imports_only_its_errors():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    at_once = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    targets = {found.module for node in at_once for found in imports_of(node, "ecad")}
    assert {target for target in targets if target.split(".")[0] == "ecad"} <= {"ecad.errors"}


def test_only_the_command_line_prints():
    found = [
        f"{path.relative_to(PACKAGE.parent)}:{node.lineno}"
        for path in sources()
        if not path.is_relative_to(PACKAGE / "cli")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not found, f"print() outside ecad/cli: {found}"


def test_every_folder_with_code_is_a_package():
    """A folder without `__init__.py` works in a checkout, and is missing from the wheel."""
    missing = [
        str(folder.relative_to(PACKAGE.parent))
        for folder in {path.parent for path in sources()}
        if not (folder / "__init__.py").is_file()
    ]
    assert not missing, f"no __init__.py in {missing}"


def test_no_module_imports_itself_round_a_corner():
    """At import time: imports inside functions, and those for type checkers only, are no circle."""
    graph = {module_of(path): set(at_import_time(path)) for path in sources()}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail[trail.index(module) :], module])
        if module not in done:
            for target in graph.get(module, ()):
                visit(target, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def at_import_time(path: Path) -> Iterator[str]:
    """The modules of ecad that are imported when this one is; a package stands for its `__init__`."""
    module = module_of(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    at_once = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in at_once:
        for target, _ in imports_of(node, package):
            if target.startswith("ecad.") and target not in (module, "ecad.__version__"):
                yield target


def test_the_tests_have_the_same_tree():
    """A folder of tests is a room of ecad; `contracts` is shared code.

    `parity` holds other people's numbers, `conformance` what must hold for every family in several rooms, `guide` tries
    what the README and the guide say.
    """
    folders = {
        path.parent.relative_to(CHECKOUT / "tests") for path in (CHECKOUT / "tests").rglob("test_*.py")
    }
    strangers = [str(folder) for folder in folders if not (PACKAGE / folder).is_dir()]
    assert sorted(strangers) == ["conformance", "guide", "parity"]


def contributing_table() -> str:
    """The table of rooms as CONTRIBUTING shows it; those that only restrict a part of a room are left out."""
    rows = ["| room | what it is | imports from ecad | third party |", "|---|---|---|---|"]
    for name, layer in LAYERS.items():
        if layer.what:
            room = f"`{name}/`" if (PACKAGE / name).is_dir() else f"`{name}`"
            cells = (", ".join(cell.replace("__init__", "ecad").split()) or "-" for cell in layer[1:])
            rows.append(f"| {room} | {layer.what} | {' | '.join(cells)} |")
    return "\n".join(rows)


def test_contributing_shows_the_table():
    text = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert contributing_table() in text, (
        "put the output of python tests/test_layering.py into CONTRIBUTING.md"
    )


@pytest.mark.parametrize(
    ("module", "source", "offence"),
    [
        ("ecad.genetic.front", "import ecad.storage", "'genetic' must not import 'ecad.storage'"),
        ("ecad.genetic.front", "from ecad import storage", "'genetic' must not import 'ecad.storage'"),
        ("ecad.genetic.front", "from ..storage import log", "'genetic' must not import 'ecad.storage.log'"),
        ("ecad.genetic.front", "from . import front", None),
        ("ecad.genetic.front", "def late():\n    import torch", "'genetic' must not import 'torch'"),
        ("ecad.genetic.front", "import_module('ray')", "'genetic' must not import 'ray'"),
        ("ecad.genetic.front", "from ecad import Schedule", "'genetic' must not import 'ecad.__init__'"),
        ("ecad.genetic.front", "import ecad", "'genetic' must not import 'ecad.__init__'"),
        ("ecad.searching.setup", "import ecad\nfrom ecad import Schedule", None),
        (
            "ecad.genetic.front",
            "import json\nimport numpy.typing\nfrom ecad import __version__, errors",
            None,
        ),
        ("ecad.execution.base", "import ray", "'execution' must not import 'ray'"),
        ("ecad.execution.on_ray.workers", "import ray\nfrom ecad.execution.base import Executor", None),
        ("ecad.execution.on_ray.workers", "import numpy", "'execution.on_ray' must not import 'numpy'"),
        (
            "ecad.scoring.image_reward.package_worker",
            "import PIL\nfrom ecad.errors import EcadError",
            "'scoring.image_reward.package_worker' must not import 'ecad.errors'",
        ),
        (
            "ecad.scoring.image_reward.package_worker",
            "from ecad.scoring.base import Scorer",
            "'scoring.image_reward.package_worker' must not import 'ecad.scoring.base'",
        ),
        (
            "ecad.measuring.rows",
            "from ecad.measuring.comparison import compare",
            "'measuring.rows' must not import 'ecad.measuring.comparison'",
        ),
        ("ecad.measuring.rows", "import json\nfrom ecad.measuring.rows import Row", None),
        ("ecad.report.plots", "from ecad.measuring.rows import Row", None),
        (
            "ecad.report.plots",
            "from ecad.measuring.macs import X",
            "'report' must not import 'ecad.measuring.macs'",
        ),
        ("ecad.families.models.pixart", "import torch", "'families' must not import 'torch'"),
        ("ecad.scoring.clip", "import ecad.sampling.base", "'scoring' must not import 'ecad.sampling.base'"),
        ("ecad.unheard_of", "", "'unheard_of' has no row in LAYERS"),
    ],
)
def test_the_checker_itself(module: str, source: str, offence: str | None):
    found = list(offences(source, module, "file.py", module.rpartition(".")[0]))
    assert [text.split(": ", 1)[1] for text in found] == ([offence] if offence else [])


if __name__ == "__main__":
    print(contributing_table())  # noqa: T201
