"""`ecad schedule new | show | check`: what they write and print, and how they refuse."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from ecad.cli.schedule import app
from ecad.errors import ConfigError, EcadError, ModelError, ScheduleError
from ecad.report.heatmap import Legend, StepProfile, schedule_panels, step_fractions
from ecad.resources import schedules_dir
from ecad.schedule import Schedule, ScheduleShape, heuristic, load_schedule, save_schedule

LARGE = ScheduleShape("pixart", 20, {"transformer_blocks": 28})


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments: object) -> EcadError:
    """The error that the command raises; `ecad.cli.main` makes one line and exit code 2 of it."""
    error = invoke(*arguments).exception
    assert isinstance(error, EcadError), error
    assert "\n" not in str(error)
    return error


def test_new_writes_what_the_name_says(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    assert invoke("new", "fora:3", "--model", "pixart-alpha-512", "-o", path).exit_code == 0
    schedule = load_schedule(path)
    assert schedule == heuristic("fora:3", LARGE)
    assert dict(schedule.model) == {"name": "pixart-alpha-512", "height": 512, "width": 512}
    assert schedule.provenance["heuristic"] == "fora:3"


def test_the_bundled_heuristics_are_what_new_writes(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    assert invoke("new", "tgate:10", "--model", "pixart-sigma", "-o", path).exit_code == 0
    bundled = schedules_dir() / "pixart-sigma" / "tgate-10.yaml"
    assert digits(path) == digits(bundled)


def digits(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if "# step" in line]


def test_new_does_not_overwrite_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("mine")
    error = refused("new", "fora:2", "--model", "pixart-alpha", "-o", path)
    assert "--force" in str(error)
    assert path.read_text() == "mine"
    arguments = ("new", "fora:2", "--model", "pixart-alpha", "--steps", 4, "-o", path, "--force")
    assert invoke(*arguments).exit_code == 0
    assert load_schedule(path).steps == 4


@pytest.mark.parametrize(
    ("heuristic_name", "model", "steps", "kind", "message"),
    [
        ("fora:3", "pixart-aplha", 20, ModelError, "did you mean 'pixart-alpha'"),
        (
            "fora:3",
            "owner/name",
            20,
            ModelError,
            "the architecture of 'owner/name' is not known before it is loaded",
        ),
        ("fora:21", "pixart-alpha", 20, ScheduleError, "21 is outside 1 to 20"),
        ("fora:2", "pixart-alpha", 0, ScheduleError, "1 to 1000 steps, not 0"),
        ("dora:3", "pixart-alpha", 20, ScheduleError, "unknown heuristic 'dora:3'"),
    ],
)
def test_new_names_what_is_wrong(
    heuristic_name: str, model: str, steps: int, kind: type[EcadError], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "s.yaml"
    error = refused("new", heuristic_name, "--model", model, "--steps", steps, "-o", path)
    assert isinstance(error, kind)
    assert message in str(error)
    assert not path.exists()


def test_check_prints_clean_json() -> None:
    result = invoke("check", "pixart-alpha/fora-2", "--json")
    assert result.exit_code == 0
    content = json.loads(result.stdout)
    macs, macs_paper = content.pop("macs"), content.pop("macs_paper")
    # fora:2 recomputes 10 of 20 steps; a half percent of a step (text projection, embedders) is never saved.
    assert content.pop("speedup_macs") == pytest.approx(1.99, abs=0.005)
    speedup_paper = content.pop("speedup_macs_paper")
    assert speedup_paper == pytest.approx(1.99, abs=0.005)
    # One output of 84 components: 256 tokens of 1,152 channels, with and without guidance, two bytes each.
    assert content.pop("stored_bytes_16bit") == 84 * 2 * 256 * 1152 * 2
    assert content.pop("stored_bytes_16bit_summed") == 84 * 2 * 256 * 1152 * 2  # nothing is read three times
    assert content == {
        "valid": True,
        "name": "fora:2",
        "family": "pixart",
        "steps": 20,
        "blocks": {"transformer_blocks": 28},
        "model": {"name": "pixart-alpha", "height": 256, "width": 256},
        "recompute_fraction": 0.5,
        "transformer_runs": 20,
        "holds": None,
        "macs_model": "pixart-alpha",
    }
    # The paper (arXiv 2506.15682) gives 5.714 TMACs for the uncached model.
    assert macs_paper * speedup_paper == pytest.approx(5.714e12, abs=0.001e12)
    assert macs > macs_paper  # attention products are not in the paper's count


def test_what_is_held_is_told(tmp_path: Path) -> None:
    for name in ("output:0,2", "denoised:0,2"):
        path = tmp_path / f"{name[:6]}.yaml"
        assert invoke("new", name, "--model", "pixart-mini", "--steps", "4", "-o", path).exit_code == 0
        holds = name.partition(":")[0]
        assert f"50% recomputed, holds {holds}" in invoke("check", path).stdout
        content = json.loads(invoke("check", path, "--json").stdout)
        assert (content["holds"], content["transformer_runs"]) == (holds, 2)
        sentence = {"output": "the last output, where", "denoised": "the clean sample predicted last, where"}
        assert sentence[holds] in " ".join(invoke("show", path).stdout.split())


def test_a_step_of_the_surroundings_alone_is_not_one_in_which_nothing_runs() -> None:
    """A mask runs them in every step; with `output:` nothing of the transformer runs in between."""
    for name, drawn, meaning, runs in (
        ("mask:0,2", "█○█○", "○ only what surrounds the blocks runs", 20),
        ("output:0,2", "█·█·", "· nothing of the transformer runs", 2),
    ):
        shown = invoke("show", name, "--model", "pixart-mini", "--steps", "4").stdout
        assert f"per step    {drawn} " in shown
        assert f"per step: {meaning}\n" in shown
        checked = invoke("check", name, "--model", "pixart-mini").stdout
        assert f", the transformer runs in {runs} of 20 steps, " in checked
    everything = invoke("show", "all", "--model", "pixart-mini", "--steps", "4").stdout
    assert "per step    ████ " in everything
    assert "per step: " not in everything


def test_a_mask_too_long_for_a_file_name() -> None:
    name = f"mask:{','.join(map(str, range(0, 200, 2)))}"
    assert invoke("show", name, "--model", "pixart-mini", "--steps", "200").exit_code == 0


@pytest.mark.parametrize("command", ["new", "show", "check", "export"])
def test_a_row_of_evaluate_is_no_schedule(command: str, tmp_path: Path) -> None:
    more = {"new": ("--model", "pixart-mini"), "show": ("--model", "pixart-mini")}.get(command, ())
    out = ("-o", tmp_path / "x") if command in ("new", "export") else ()
    error = refused(command, "steps:0,1,2", *more, *out)
    assert str(error).startswith("'steps:0,1,2' is the untouched model with fewer steps and not a schedule: ")
    assert not (tmp_path / "x").exists()


def test_check_takes_the_sizes_from_the_schedule(tmp_path: Path) -> None:
    """Twice the height: every component but the text's keys and values does twice the work, or more."""
    macs = {}
    for height in (256, 512):
        path = tmp_path / f"{height}.yaml"
        model = {"name": "pixart-alpha", "height": height, "width": 256}
        save_schedule(heuristic("fora:2", LARGE).replace(model=model), path)
        macs[height] = json.loads(invoke("check", path, "--json").stdout)["macs_paper"]
    assert 1.8 < macs[512] / macs[256] < 2.0
    # On another model the sizes are that model's.
    other = json.loads(invoke("check", path, "--model", "pixart-alpha-1024", "--json").stdout)
    native = json.loads(invoke("check", "pixart-alpha-1024/fora-2", "--json").stdout)
    assert other["macs"] == native["macs"]


