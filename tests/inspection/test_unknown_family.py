"""A transformer class that ecad does not know, from its folder to a schedule in use, by the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.toys import Contrast, metric
from tiny_models import tiny_sd3

import ecad
from ecad.errors import ModelError, ScheduleError
from ecad.families import FAMILIES, get_family, load_family, register, unregister
from ecad.storage import RunFolder

NAME = "sd3_transformer2d"

Command = Callable[..., str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny-sd3"
    tiny_sd3().save_pretrained(path)
    return path


@pytest.fixture(autouse=True)
def _without_sd3() -> Iterator[None]:
    """As if the family did not ship with ecad; afterwards as it was."""
    shipped = get_family("sd3")
    unregister("sd3")
    yield
    new_process()
    register(shipped)


def new_process() -> None:
    """Forget what files have made known."""
    if NAME in FAMILIES:
        unregister(NAME)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `ecad ...` as a process of its own would, as far as families go; returns what it printed."""

    def run(*arguments: object, exit_code: int = 0) -> str:
        from ecad.cli.main import main

        new_process()
        monkeypatch.setattr(sys, "argv", ["ecad", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert ended.value.code == exit_code, printed.err
        return printed.out if exit_code == 0 else printed.err

    return run


def search_options(folder: Path, here: Path) -> tuple[object, ...]:
    (here / "search.txt").write_text("a red bicycle\ntwo cats\n")
    (here / "heldout.txt").write_text("a harbour at night\n")
    return (
        *(
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
        ),
        *("--prompts", here / "search.txt", "--heldout-prompts", here / "heldout.txt"),
        *("--generations", 2, "--population", 4),
    )


@pytest.mark.slow
def test_from_inspection_to_a_schedule_in_use(folder: Path, tmp_path: Path, command: Command) -> None:
    file, run = tmp_path / "mine.yaml", tmp_path / "run"
    said = command("models", "--inspect", folder, "-o", file)
    assert said == (
        f"{file}: family {NAME} of SD3Transformer2DModel; transformer_blocks: attn, ff, ff_context\n"
    )
    assert "called once, in 2 of 3 blocks" in file.read_text()
    assert load_family(file).sizes.text_tokens == 256  # StableDiffusion3Pipeline's max_sequence_length

    options = search_options(folder, tmp_path)
    with metric(Contrast()):
        said = command("search", *options, "--quality", "contrast", "--out", run, exit_code=2)
        assert "its transformer is a 'SD3Transformer2DModel', ecad knows only" in said
        assert f"ecad models --inspect {folder}, and give the file as --family FILE" in said
        command("search", *options, "--quality", "contrast", "--out", run, "--family", file)
        # The run knows its family: nobody has to name the file again.
        command("search", "--resume", run, "--generations", 3)
        assert "uncached" in command("show", run)
        command("export", run, "--speedup", 1.1, "-o", tmp_path / "fast.yaml")
        evaluated = command(
            *("evaluate", *options[:12], "fora:2", run, "--metrics", "contrast", "--family", file),
            *("--prompts", tmp_path / "heldout.txt", "--out", tmp_path / "results"),
        )
        assert "fora:2" in evaluated
    for written in (run, tmp_path / "results"):
        assert load_family(written / "family.yaml") == load_family(file)
    check = command("schedule", "check", tmp_path / "fast.yaml", "--model", folder, "--family", file)
    assert "valid" in check
    in_use(tmp_path / "fast.yaml", run)


def in_use(exported: Path, run: Path) -> None:
    pipe = tiny_sd3()

    def image() -> Any:
        import torch

        call = {"num_inference_steps": 4, "height": 32, "width": 32, "output_type": "np"}
        return np.asarray(pipe("a red bicycle", generator=torch.Generator().manual_seed(0), **call).images)

    before = image()
    new_process()
    with pytest.raises(ScheduleError) as raised:
        ecad.apply(pipe, exported)
    assert str(raised.value).startswith(
        f"{exported}, line 7: unknown model family '{NAME}': its file must be "
    )
    assert "made known first, by --family FILE or ecad.families.register(FILE); ecad knows " in str(
        raised.value
    )
    register(run / "family.yaml")
    with ecad.applied(pipe, exported) as handle:
        assert not np.array_equal(image(), before)
        assert handle.reused > 0
    assert np.array_equal(image(), before)
    # A schedule in a run folder has its family beside it.
    new_process()
    [first, *_] = sorted((run / "front").glob("*.yaml"))
    with ecad.applied(pipe, first):
        image()
    assert np.array_equal(image(), before)


@pytest.mark.slow
def test_a_run_goes_on_with_its_own_family_only(folder: Path, tmp_path: Path, command: Command) -> None:
    file, run = tmp_path / "mine.yaml", tmp_path / "run"
    command("models", "--inspect", folder, "-o", file)
    options = search_options(folder, tmp_path)
    with metric(Contrast()):
        command("search", *options, "--quality", "contrast", "--out", run, "--family", file)
        other = tmp_path / "other.yaml"
        other.write_text(file.read_text().replace("text_tokens: 256", "text_tokens: 200"))
        said = command(
            "search", *options, "--quality", "contrast", "--out", run, "--family", other, exit_code=2
        )
        assert "was started with other settings" in said
        assert "family" in said
        said = command("search", "--resume", run, "--family", other, exit_code=2)
        assert "cannot register the family 'sd3_transformer2d': 'sd3_transformer2d' is known already" in said


@pytest.mark.slow
def test_workers_are_told_the_family(folder: Path, tmp_path: Path, command: Command) -> None:
    """They import ecad anew, where the class has a family of its own."""
    pytest.importorskip("ray")
    file = tmp_path / "mine.yaml"
    command("models", "--inspect", folder, "-o", file)
    options = (*search_options(folder, tmp_path), "--quality", "psnr", "--family", file)
    command("search", *options, "--out", tmp_path / "alone", "--threads", 1)
    command("search", *options, "--out", tmp_path / "workers", "--workers", 2, "--threads", 1)
    found = []
    for name in ("alone", "workers"):
        folder = tmp_path / name
        assert RunFolder.existing(folder).failures() == []
        found.append((folder / "evaluations.jsonl").read_text())
    assert "quality" in found[0]
    assert found[0] == found[1]


# --- files that do not fit ---


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: ff,", "name: fff,", "transformer_blocks[0] has no component 'fff' to cache"),
        ("name: transformer_blocks", "name: layers", "SD3Transformer2DModel has no blocks at 'layers'"),
        ("count_key: num_layers", "count_key: depth", "must have the key 'depth'"),
        (
            "count_key: num_layers",
            "count_key: num_attention_heads",
            "'num_attention_heads' of the config is 2, but the SD3Transformer2DModel has 3 blocks",
        ),
        (", missing_in: [-1]", "", "transformer_blocks[2] has no component 'ff_context' to cache"),
        ("[SD3Transformer2DModel]", "[SD3]", "its transformer is a 'SD3Transformer2DModel', ecad knows only"),
        ("[SD3Transformer2DModel]", "[FluxTransformer2DModel]", "'FluxTransformer2DModel' is known already"),
        ("joint_attention", "joint", "unknown kind 'joint' of component, expected one of self_attention"),
    ],
)
def test_a_file_that_names_what_is_not_there(
    folder: Path, tmp_path: Path, command: Command, old: str, new: str, message: str
) -> None:
    file = tmp_path / "mine.yaml"
    text = inspected(folder, command)
    assert old in text
    file.write_text(text.replace(old, new, 1))
    said = command(
        *("generate", "--model", folder, "--family", file, "--prompt", "x", "--schedule", "fora:2"),
        *("--steps", 4, "--height", 32, "--width", 32, "--device", "cpu", "-o", tmp_path / "x.png"),
        exit_code=2,
    )
    assert message in said
    assert said.count("\n") == 1


