"""Prompts are encoded once: memory, disk cache, text encoders; the same bits whichever it was."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import save_tiny_model

from ecad.sampling.base import Job
from ecad.sampling.embeddings import EmbeddingCache, PromptEncoder, cache_folder, fingerprint
from ecad.sampling.generation import GenerationSettings
from ecad.sampling.loading import LoadedModel, load_model
from ecad.sampling.pipeline_files import PipelineFiles
from ecad.sampling.samplers import make_sampler

KEY = "0" * 64
PROMPTS = ["a red bicycle", "two cats"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["pixart-sigma", "flux-dev"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(request.param, tmp_path_factory.mktemp("models") / request.param)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("ECAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "embeddings"


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by the model's name whenever its text encoders are loaded."""
    seen: list[str] = []
    original = PipelineFiles.load_text_encoders

    def counted(self: PipelineFiles, *args: Any) -> Any:
        seen.append(self.source.name)
        return original(self, *args)

    monkeypatch.setattr(PipelineFiles, "load_text_encoders", counted)
    return seen


def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "embeddings": torch.randn(2, 3, 4).to(torch.bfloat16),
        "mask": torch.tensor([[1, 0], [1, 1]]),
        "negative": torch.zeros(0, 3),
    }


def encoded(model: LoadedModel, prompts: list[str] = PROMPTS, **changes: Any) -> dict[str, torch.Tensor]:
    values = {"steps": 2, "guidance_scale": 4.0, "height": 32, "width": 32, "max_sequence_length": 24}
    sampler = make_sampler(model, GenerationSettings(**{**values, **changes}))
    return dict(sampler.encode(prompts, 2))


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


# --- the cache ---


def test_what_was_stored_is_loaded(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "new" / "folder")
    assert cache.load(KEY) is None
    cache.store(KEY, tensors())
    found = cache.load(KEY)
    assert found is not None
    assert_equal(found, tensors())
    assert [path.name for path in cache.folder.iterdir()] == [f"{KEY}.safetensors"]
    assert cache.load("1" * 64) is None


@pytest.mark.parametrize("damage", ["half", "empty", "bit", "other key"])
def test_a_damaged_file_counts_as_absent_and_is_replaced(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = EmbeddingCache(tmp_path)
    cache.store(KEY, tensors())
    content = cache.path(KEY).read_bytes()
    if damage == "half":
        cache.path(KEY).write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        cache.path(KEY).write_bytes(b"")
    elif damage == "bit":  # in the last tensor's data
        cache.path(KEY).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        cache.store("1" * 64, tensors())
        cache.path("1" * 64).replace(cache.path(KEY))
    with caplog.at_level(logging.WARNING, logger="ecad"):
        assert cache.load(KEY) is None
    assert f"{KEY}.safetensors are damaged" in caplog.text
    assert "encoding the prompts again" in caplog.text
    cache.store(KEY, tensors())
    assert cache.load(KEY) is not None


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING, logger="ecad"):
        EmbeddingCache(tmp_path / "file" / "cache").store(KEY, tensors())
    assert "could not be cached" in caplog.text


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(tensors: Any, path: str, metadata: Any) -> None:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("ecad.sampling.embeddings.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        EmbeddingCache(tmp_path).store(KEY, tensors())
    assert list(tmp_path.iterdir()) == []


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache" / "embeddings"
    monkeypatch.delenv("ECAD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "ecad" / "embeddings"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "ecad" / "embeddings"


# --- the fingerprint ---


def test_the_fingerprint_is_of_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "text_encoder").mkdir(parents=True)
    weights = tmp_path / "a" / "text_encoder" / "model.safetensors"
    weights.write_bytes(bytes(range(256)) * 1024)
    first = fingerprint(tmp_path / "a", ["text_encoder"])
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    os.utime(weights, (0, 0))
    assert fingerprint(tmp_path / "a", ["text_encoder"]) == first
    assert fingerprint(tmp_path / "b", ["text_encoder"]) == first
    changed = tmp_path / "b" / "text_encoder" / "model.safetensors"
    for position in (0, 131_072, 262_143):
        content = bytearray(weights.read_bytes())
        content[position] ^= 1
        changed.write_bytes(content)
        assert fingerprint(tmp_path / "b", ["text_encoder"]) != first, position
    # Of a file too large to be read whole, the beginning (safetensors: the header) and the end are always read.
    monkeypatch.setattr("ecad.sampling.embeddings._WHOLE_BYTES", 1024)
    monkeypatch.setattr("ecad.sampling.embeddings._BLOCK_BYTES", 128)
    sampled = fingerprint(tmp_path / "a", ["text_encoder"])
    for position in (0, 262_143):
        content = bytearray(weights.read_bytes())
        content[position] ^= 1
        changed.write_bytes(content)
        assert fingerprint(tmp_path / "b", ["text_encoder"]) != sampled, position
    changed.write_bytes(weights.read_bytes() + b"x")
    assert fingerprint(tmp_path / "b", ["text_encoder"]) != sampled


# --- with models ---


def test_cached_and_fresh_are_the_same_bits(folder: Path, cache: Path, loads: list[str]) -> None:
    fresh = encoded(load_model(str(folder), "cpu", embedding_cache=False))
    assert not cache.exists()
    first = encoded(load_model(str(folder), "cpu"))
    assert len(list(cache.iterdir())) == 1
    assert len(loads) == 2
    cached = encoded(load_model(str(folder), "cpu"))
    assert len(loads) == 2  # the text encoders were not even loaded
    assert_equal(first, fresh)
    assert_equal(cached, fresh)


def test_every_setting_that_counts_has_an_entry_of_its_own(
    folder: Path, cache: Path, loads: list[str]
) -> None:
    model = load_model(str(folder), "cpu")
    encoded(model)
    encoded(model)
    assert len(list(cache.iterdir())) == 1
    encoded(model, max_sequence_length=25)
    encoded(model, ["a red bicycle"])
    encoded(model, ["two cats", "a red bicycle"])
    encoded(load_model(str(folder), "cpu", "bfloat16"))
    assert len(list(cache.iterdir())) == 5
    encoded(model, steps=3, guidance_scale=2.0, height=48)  # none of these changes the text
    assert len(list(cache.iterdir())) == 5
    assert loads == [folder.name] * 2  # by the first and by the bfloat16 model


def test_other_weights_of_the_same_size_are_another_model(
    folder: Path, cache: Path, loads: list[str], tmp_path: Path
) -> None:
    one = encoded(load_model(str(folder), "cpu"))
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    assert_equal(encoded(load_model(str(moved), "cpu")), one)
    assert len(loads) == 1  # the same files elsewhere are the same model
    encoder = sorted(moved.glob("text_encoder*"))[-1]
    weights = encoder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-4:] = np.float32(7.0).tobytes()
    weights.write_bytes(content)
    encoded(load_model(str(moved), "cpu"))
    assert len(loads) == 2


