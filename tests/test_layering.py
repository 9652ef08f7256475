"""Who may import whom: every import under ecad/, also inside functions, must be allowed by the table below.

The table is CONTRIBUTING's picture of the layers. To change the picture, change both.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "ecad"

# What the main path joins; none of these may import it.
BELOW_RUN = "models schedule records config caching evaluation search execution storage"

# layer -> (modules of ecad it may import, third-party packages it may import). A layer is a folder or a
# module at the top of ecad/; a module inside a folder may have a row of its own. Everybody may also import
# the standard library, its own layer and FOR_EVERYBODY.
LAYERS: dict[str, tuple[str, str]] = {
    "__init__": ("schedule caching", ""),  # the public names, at their first use
    "errors": ("", ""),
    "resources": ("", ""),
    "models": ("", ""),
    "schedule": ("models", "numpy yaml"),
    "records": ("models schedule", "numpy yaml"),
    "config": ("models schedule", "numpy yaml"),
    "caching": ("models schedule", "numpy torch diffusers"),
    "evaluation": (
        "models schedule records config caching",
        "numpy PIL torch diffusers transformers safetensors",
    ),
    # Packages that only some metrics need are imported inside functions.
    "evaluation.scorers": (
        "models schedule records config caching",
        "numpy PIL torch transformers huggingface_hub torchvision torchmetrics open_clip lpips",
    ),
    # Runs in another environment, which has neither ecad nor its packages.
    "evaluation.scorers.image_reward_worker": ("", "PIL ImageReward"),
    "search": ("schedule records", "numpy pymoo"),
    "execution": ("records schedule", ""),
    "execution.ray_pool": ("records", "ray"),
    "storage": ("schedule records", "numpy yaml filelock"),
    # The main path, its beginning (a run is prepared) and its end (the front is scored).
    "run_threads": ("", "torch threadpoolctl"),
    "run_claim": (BELOW_RUN, "torch"),
    "run_latency": (BELOW_RUN, "numpy"),
    "run_setup": (f"{BELOW_RUN} __init__ run_threads run_claim run_latency", "torch"),
    "run_comparisons": (BELOW_RUN, "numpy"),
    "run_report": (f"{BELOW_RUN} __init__ run_setup run_comparisons", "numpy"),
    "run_history": (BELOW_RUN, ""),
    "run_execution": (f"{BELOW_RUN} run_setup", "torch"),
    "run_steady": (f"{BELOW_RUN} run_history", "numpy"),
    "run_selection": (f"{BELOW_RUN} run_setup run_history", "numpy"),
    "run": (
        f"{BELOW_RUN} __init__ run_setup run_threads run_report run_history run_execution run_steady run_selection",
        "numpy",
    ),
    # The main path of an evaluation; it writes tables and pictures itself.
    "evaluate_settings": (f"{BELOW_RUN} run_setup", ""),
    "evaluate_contenders": (BELOW_RUN, ""),
    "evaluate_setup": (f"{BELOW_RUN} run_setup evaluate_settings evaluate_contenders", ""),
    "evaluate_results": (f"{BELOW_RUN} evaluate_setup", ""),
    "evaluate": (f"{BELOW_RUN} evaluate_settings evaluate_setup evaluate_results report", "numpy"),
    "report": ("schedule records storage search.front", "numpy PIL rich matplotlib"),
    "cli": (
        f"{BELOW_RUN} __init__ run_setup run_report run evaluate_settings evaluate report",
        "rich typer yaml",
    ),
}
FOR_EVERYBODY = "errors resources __version__"


class Import(NamedTuple):
    """One import: `module` is absolute ("ecad.search.front", "numpy.typing")."""

    module: str
    line: int


def exists(module: str) -> bool:
    """Whether `module` ("ecad.search.front") is a module of ecad."""
    path = PACKAGE.parent.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or path.is_dir()


def module_of(path: Path) -> str:
    """ecad/search/front.py -> "ecad.search.front"; a package's `__init__.py` -> the package."""
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
                # `from ecad.search import front` names a module, `import hypervolume` would not.
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
    """What `source`, the text of `module` ("ecad.search.front"), imports against the table."""
    name = module.removeprefix("ecad.")
    layer = layer_of(name)
    if layer is None:
        yield f"{file}:1: {name!r} has no row in LAYERS"
        return
    inside, outside = LAYERS[layer]
    home = layer.split(".")[0]
    found = sorted(set(imports_of(ast.parse(source), package)), key=lambda each: (each.line, each.module))
    for target, line in found:
        top, _, rest = target.partition(".")
        if top == "ecad":
            fine = covers(f"{home} {inside} {FOR_EVERYBODY}", rest)
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


@pytest.mark.parametrize(
    ("module", "source", "offence"),
    [
        ("ecad.search.front", "import ecad.storage", "'search' must not import 'ecad.storage'"),
        ("ecad.search.front", "from ecad import storage", "'search' must not import 'ecad.storage'"),
        ("ecad.search.front", "from ..storage import log", "'search' must not import 'ecad.storage.log'"),
        ("ecad.search.front", "from . import front", None),
        ("ecad.search.front", "def late():\n    import torch", "'search' must not import 'torch'"),
        ("ecad.search.front", "import_module('ray')", "'search' must not import 'ray'"),
        ("ecad.search.front", "from ecad import Schedule", "'search' must not import 'ecad.__init__'"),
        ("ecad.search.front", "import ecad", "'search' must not import 'ecad.__init__'"),
        ("ecad.run_setup", "import ecad\nfrom ecad import Schedule", None),
        ("ecad.search.front", "import json\nimport numpy.typing\nfrom ecad import __version__, errors", None),
        ("ecad.execution.base", "import ray", "'execution' must not import 'ray'"),
        ("ecad.execution.ray_pool", "import ray\nfrom ecad.execution.base import Executor", None),
        ("ecad.report.plot", "from ecad.search.front import nondominated", None),
        (
            "ecad.report.plot",
            "from ecad.search.nsga2 import X",
            "'report' must not import 'ecad.search.nsga2'",
        ),
        ("ecad.run_setup", "import ecad.run", "'run_setup' must not import 'ecad.run'"),
        ("ecad.unheard_of", "", "'unheard_of' has no row in LAYERS"),
    ],
)
def test_the_checker_itself(module: str, source: str, offence: str | None):
    found = list(offences(source, module, "file.py", module.rpartition(".")[0]))
    assert [text.split(": ", 1)[1] for text in found] == ([offence] if offence else [])
