"""Kernels that talk through files and not through ports, for two that start at the same time.

Each of two workers asks for free ports, lets them go and starts its kernel. Where both get the same
one, a kernel never comes up, and the worker waits for it without an end. Windows has ports only.
"""

import sys
from tempfile import TemporaryDirectory
from typing import Any

from jupyter_client.manager import AsyncKernelManager, KernelManager


def through_files(options: dict[str, Any]) -> TemporaryDirectory | None:
    """Add to a manager's options what makes it use files; return the folder that they lie in.

    The folder is deleted with the object, so the manager has to keep it.
    """
    if sys.platform == "win32":
        return None
    folder = TemporaryDirectory(prefix="kernel-")
    options |= {"transport": "ipc", "ip": f"{folder.name}/socket"}
    return folder


def manager(**options: Any) -> KernelManager:
    """A manager for programs that wait for each message, as nbval does."""
    folder = through_files(options)
    made = KernelManager(**options)
    made.folder = folder
    return made


class Manager(AsyncKernelManager):
    """A manager for nbclient."""

    def __init__(self, **options: Any) -> None:
        folder = through_files(options)
        super().__init__(**options)
        self.folder = folder
