"""The stored digits of `sixteen.js`: how they are written and read, without the package."""

import json
import re
from pathlib import Path

from chapters import ROOT

STORED = ROOT / "book/_static/sixteen.js"
NAME = "window.nlmetaSixteen"


def shades(picture: str) -> list[int]:
    """The 64 pixels of a stored digit, row by row, from 0 to 16."""
    return [int(pixel, 17) for pixel in picture]


def text(content: dict) -> str:
    """The script that holds the data."""
    return f"{NAME} = {json.dumps(content, separators=(',', ':'))};\n"


def read(path: Path = STORED) -> dict:
    """The data of the stored script."""
    match = re.fullmatch(rf"{re.escape(NAME)} = (.*);\n", path.read_text("utf-8"))
    if not match:
        raise ValueError(f"{path.name} does not hold {NAME} alone: run book/_tools/sixteen.py")
    return json.loads(match[1])
