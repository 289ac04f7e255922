"""For nbval: kernels that talk through files and not through ports.

Each of two workers asks for free ports, lets them go and starts its kernel. Where both get the same
one, a kernel never comes up, and nbval waits for it without an end. Windows has ports only.
"""

import sys
from tempfile import TemporaryDirectory
from typing import Any

from jupyter_client.manager import KernelManager
from nbval import kernel


def ipc_manager(**options: Any) -> KernelManager:
    """A manager whose kernel has a folder of its own for the files to talk through."""
    folder = TemporaryDirectory(prefix="kernel-")
    manager = KernelManager(transport="ipc", ip=f"{folder.name}/socket", **options)
    manager.folder = folder  # which goes with it
    return manager


if sys.platform != "win32":
    kernel.KernelManager = ipc_manager
