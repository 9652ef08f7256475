"""The examples of README and the guide, run: every block of Python, every command line of ecad, every YAML file.

Of a command line that takes long (a search, an evaluation) or needs what is not here, the options are parsed, as they
are where they are typed; the others are run. A page's examples are run in their order, in one folder that has what the
pages take for granted: a finished run and files of prompts.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from sybil import Document, Example, Region
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer
from tiny_models import tiny_sd3

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "experiments").glob("*/README.md")),
    *sorted((ROOT / "schedules").glob("*.md")),
    *sorted((ROOT / "calibration_prompts").glob("*.md")),
    *sorted((ROOT / "ecad/families/minis").glob("*/*.md")),
]
# Whose blocks of Python are followed elsewhere: files to be written, not scripts.
FOLLOWED_ELSEWHERE = {"docs/extending.md": "tests/test_extending.py"}

# Commands that take a second or two.
CHEAP = ("show", "plot", "status", "export", "models", "families", "doctor", "schedule")
NAMES = (*CHEAP, "search", "evaluate", "generate", "calibrate", "report")
# Files and folders that examples name and nobody has here: a command about one of them is parsed only.
NOT_HERE = {"masks.json", "c.json"}
PIPES = {"&&", "||", ";", "|"}


class Commands:
    """What stands in blocks of shell: command lines of ecad are parsed, and run where that is cheap."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch
        self.seen: list[list[str]] = []

    def __call__(self, example: Example) -> None:
        for words in command_lines(str(example.parsed)):
            self.seen.append(words)
            parse(words)
            if words[0] in CHEAP and not NOT_HERE & set(words):
                self._run(words)

    def without_language(self, document: Document) -> Iterator[Region]:
        """Blocks that do not say what they are may be command lines, too."""
        for region in RawFencedCodeBlockLexer()(document):
            yield Region(region.start, region.end, region.lexemes["source"], self)

    def _run(self, words: list[str]) -> None:
        from ecad.cli.main import main

        for flag, name in pairwise(words):  # the same file may be written by several examples
            if flag in ("-o", "--out"):
                (self._folder / name).unlink(missing_ok=True)
        self._monkeypatch.setattr(sys, "argv", ["ecad", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code in (0, None), shlex.join(words)
        if words[0] == "export":  # its model is a smaller one than the pages'
            use_bundled_schedule(self._folder / words[words.index("-o") + 1])


def load_yaml(example: Example) -> None:
    """A schedule, or the settings of a search; nothing else stands in blocks of YAML."""
    from ecad.schedule.files.ecad_yaml import parse_schedule
    from ecad.searching.settings import SearchSettings

    text = str(example.parsed)
    if text.startswith("ecad_schedule:"):
        parse_schedule(text, str(example.path))
    else:
        SearchSettings.from_mapping(yaml.safe_load(text), str(example.path))


def command_lines(text: str) -> Iterator[list[str]]:
    """The words behind `ecad` in every command line of it."""
    text = text.replace("\\\n", " ")
    for line in text.splitlines():
        command: list[str] = []
        for word in [*shlex.split(line, comments=True), ";"]:
            if word not in PIPES:
                command.append(word)
                continue
            while command and re.fullmatch(r"[A-Z_]+=.*", command[0]):  # VARIABLE=value ecad ...
                command.pop(0)
            if command and command[0] == "ecad":
                yield command[1:]
            command = []


def parse(words: list[str]) -> None:
    """As the command line itself does: unknown commands and options, and values of the wrong kind, are errors."""
    import typer

    from ecad.cli.main import app

    command: Any = typer.main.get_command(app)
    if words[0].startswith("-"):  # would be done at once: --install-completion
        assert words[0] in [name for option in command.params for name in option.opts], words
        return
    context = command.make_context("ecad", list(words))
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


def use_bundled_schedule(path: Path) -> None:
    from ecad.resources import find_schedule

    source = find_schedule("pixart-mini/fast")
    assert source is not None
    shutil.copyfile(source, path)


@pytest.fixture(scope="module")
def finished_run(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder as `ecad search` leaves it, of a tiny model."""
    from ecad.searching.run import search
    from ecad.searching.settings import SearchSettings

    base = tmp_path_factory.mktemp("guide")
    (base / "search.txt").write_text("a large red circle on a gray background\n")
    (base / "heldout.txt").write_text("a small blue square on a white background\n")
    settings = SearchSettings(
        model=str(tiny_folder),
        generations=1,
        population=4,
        quality="rmse",
        prompts=str(base / "search.txt"),
        heldout_prompts=str(base / "heldout.txt"),
        steps=3,
        height=16,
        width=16,
        batch_size=1,
        device="cpu",
    )
    search(settings, base / "run")
    return base / "run"


@pytest.fixture
def folder(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the examples of a page run."""
    for name in ("pixart-mini", "mini", "flux"):
        shutil.copytree(finished_run, tmp_path / "runs" / name)
    (tmp_path / "ecad").symlink_to(ROOT / "ecad")  # as in a checkout
    (tmp_path / "schedules/pixart-alpha").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def mini_pipeline() -> Any:
    """The pipeline that pages call `pipe` without making one: pixart-mini, at its size, with captions as they are."""
    from diffusers import PixArtAlphaPipeline

    from ecad.resources import minis_dir

    class MiniPipeline(PixArtAlphaPipeline):
        def __call__(self, *args: Any, **options: Any) -> Any:
            return super().__call__(
                *args, **{"use_resolution_binning": False, "clean_caption": False, **options}
            )

    pipe = MiniPipeline.from_pretrained(minis_dir() / "pixart-mini")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@contextmanager
def unknown_model(folder: Path, namespace: dict[str, Any]) -> Iterator[None]:
    """For the page about models that ecad does not know: one that it has forgotten, and a schedule for that."""
    from ecad.families import FAMILIES, describe, get_family, register, unregister
    from ecad.schedule import ScheduleShape, heuristic, save_schedule

    shipped = get_family("sd3")
    unregister("sd3")
    pipe = tiny_sd3()
    pipe.save_pretrained(folder / "new-model")
    found = describe(pipe.transformer, lambda: pipe("a cat", num_inference_steps=2, height=32, width=32))
    register(found.family)
    try:
        shape = ScheduleShape(found.family.name, 20, {"transformer_blocks": 3})
        save_schedule(heuristic("fora:2", shape), folder / "fast.yaml")
        unregister(found.family.name)
        namespace["pipe"] = pipe
        yield
    finally:
        if found.family.name in FAMILIES:
            unregister(found.family.name)
        register(shipped)


@contextmanager
def hub(folder: Path, namespace: dict[str, Any]) -> Iterator[None]:
    """For the page about files on a hub: one that has the same schedule in every repository."""
    use_bundled_schedule(folder / "on-the-hub.yaml")
    from ecad.schedule.files import addresses, from_hub

    def hub_file(rest: str, most_bytes: int) -> bytes:
        from_hub.parse_hub_address(rest)
        return (folder / "on-the-hub.yaml").read_bytes()

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(addresses, "hub_file", hub_file)
        yield


@contextmanager
def small_search(folder: Path, namespace: dict[str, Any]) -> Iterator[None]:
    """For the page that searches from Python: the same call, of fewer steps, schedules and images."""
    import ecad

    search = ecad.search
    small = {"generations": 1, "population": 4, "steps": 3, "batch_size": 1, "workers": "none", "threads": 1}
    limits = {"prompts_limit": 1, "selection_limit": 0, "heldout_limit": 1}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(
            ecad, "search", lambda *given, **options: search(*given, **options | small | limits)
        )
        yield


# What a page needs beside a run, prompts and a pipeline.
SURROUNDINGS = {
    "docs/first-search.md": small_search,
    "docs/unknown-models.md": unknown_model,
    "docs/schedules-elsewhere.md": hub,
}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = Commands(folder, monkeypatch)
    parsers: list[Any] = [
        CodeBlockParser(language="sh", evaluator=commands),
        commands.without_language,
        CodeBlockParser(language="yaml", evaluator=load_yaml),
        SkipParser(),
    ]
    name = str(page.relative_to(ROOT))
    if name not in FOLLOWED_ELSEWHERE:
        parsers.append(PythonCodeBlockParser())
    document = Document.parse(str(page), *parsers)
    text = page.read_text(encoding="utf-8")
    if re.search(r"\bpipe\b", text):
        document.namespace["pipe"] = mini_pipeline()
    use_bundled_schedule(folder / "fast.yaml")
    with SURROUNDINGS.get(name, lambda *_: nullcontext())(folder, document.namespace):
        for example in document.examples():
            example.evaluate()
    if "torch" in sys.modules:
        sys.modules["torch"].compiler.reset()  # what a page has compiled
    # Every command line is in a block that is looked at.
    outside = re.sub(
        r"^```(\S*)\n(.*?)^```",
        lambda block: "" if block[1] in ("", "sh") else block[2],
        text,
        flags=re.DOTALL | re.MULTILINE,
    )
    assert not re.findall(rf"^(?: {{4}}|\$ )?ecad (?:{'|'.join(NAMES)}) .*", outside, flags=re.MULTILINE)


def test_wrong_command_lines_are_found() -> None:
    [search, show] = command_lines(
        'X=1 ecad search \\\n  --out "a b"  # not this\npip install . && ecad show a\n'
    )
    assert (search, show) == (["search", "--out", "a b"], ["show", "a"])
    parse(search)
    for wrong, said in {
        "search --otu x": "No such option",
        "serach": "No such command",
        "show": "Missing",
    }.items():
        with pytest.raises(Exception, match=said):
            parse(wrong.split())
