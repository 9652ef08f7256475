"""Writes schedules resampled to other numbers of steps: `python resampled.py FOLDER STEPS NAME...`."""

from __future__ import annotations

import sys
from pathlib import Path

import ecad
from ecad.schedule import save_schedule

if __name__ == "__main__":
    folder, steps = Path(sys.argv[1]), int(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[3:]:
        schedule = ecad.load_schedule(name).resample(steps)
        save_schedule(schedule, folder / f"{Path(name).stem}-{steps}.yaml")