def test_a_corrupt_entry_is_encoded_again(
    folder: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = encoded(load_model(str(folder), "cpu"))
    (entry,) = cache.iterdir()
    entry.write_bytes(entry.read_bytes()[:1000])
    with caplog.at_level(logging.WARNING, logger="ecad"):
        assert_equal(encoded(load_model(str(folder), "cpu")), one)
    assert "damaged" in caplog.text
    caplog.clear()
    assert_equal(encoded(load_model(str(folder), "cpu")), one)
    assert caplog.text == ""


def test_freed_text_encoders(folder: Path, loads: list[str]) -> None:
    """Known prompts need none; images come out as before; new prompts load them again."""
    model = load_model(str(folder), "cpu", embedding_cache=False)
    names = [name for name in model.pipe.components if name.startswith("text_encoder")]
    assert all(getattr(model.pipe, name) is None for name in names)
    settings = GenerationSettings(2, 4.0, 32, 32, 24)
    sampler = make_sampler(model, settings)
    images = sampler.sample(sampler.encode(PROMPTS, 2), [Job(0, 1), Job(1, 2)])
    assert all(getattr(model.pipe, name) is not None for name in names)
    model.free_text_encoders()
    assert all(getattr(model.pipe, name) is None for name in names)
    again = sampler.sample(sampler.encode(PROMPTS, 2), [Job(0, 1), Job(1, 2)])
    assert np.array_equal(again, images)
    assert len(loads) == 1
    other = sampler.with_steps(3).encode(["a harbour"], 2)
    assert len(loads) == 2
    assert len(other["embeddings"]) == 1


def test_the_minis_keep_their_text_encoders_and_use_no_disk(cache: Path, loads: list[str]) -> None:
    model = load_model("pixart-mini", "cpu")
    encoded(model)
    model.free_text_encoders()
    assert model.pipe.text_encoder is not None
    assert not cache.exists()
    assert loads == []


def test_an_encoder_without_an_identity_stays_in_memory(tmp_path: Path) -> None:
    encoder = PromptEncoder(object(), cache=EmbeddingCache(tmp_path))
    calls: list[int] = []

    def compute() -> dict[str, torch.Tensor]:
        calls.append(1)
        return tensors()

    for _ in range(2):
        assert_equal(encoder.encode({"prompts": ["x"]}, compute, CPU), tensors())
    assert calls == [1]
    assert list(tmp_path.iterdir()) == []
