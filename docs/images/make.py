"""Makes the pictures of README and the guide: `python docs/images/make.py RUN`, with the run folder of

ecad search --model pixart-mini --generations 10 --out RUN
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).resolve().parent
PROMPTS = (
    "a large purple cross right of a large orange checkered circle on a gray background",
    "a large red dotted cross left of a small green striped diamond on a gray background",
    "a large purple dotted circle above a large red checkered circle on a black background",
    "a small yellow dotted circle above a large purple cross on a white background",
    "a large blue triangle left of a large green striped square on a white background",
)
# Folder of samples -> what stands beside its row
ROWS = {
    "uncached": "uncached",
    "front-2.00x": "2x fewer MACs",
    "faster": "3.3x fewer MACs",
}
SIDE, GAP, LABEL = 128, 8, 128  # pixels


def ecad(*arguments: object) -> None:
    subprocess.run(["ecad", *map(str, arguments)], check=True)


def speedups(folder: Path) -> Image.Image:
    """The same prompts and seeds in each row, as `ecad evaluate` samples them."""
    (folder / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
    schedules = [f"pixart-mini/{name}" for name in ROWS if name != "uncached"]
    options = ("--prompts", folder / "prompts.txt", "--samples", len(PROMPTS), "--out", folder / "results")
    ecad("evaluate", "--model", "pixart-mini", *schedules, *options)
    size = (LABEL + len(PROMPTS) * (SIDE + GAP), GAP + len(ROWS) * (SIDE + GAP))
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(16)
    for row, (name, label) in enumerate(ROWS.items()):
        top = GAP + row * (SIDE + GAP)
        draw.multiline_text((GAP, top + SIDE // 2), label.replace("x ", "x\n", 1), "black", font, anchor="lm")
        samples = sorted((folder / "results" / "samples").glob(f"*{name}/*.png"))
        for column, sample in enumerate(samples):
            tile = Image.open(sample).resize((SIDE, SIDE), Image.Resampling.NEAREST)
            left = LABEL + column * (SIDE + GAP)
            canvas.paste(tile, (left, top))
            draw.rectangle((left, top, left + SIDE - 1, top + SIDE - 1), outline="#d0d0d0")
    return canvas


def plots(run: Path) -> None:
    ecad("plot", run, "-o", HERE / "front.png")
    ecad("plot", "--calibration", run, "-o", HERE / "calibration.png")
    for name, share in {"front.png": 0.8, "calibration.png": 0.6}.items():
        with Image.open(HERE / name) as picture:
            size = round(picture.width * share), round(picture.height * share)
            small = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
            small = small.quantize(256, method=Image.Quantize.FASTOCTREE)  # which keeps colours that are rare
        small.save(HERE / name, optimize=True)


def main() -> None:
    run = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        speedups(Path(name)).save(HERE / "speedups.webp", lossless=True, method=6)
    plots(run)


if __name__ == "__main__":
    main()
