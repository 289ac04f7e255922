"""Kernels that talk through files and not through ports, for two that start at the same time.

Each of two workers asks for free ports, lets them go and starts its kernel. Where both get the same
one, a kernel never comes up, and the worker waits for it without an end. Windows has ports only.
"""

import shutil
import sys
import tempfile
import weakref
from typing import Any

from jupyter_client.manager import AsyncKernelManager, KernelManager

# As the Makefile has them, for systems without `make`: the same digits, and no progress bars.
DEFAULTS = {"OMP_NUM_THREADS": "1", "NLMETA_PROGRESS": "0"}


def through_files(options: dict[str, Any]) -> str | None:
    """Add to a manager's options what makes it use files; return the folder that they lie in."""
    if sys.platform == "win32":
        return None
    folder = tempfile.mkdtemp(prefix="kernel-")
    options |= {"transport": "ipc", "ip": f"{folder}/socket"}
    return folder


def remove_with(made: KernelManager, folder: str | None) -> None:
    """Delete the folder when the manager goes."""
    if folder is not None:
        weakref.finalize(made, shutil.rmtree, folder, ignore_errors=True)


def manager(**options: Any) -> KernelManager:
    """A manager for programs that wait for each message, as nbval does."""
    folder = through_files(options)
    made = KernelManager(**options)
    remove_with(made, folder)
    return made


class Manager(AsyncKernelManager):
    """A manager for nbclient."""

    def __init__(self, **options: Any) -> None:
        folder = through_files(options)
        super().__init__(**options)
        remove_with(self, folder)
