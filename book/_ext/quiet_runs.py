"""Sphinx extension: chapters run as `make book` runs them, also where there is no `make`.

Their kernels inherit these variables, unless the reader has set them otherwise.
"""

import os

# Sums in one order give the same digits everywhere; progress bars are for people who wait.
DEFAULTS = {"OMP_NUM_THREADS": "1", "NLMETA_PROGRESS": "0"}


def setup(app):
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
