"""Stage 5: put the trained parts together as a `PixArtAlphaPipeline` folder; `save_bundle` serves flux-mini too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from data import SPECIAL_TOKENS, WORD_TO_ID
from diffusers import AutoencoderKL, DiffusionPipeline, PixArtAlphaPipeline
from networks import build_scheduler, build_transformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5EncoderModel


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word, and T5's end token behind."""
    pad, end, unknown = SPECIAL_TOKENS
    tokenizer = Tokenizer(models.WordLevel(dict(WORD_TO_ID), unk_token=unknown))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, WORD_TO_ID[end])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        eos_token=end,
        unk_token=unknown,
        model_max_length=120,
        padding_side="right",
        model_input_names=["input_ids", "attention_mask"],
    )


def write_bundle(work: Path, folder: Path) -> None:
    """Write pixart-mini with the averaged transformer weights of ``work/transformer.pt``."""
    state = torch.load(work / "transformer.pt")
    transformer = build_transformer()
    weights = transformer.state_dict()
    weights.update(state["average"])
    transformer.load_state_dict(weights)
    refined = work / "vae-refined"
    pipeline = PixArtAlphaPipeline(
        tokenizer=build_tokenizer(),
        text_encoder=T5EncoderModel.from_pretrained(work / "text_encoder"),
        vae=AutoencoderKL.from_pretrained(refined if refined.exists() else work / "vae"),
        transformer=transformer,
        scheduler=build_scheduler(),
    )
    save_bundle(pipeline, folder)
    print(f"{state['samples']} samples seen")


def save_bundle(pipeline: DiffusionPipeline, folder: Path) -> None:
    """Write ``folder`` anew, but for its model card.

    The transformer is stored in float16, which halves its file; it is loaded as float32 unless asked otherwise.
    """
    pipeline.transformer.half()
    card = folder / "README.md"
    kept = card.read_text() if card.exists() else None
    if folder.exists():
        shutil.rmtree(folder)
    pipeline.save_pretrained(folder, safe_serialization=True)
    _make_portable(folder)
    if kept is not None:
        card.write_text(kept)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 1e6:.1f} MB")


def _make_portable(folder: Path) -> None:
    """Name the tokenizer class as transformers 4 and 5 both know it, forget where weights lay, let all read."""
    index = json.loads((folder / "model_index.json").read_text())
    for part, entry in index.items():
        if part.startswith("tokenizer") and entry[1] != "CLIPTokenizer":
            index[part] = ["transformers", "PreTrainedTokenizerFast"]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    for path in sorted(folder.rglob("*config.json")):
        config = json.loads(path.read_text())
        for key in ("_name_or_path", "is_local", "local_files_only"):
            config.pop(key, None)
        if config.get("tokenizer_class", "CLIPTokenizer") != "CLIPTokenizer":
            config["tokenizer_class"] = "PreTrainedTokenizerFast"
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