_TEXT: dict[Path, str] = {}


def inspected(folder: Path, command: Command) -> str:
    if folder not in _TEXT:
        _TEXT[folder] = command("models", "--inspect", folder)
    return _TEXT[folder]


def test_a_number_of_blocks_that_the_config_does_not_say(
    folder: Path, tmp_path: Path, command: Command
) -> None:
    """It is taken from the model once that is loaded."""
    file = tmp_path / "mine.yaml"
    file.write_text(inspected(folder, command).replace("count_key: num_layers", 'count_key: ""'))
    size = ("--steps", 4, "--height", 32, "--width", 32, "--device", "cpu")
    said = command(
        *("generate", "--model", folder, "--family", file, "--prompt", "x", "--schedule", "fora:2", *size),
        *("-o", tmp_path / "x.png", "--repeats", 1),
    )
    assert "(fora:2)" in said
    said = command(
        *("schedule", "new", "fora:2", "--model", folder, "--family", file, "-o", tmp_path / "s.yaml"),
        exit_code=2,
    )
    assert "does not say how many transformer_blocks it has; that is known once the model is loaded" in said


# --- what there is to inspect ---


def test_a_folder_without_weights_and_a_class(folder: Path, command: Command) -> None:
    for source in (folder / "transformer", "SD3Transformer2DModel"):
        text = command("models", "--inspect", source)
        assert "# Only the module tree was looked at" in text
        assert "- {name: ff_context, kind: feed_forward, missing_in: [-1]}" in text


def test_what_cannot_be_inspected(tmp_path: Path, command: Command) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "config.json").write_text("[]")
    for source, message in {
        "SD3Transformer2DModell": "has no model class 'SD3Transformer2DModell'; did you mean 'SD3Transformer2DModel'?",
        "AutoencoderKL": "AutoencoderKL has no blocks: no list of modules with an attention or a feed-forward",
        tmp_path / "empty": "has neither a model_index.json (a pipeline) nor a config.json",
        tmp_path: "names no class of diffusers",
        "owner/name": "nothing to inspect at 'owner/name'",
    }.items():
        said = command("models", "--inspect", source, exit_code=2)
        assert message in said
        assert said.count("\n") == 1


def test_a_pipeline_that_cannot_run(folder: Path, tmp_path: Path, command: Command) -> None:
    """Then the modules alone are looked at, and the file says why."""
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    shutil.rmtree(broken / "vae")
    text = command("models", "--inspect", broken)
    assert "the pipeline cannot be loaded: " in text
    assert "# Only the module tree was looked at" in text
    shutil.rmtree(broken / "transformer")
    said = command("models", "--inspect", broken, exit_code=2)
    assert "transformer/config.json is missing" in said


def test_a_known_class_is_not_taken_over(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is known already"):
        register(load_family_text(tmp_path, "pixart", "PixArtTransformer2DModel"))


def load_family_text(folder: Path, name: str, class_name: str) -> Path:
    path = folder / "known.yaml"
    path.write_text(
        f"ecad_family: 1\nname: {name}\ntransformer_classes: [{class_name}]\nblock_lists:\n"
        "  - name: transformer_blocks\n    count_key: num_layers\n    components:\n"
        "      - {name: ff, kind: feed_forward}\nsizes: {text_tokens: 1}\n"
    )
    return path