@pytest.mark.parametrize("model", [{}, {"name": "somebody/some-model"}, {"name": "my-model"}, {"name": 5}])
def test_check_without_a_known_model_has_no_macs(model: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    save_schedule(heuristic("fora:2", LARGE).replace(model=model), path)
    result = invoke("check", path, "--json")
    assert result.exit_code == 0
    content = json.loads(result.stdout)
    assert content["valid"] is True
    assert [content[key] for key in ("macs", "macs_paper", "speedup_macs")] == [None] * 3
    assert "give --model" in result.stderr
    known = invoke("check", path, "--model", "pixart-alpha")
    assert known.exit_code == 0
    assert "1.99x fewer" in known.stdout


def test_check_refuses_a_schedule_that_does_not_fit(tmp_path: Path) -> None:
    error = refused("check", "pixart-alpha/fora-2", "--model", "pixart-mini")
    assert "28 transformer_blocks" in str(error)
    assert "8 transformer_blocks" in str(error)
    path = tmp_path / "s.yaml"
    save_schedule(heuristic("fora:2", LARGE).replace(model={"name": "pixart-mini"}), path)
    assert "does not fit pixart-mini" in str(refused("check", path))
    save_schedule(heuristic("fora:2", LARGE).replace(model={"name": "pixart-alpha", "height": "tall"}), path)
    assert "model.height must be a whole number of pixels, not 'tall'" in str(refused("check", path))
    path.write_text("ecad_schedule: 1\n")
    assert "s.yaml, line 1" in str(refused("check", path))


def test_check_json_of_a_broken_file_says_so_and_fails(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("ecad_schedule: 7\n")
    result = invoke("check", path, "--json")
    assert isinstance(result.exception, ScheduleError)
    content = json.loads(result.stdout)
    assert content == {"valid": False, "error": str(result.exception)}
    assert "format version 7" in content["error"]


@pytest.mark.parametrize(
    ("file", "model"),
    [
        ("pixart_alpha_256/ours_faster.json", "pixart-alpha"),
        ("flux_256_to_1024/fast_256_to_1024.json", "flux-dev-1024"),
    ],
)
def test_official_files(file: str, model: str, shared_folder: Path, tmp_path: Path) -> None:
    official = shared_folder / "official" / "schedules" / file
    published = json.loads(official.read_text(encoding="utf-8"))
    result = invoke("check", official, "--json")
    content = json.loads(result.stdout)
    assert content["macs_paper"] == published["metrics"]["total_macs"]
    assert content["macs_model"] == model
    assert f"the MACs are those of {model}" in result.stderr
    yaml, back = tmp_path / "s.yaml", tmp_path / "s.json"
    assert invoke("import", official, "-o", yaml).exit_code == 0
    assert load_schedule(yaml) == load_schedule(official)
    assert invoke("export", yaml, "-o", back).exit_code == 0
    assert json.loads(back.read_text(encoding="utf-8")) == published
    shown = invoke("show", official)
    assert shown.exit_code == 0
    assert "NVIDIA RTX A6000" in " ".join(shown.stdout.split())  # wherever the line is folded
    assert "by_inference_step" not in shown.stdout
    for command in ("import", "export"):
        assert "--force" in str(refused(command, official, "-o", yaml))


def test_import_with_a_model(tmp_path: Path) -> None:
    original, imported = tmp_path / "s.json", tmp_path / "s.yaml"
    assert invoke("export", "pixart-sigma/fora-2", "-o", original).exit_code == 0
    published = json.loads(original.read_text(encoding="utf-8"))
    # fora:2 of the paper's 20 steps: 10 in full, 10 of the constant alone.
    assert published["metrics"]["total_macs"] == 10 * 285_689_806_848 + 10 * 1_498_447_872
    assert invoke("import", original, "-o", imported, "--model", "pixart-sigma-512").exit_code == 0
    assert load_schedule(imported).model == {"name": "pixart-sigma-512", "height": 512, "width": 512}
    error = refused("import", original, "-o", tmp_path / "x.yaml", "--model", "flux-dev")
    assert "does not fit flux-dev" in str(error)
    assert not (tmp_path / "x.yaml").exists()


@pytest.mark.parametrize("name", ["cache-dit", "sd.cpp", "sglang"])
def test_export_of_a_steps_mask(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mask"
    result = invoke("export", "pixart-alpha/fora-2", "-o", path, "--format", name)
    assert result.exit_code == 0
    assert result.stderr.startswith("note: a steps mask is not the schedule")
    assert result.stdout == f"{path}: pixart, 20 steps, 28 transformer_blocks, 50% recomputed\n"
    written = path.read_text(encoding="ascii")
    assert {"cache-dit": "[1, 0, 1", "sd.cpp": "1,0,1", "sglang": "BINS=1,1,1"}[name] in written
    assert "--force" in str(refused("export", "pixart-alpha/fora-2", "-o", path, "--format", name))
    error = refused("export", "pixart-alpha/tgate-10", "-o", tmp_path / "x", "--format", name)
    assert str(error).startswith("step 10 is mixed: it recomputes 56 of 84 components")
    assert not (tmp_path / "x").exists()


def test_smoothcache_there_and_back(tmp_path: Path) -> None:
    masks, back, again = tmp_path / "masks.json", tmp_path / "s.yaml", tmp_path / "again.json"
    result = invoke("export", "pixart-alpha/tgate-10", "-o", masks, "--format", "smoothcache")
    assert (result.exit_code, result.stderr) == (0, "")  # the same meaning: nothing to note
    assert json.loads(masks.read_text())["attn2"] == [1] * 10 + [0] * 10
    assert "give --model" in str(refused("import", masks, "-o", back))
    assert invoke("import", masks, "-o", back, "--model", "pixart-alpha").exit_code == 0
    assert load_schedule(back) == load_schedule("pixart-alpha/tgate-10")
    assert dict(load_schedule(back).model) == {"name": "pixart-alpha", "height": 256, "width": 256}
    assert invoke("export", back, "-o", again, "--format", "smoothcache").exit_code == 0
    assert again.read_text() == masks.read_text()
    error = refused("import", masks, "-o", tmp_path / "x.yaml", "--model", "flux-dev")
    assert (
        str(error) == f"{masks}: flux has no component 'attn1', only attn, ff, ff_context, proj_mlp, proj_out"
    )
    assert "ecad schedule import FILE --model MODEL" in str(refused("check", masks))


def test_smoothcache_of_another_number_of_steps(tmp_path: Path) -> None:
    masks, path = tmp_path / "masks.json", tmp_path / "s.yaml"
    masks.write_text(json.dumps({"attn1": [1, 0] * 25}))
    assert invoke("import", masks, "-o", path, "--model", "pixart-alpha").exit_code == 0
    schedule = load_schedule(path)
    assert schedule.steps == 50
    assert schedule.recompute_fraction() == pytest.approx(2.5 / 3)
    assert invoke("check", path).exit_code == 0


@pytest.mark.parametrize(
    ("name", "hint"), [("cachedit", "did you mean cache-dit?"), ("", "there are official, cache-dit, sd.cpp")]
)
def test_an_unknown_format(name: str, hint: str, tmp_path: Path) -> None:
    error = refused("export", "pixart-alpha/fora-2", "-o", tmp_path / "x", "--format", name)
    assert isinstance(error, ConfigError)
    assert hint in str(error)


@pytest.mark.parametrize("command", ["check", "show", "import", "export"])
def test_every_command_takes_addresses(command: str, tmp_path: Path) -> None:
    more = ("-o", tmp_path / "x") if command in ("import", "export") else ()
    assert "owner, name and PATH are needed" in str(refused(command, "hf://owner/name", *more))
    assert "the hash of the content is missing" in str(refused(command, "https://host/fast.yaml", *more))


def test_another_model_is_noted() -> None:
    result = invoke("check", "pixart-alpha/fora-2", "--model", "pixart-sigma")
    assert result.exit_code == 0
    assert "note: the schedule 'fora:2' was learnt on pixart-alpha" in result.stderr
    assert invoke("check", "pixart-alpha/fora-2").stderr == ""
    assert "does not fit" in str(refused("check", "pixart-alpha/fora-2", "--model", "flux-dev"))


@pytest.mark.parametrize(("model", "steps"), [("flux-dev", 20), ("flux-schnell-1024", 4)])
def test_flux(model: str, steps: int, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    assert invoke("new", "fora:2", "--model", model, "-o", path).exit_code == 0
    content = json.loads(invoke("check", path, "--json").stdout)
    assert (content["family"], content["steps"]) == ("flux", steps)
    assert content["blocks"] == {"transformer_blocks": 19, "single_transformer_blocks": 38}
    assert content["speedup_macs"] == pytest.approx(2.0, abs=0.01)
    assert "single_transformer_blocks" in invoke("show", path).stdout
    assert "no cross_attention" in str(refused("new", "tgate:2", "--model", model, "-o", tmp_path / "x.yaml"))


def test_show_draws_every_step_of_every_component() -> None:
    """20 steps and 28 blocks fit side by side on 100 columns."""
    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, ["show", "pixart-alpha/tgate-10"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    rows = [line for line in lines if "│" in line][1:]  # the first row numbers the blocks
    assert len(rows) == 20
    full, empty = "█" * 28, "·" * 28
    assert [row.split("│")[1][3:] for row in rows] == [full] * 20
    assert [row.split("│")[3][3:] for row in rows] == [full] * 10 + [empty] * 10
    assert "attn2: 50%" in result.stdout
    assert "x fewer than uncached" in result.stdout


def test_show_a_heuristic_needs_a_model() -> None:
    error = refused("show", "fora:2")
    assert isinstance(error, ConfigError)
    assert "--model" in str(error)
    result = invoke("show", "fora:2", "--model", "pixart-mini", "--steps", 5)
    assert result.exit_code == 0
    assert "60%" in result.stdout  # steps 0, 2, 4 of 5


def test_the_picture_is_the_array() -> None:
    """Steps down, blocks to the right; without colours and without Unicode it still can be read."""
    array = np.zeros((3, 13, 3), dtype=bool)
    array[1, 2, 0] = array[2, 12, 0] = True
    schedule = Schedule("pixart", {"transformer_blocks": array})
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(file=stream, width=60, color_system=None)
    console.print(schedule_panels(schedule).renderables[0])  # attn1
    console.print(StepProfile([1.0, 0.0, 0.5, 0.001, 0.0], [True, False, True, True, True]))
    console.print(Legend(schedule))
    console.print(Legend(schedule.replace(recompute={"transformer_blocks": np.zeros_like(array)})))
    stream.flush()
    lines = stream.buffer.getvalue().decode("ascii").splitlines()  # type: ignore[attr-defined]
    assert [line.strip("| ") for line in lines[1:5]] == [
        "0    5    10",
        "0 " + "#" * 13,
        "1 " + "..#" + "." * 10,
        "2 " + "." * 12 + "#",
    ]
    assert lines[-4:] == [
        "8.41-",
        *["rows are steps, columns are blocks: # recomputed  . reused"] * 2,
        "per step: - only what surrounds the blocks runs",
    ]
    assert step_fractions(schedule) == pytest.approx([1.0, 1 / 39, 1 / 39])


def test_narrow_terminals_stack_the_panels() -> None:
    stream = io.StringIO()
    Console(file=stream, width=40, color_system=None).print(schedule_panels(heuristic("fora:2", LARGE)))
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= 40
    assert len(lines) == 3 * (20 + 3)
