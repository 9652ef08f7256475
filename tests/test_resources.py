"""The files that ship with ecad are found, and only those, from a checkout and from an installed wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecad import resources
from ecad.errors import ConfigError

CHECKOUT = Path(__file__).resolve().parent.parent


def files_below(folder: Path, suffix: str) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob(f"*{suffix}")}


@pytest.mark.parametrize(
    ("find_folder", "source", "suffix"),
    [
        (resources.schedules_dir, "schedules", ".yaml"),
        (resources.calibration_prompts_dir, "calibration_prompts", ".txt"),
        (resources.minis_dir, "ecad/families/minis", ".json"),
        (resources.minis_dir, "ecad/families/minis", ".safetensors"),
    ],
)
def test_the_package_under_test_has_every_file_of_the_checkout(find_folder, source: str, suffix: str):
    """In an installed wheel this fails for a file that setup.cfg leaves out, and for a stale build."""
    here = files_below(CHECKOUT / source, suffix)
    assert here
    assert files_below(find_folder(), suffix) == here


def test_every_listed_name_is_found():
    assert resources.list_prompts()
    for name in resources.list_prompts():
        assert resources.find_prompts(name) is not None
    assert resources.list_schedules()
    for name in resources.list_schedules():
        path = resources.find_schedule(name)
        assert path == resources.schedules_dir() / f"{name}.yaml"
        assert resources.find_schedule(f"{name}.yaml") == path


def test_prompts_are_found_by_name():
    assert (
        resources.find_prompts("scenes-search") == resources.calibration_prompts_dir() / "scenes-search.txt"
    )


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder laid out as a wheel installs it, beside a secret."""
    package = tmp_path / "site-packages" / "ecad"
    schedules = package / "_data" / "schedules" / "some-model"
    schedules.mkdir(parents=True)
    (schedules / "fast.yaml").write_text("steps: 1\n")
    (schedules / "v1.5.yaml").write_text("steps: 1\n")
    (package / "_data" / "secret.yaml").write_text("secret\n")
    (schedules / "link.yaml").symlink_to(package / "_data" / "secret.yaml")
    monkeypatch.setattr(resources, "_PACKAGE", package)
    return package


def test_the_installed_layout(installed: Path):
    folder = installed / "_data" / "schedules"
    assert resources.schedules_dir() == folder
    assert resources.find_schedule("some-model/fast") == folder / "some-model" / "fast.yaml"
    assert resources.find_schedule("some-model/v1.5") == folder / "some-model" / "v1.5.yaml"
    assert resources.list_schedules() == ["some-model/fast", "some-model/link", "some-model/v1.5"]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "/",
        "some-model",
        "some-model/slow",
        "some-model/link",  # leads out of the folder
        "../secret",
        "some-model/../../secret",
        "some-model/../some-model/fast",
        "/etc/passwd",
        "//etc/passwd",
        "..\\secret",
        "C:secret",
        "some-model/fast\0",
        "long/" * 2000 + "name",
        "x" * 300,
    ],
)
def test_names_that_find_nothing(installed: Path, name: str):
    assert resources.find_schedule(name) is None


def test_an_absolute_name_finds_nothing(installed: Path):
    assert resources.find_schedule(str(installed / "_data" / "secret")) is None
    assert resources.find_schedule(str(resources.schedules_dir() / "some-model" / "fast")) is None


def test_the_checkout_layout(installed: Path, monkeypatch: pytest.MonkeyPatch):
    checkout = installed.parent.parent / "checkout"
    (checkout / "ecad").mkdir(parents=True)
    (checkout / "schedules").mkdir()
    monkeypatch.setattr(resources, "_PACKAGE", checkout / "ecad")
    with pytest.raises(ConfigError, match="schedules are missing"):  # any folder could be called "schedules"
        resources.schedules_dir()
    (checkout / "setup.cfg").touch()
    assert resources.schedules_dir() == checkout / "schedules"


def test_missing_files_are_named(installed: Path):
    with pytest.raises(ConfigError, match=r"calibration_prompts are missing.*_data.*reinstall"):
        resources.list_prompts()
    with pytest.raises(ConfigError, match=r"minis does not exist"):
        resources.minis_dir()
