"""Where a task is worked on: versions, commit, machine, and how much memory was taken."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

__all__ = ["environment", "forget_peak", "peak_memory", "threads_of"]


def environment(device: str | torch.device = "cpu", *, processes: int = 1) -> dict[str, Any]:
    """What a number may depend on beside its plan: code, versions, machine.

    Parameters
    ----------
    device : str or torch.device
        The device that it was computed on. Default ``"cpu"``.
    processes : int
        Number of tasks that were worked on at the same time. Default 1.

    Returns
    -------
    dict
        ``nlmeta``, ``commit`` (of the clone that the package lies in, with a ``+`` where files
        differ from it; None outside of one), ``torch``, ``numpy``, ``python``, ``machine``
        (processor and how many there are), ``device``, ``gpu`` (name or None), ``threads``,
        ``processes``.
    """
    device = torch.device(device)
    return {
        **_versions(),
        "machine": _processor(),
        "device": device.type,
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "processes": processes,
    }


RECORDS = ":(exclude,glob)**/records/*.jsonl"  # in Git's words: all but these


@cache
def _versions() -> dict[str, Any]:
    try:
        own = version("nlmeta")
    except PackageNotFoundError:  # a folder on the path, without an installation
        own = None
    return {
        "nlmeta": own,
        "commit": _commit(Path(__file__).resolve().parents[2]),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "python": platform.python_version(),
    }


def _commit(folder: Path) -> str | None:
    """The commit of a clone, with a ``+`` where files differ; records, which grow, do not count."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
        ).stdout.strip()

    if not (folder / ".git").exists():
        return None
    try:
        changed = git("status", "--porcelain", "-uno", "--", ".", RECORDS)
        return git("rev-parse", "--short=12", "HEAD") + "+" * bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return None


@cache
def _processor() -> str:
    """The processor's name where the system tells it, and how many there are."""
    info = Path("/proc/cpuinfo")  # Linux
    names = re.findall(r"^model name\s*: *(.+)", info.read_text(), re.M) if info.exists() else []
    name = names[0].strip() if names else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} processors"


@contextmanager
def threads_of(number: int | None) -> Iterator[None]:
    """Some threads of the CPU for the while, or as many as before if the number is None."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if number is None else number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def forget_peak(device: str | torch.device) -> None:
    """Let `peak_memory` count anew, where that is possible: on CUDA."""
    if torch.device(device).type == "cuda":
        torch.cuda.init()  # there is nothing to reset before, which PyTorch takes for an error
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: str | torch.device = "cpu") -> int | None:
    """The most bytes that this process has held on a device, on CUDA since `forget_peak`.

    Parameters
    ----------
    device : str or torch.device
        The device. Default ``"cpu"``.

    Returns
    -------
    int or None
        The most that PyTorch has allocated, on CUDA; else the largest resident memory of the
        process, None where the system (Windows) does not tell it.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource  # there is none on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # Linux counts in KiB
