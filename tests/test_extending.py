"""The recipes of docs/extending.md, followed with the code that stands there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from contracts.scorer import ScorerContract
from contracts.search_algorithm import SearchAlgorithmContract
from contracts.toys import Contrast, metric
from tiny_models import tiny_sd3

import ecad
from ecad.errors import EcadError
from ecad.families import get_family, register, unregister
from ecad.genetic.granularity import Levels
from ecad.genetic.operators import Variation
from ecad.schedule import dump_schedule, heuristic, load_schedule
from ecad.scoring import METRICS, Metric, make_scorer, registered

PAGE = Path(__file__).resolve().parent.parent / "docs" / "extending.md"


def code(title: str, **names: Any) -> ModuleType:
    """The module made of the page's code block that begins with the comment `title`; `names` are there already."""
    blocks = re.findall(r"```python\n# (.*?)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    [text] = [text for first, text in blocks if first == title]
    module = ModuleType(f"recipe_{len(sys.modules)}")
    vars(module).update(names)
    exec(compile(text, title, "exec"), vars(module))
    return module


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object, exit_code: int = 0) -> None:
    from ecad.cli.main import main

    monkeypatch.setattr(sys, "argv", ["ecad", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == exit_code


def test_the_places_that_the_page_names_are_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    root = PAGE.parent.parent
    new = {"ecad/scoring/sharpness.py", "ecad/cli/steps.py"}
    paths = set(re.findall(r"\b(?:\w+/)+\w+\.py\b", text)) - new
    paths = {path for path in paths if "NAME" not in path}
    assert len(paths) > 8
    assert not [
        path for path in paths if not (root / path).is_file() and not (root / "ecad" / path).is_file()
    ]
    for path, line in {
        "ecad/scoring/registry.py": "_ALL = (",
        "ecad/searching/history.py": "def variation_of(",
        "ecad/cli/main.py": "from ecad.cli import ",
    }.items():
        assert line in (root / path).read_text(encoding="utf-8")


# --- a transformer family ---


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny-sd3"
    tiny_sd3().save_pretrained(path)
    return path


@pytest.fixture
def _without_sd3() -> Iterator[None]:
    """As if the family did not ship with ecad."""
    shipped = get_family("sd3")
    unregister("sd3")
    yield
    register(shipped)


@pytest.fixture
def _sd3(_without_sd3: None) -> Iterator[None]:
    register(code("ecad/families/models/sd3.py").SD3)
    yield
    unregister("sd3")


@pytest.mark.usefixtures("_without_sd3")
def test_without_its_file_the_family_is_unknown(folder: Path) -> None:
    with pytest.raises(EcadError, match="its transformer is a 'SD3Transformer2DModel', ecad knows only"):
        ecad.families.find_model(str(folder))  # type: ignore[attr-defined]


@pytest.mark.usefixtures("_sd3")
def test_a_family_is_searched_evaluated_and_applied(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "search.txt").write_text("a red bicycle\ntwo cats\n")
    (tmp_path / "heldout.txt").write_text("a harbour at night\n")
    size = (
        "--model",
        folder,
        "--steps",
        4,
        "--height",
        32,
        "--width",
        32,
        "--batch-size",
        2,
        "--device",
        "cpu",
    )
    with metric(Contrast()):
        command(
            monkeypatch,
            *("search", *size, "--generations", 2, "--population", 4, "--quality", "contrast"),
            *("--prompts", tmp_path / "search.txt", "--heldout-prompts", tmp_path / "heldout.txt"),
            *("--out", tmp_path / "run"),
        )
        command(
            monkeypatch,
            *("evaluate", *size, "fora:2", tmp_path / "run", "steps:2", "--metrics", "contrast"),
            *("--prompts", tmp_path / "heldout.txt", "--out", tmp_path / "results"),
        )
    said = capsys.readouterr().out
    assert "fora:2" in said
    for folder_of_page in ("run", "results"):
        assert f"page: {tmp_path / folder_of_page / 'report.html'}" in said
    command(monkeypatch, "export", tmp_path / "run", "--speedup", 1.2, "-o", tmp_path / "fast.yaml")
    schedule = load_schedule(tmp_path / "fast.yaml")
    assert (schedule.family, schedule.steps) == ("sd3", 4)

    pipe = tiny_sd3()
    call = {"num_inference_steps": 4, "height": 32, "width": 32, "output_type": "np"}

    def image() -> np.ndarray:
        import torch

        return np.asarray(pipe("a red bicycle", generator=torch.Generator().manual_seed(0), **call).images)

    before = image()
    with ecad.applied(pipe, heuristic("all", schedule.shape)):
        assert np.array_equal(image(), before)
    with ecad.applied(pipe, tmp_path / "fast.yaml") as handle:
        assert not np.array_equal(image(), before)
        assert handle.reused > 0
    assert np.array_equal(image(), before)
    # The last block has no ff_context: no digit, no gene, nothing that could be wrong.
    assert '- "11-"  # step 0' in dump_schedule(schedule)


# --- a metric ---


@pytest.fixture(scope="module")
def _sharpness() -> Iterator[None]:
    """As if the file were there: what is imported from it is what the page shows."""
    sys.modules["ecad.scoring.sharpness"] = code("ecad/scoring/sharpness.py")
    text = PAGE.read_text(encoding="utf-8")
    [record] = re.findall(r"# a record in ecad/scoring/registry.py\n(Metric\(.*?\n\))\n", text, re.DOTALL)
    with registered(eval(record, {"Metric": Metric})):
        yield
    del sys.modules["ecad.scoring.sharpness"]


@pytest.mark.usefixtures("_sharpness")
class TestSharpness(ScorerContract):
    tolerance = 1e-12

    @pytest.fixture
    def scorer(self) -> Any:
        return make_scorer("sharpness")

    def test_numbers(self, scorer: Any) -> None:
        images = np.zeros((1, 2, 3, 3), np.uint8)
        images[:, :, 1] = 100  # 0, 100, 0: every neighbour differs by 100
        assert scorer(["x"], images).tolist() == [100.0]

    def test_it_is_known_everywhere(self, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        assert METRICS["sharpness"].look() == "part of ecad; no weights"
        assert make_scorer("0.5*sharpness+1*alignment").name == "0.5*sharpness+1*alignment"
        monkeypatch.setenv("COLUMNS", "200")
        command(monkeypatch, "doctor")
        assert "how much neighbouring pixels differ" in capsys.readouterr().out


# --- a variation operator ---


class TestStepFlip(SearchAlgorithmContract):
    """The search with the page's operator in it."""

    def variation(self) -> Variation:
        operator = code("ecad/genetic/operators.py").StepFlip
        method = code("the method of Variation in ecad/genetic/operators.py", StepFlip=operator).mutation

        class StepVariation(Variation):
            mutation = method

        return StepVariation(self.layout)

    def test_it_takes_whole_steps(self) -> None:
        genomes = np.zeros((50, len(self.layout.steps)), dtype=bool)
        mutation = self.variation().mutation(Levels("blocks", seen=(), coarse=0, steps=6))
        children = mutation._do(None, genomes, random_state=np.random.default_rng(0))
        steps_of = [set(self.layout.steps[child]) for child in children]
        assert {len(steps) for steps in steps_of} == {1}
        assert all(child.sum() == (self.layout.steps == 1).sum() for child in children)


# --- a command ---


def test_a_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from ecad.cli.main import app

    commands = list(app.registered_commands)
    app.command("steps")(code("ecad/cli/steps.py").steps)
    try:
        command(monkeypatch, "steps", "pixart-alpha/fora-3")
        assert capsys.readouterr().out == "0,3,6,9,12,15,18\n"
        command(monkeypatch, "steps", "nowhere.yaml", exit_code=2)
        assert capsys.readouterr().err.startswith("error: no schedule file 'nowhere.yaml'")
    finally:
        app.registered_commands[:] = commands
