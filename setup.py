"""The one thing that setup.cfg cannot say: the packages are those found in ecad/ plus two folders of data.

`schedules/` and `calibration_prompts/` are in the wheel as `ecad/_data/schedules` and
`ecad/_data/calibration_prompts`; `package_dir` in setup.cfg says where they come from. They hold no Python,
so `find_packages` does not see them.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["ecad", "ecad.*"]),
        "ecad._data.schedules",
        "ecad._data.calibration_prompts",
    ]
)
