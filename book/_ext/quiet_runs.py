"""Sphinx extension: chapters run as `make book` runs them, also where there is no `make`.

Their kernels inherit these variables, unless the reader has set them otherwise.
"""

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "_tools"))

from kernels import DEFAULTS


def setup(app):
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
