"""Where a submission runs: apart from the network, from other work and from the marks.

On Linux a submission gets namespaces of its own for network, processes and files, by the commands
``unshare`` and ``setpriv`` of util-linux. As root it also gets a user of its own. `unable` tells
why this is not possible on a machine, for example inside most containers.
"""

import json
import os
import shutil
import site
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Confinement", "Limits", "unable"]

# The first user number of submissions; no system hands out numbers of this size.
FIRST_USER = 1_879_000_000
INSIDE = Path(__file__).with_name("_inside.py")


@dataclass(frozen=True)
class Limits:
    """What one submission may take.

    Attributes
    ----------
    cell_seconds : float
        The processor time of one cell, in seconds. Default 60. A cell that waits is ended after
        five times as many seconds on the clock.
    seconds : float
        The processor time of all cells, in seconds. Default 300.
    memory : int
        Bytes of memory of each process. Default 4 GiB.
    output : int
        Bytes that all cells may print. Default one million.
    processes : int
        Processes and threads at the same time, where the submission is confined. Default 64.
    file : int
        Bytes of each file that is written. Default 64 MiB; all together have at most four times as
        many, where the submission is confined.
    """

    cell_seconds: float = 60
    seconds: float = 300
    memory: int = 4 * 2**30
    output: int = 1_000_000
    processes: int = 64
    file: int = 64 * 2**20

    def of_system(self, confined: bool) -> dict[str, int]:
        """The limits that the operating system holds, by their names in `resource`."""
        found = {
            "RLIMIT_DATA": self.memory,
            "RLIMIT_FSIZE": self.file,
            "RLIMIT_CPU": int(4 * self.seconds),
            "RLIMIT_CORE": 0,
        }
        # Elsewhere it would count every process of the person who grades.
        return found | ({"RLIMIT_NPROC": self.processes} if confined else {})


@dataclass(frozen=True)
class Confinement:
    """How the processes of submissions are started.

    Attributes
    ----------
    hidden : sequence of Path
        Folders that a submission sees empty, beside the home folder and that of temporary files.
    confined : bool
        Whether a submission is set apart from the system. If False, only the limits hold.
    limits : Limits
        The limits.
    """

    hidden: Sequence[Path]
    confined: bool
    limits: Limits = Limits()

    def start(
        self, command: Sequence[str], scratch: Path, slot: int = 0
    ) -> "subprocess.Popen[bytes]":
        """Start a command with pipes, in an empty folder.

        Parameters
        ----------
        command : sequence of str
            The command.
        scratch : Path
            The folder, which is also its home. A confined command finds a file system of its own
            there, which is gone with it.
        slot : int
            The number of the place that it takes among those that run at the same time; commands in
            different places get different users.
        """
        whole = self._wrapped(command, scratch, slot) if self.confined else list(command)
        environment = _environment(scratch)
        return subprocess.Popen(
            whole,
            cwd=scratch,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=os.name == "posix",
        )

    def _wrapped(self, command: Sequence[str], scratch: Path, slot: int) -> list[str]:
        root = os.geteuid() == 0
        kept: list[str | Path] = [sys.prefix, sys.base_prefix, *_packages()]
        kept.append(Path(__file__).parents[1])
        plan = {
            "hidden": _folders([Path.home(), tempfile.gettempdir(), *self.hidden]),
            "kept": _folders(kept),
            "scratch": str(scratch),
            "size": 4 * self.limits.file,
            "user": FIRST_USER + slot if root else None,
            "command": list(command),
        }
        apart = ["unshare", "--net", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
        apart += [] if root else ["--user", "--map-root-user"]
        inside = [sys.executable, "-I", "-S", str(INSIDE), json.dumps(plan)]
        return ["setpriv", "--pdeathsig", "KILL", *apart, *inside]


def unable(confinement: Confinement) -> str | None:
    """Why submissions cannot be confined here; None if they can.

    Parameters
    ----------
    confinement : Confinement
        The confinement that grading will use. A command that does nothing is started in it.
    """
    if sys.platform != "linux":
        return f"this is {sys.platform}, and only Linux is known to do it"
    missing = [name for name in ("unshare", "setpriv") if shutil.which(name) is None]
    if missing:
        return f"the command {' and '.join(missing)} is missing (package util-linux)"
    with tempfile.TemporaryDirectory(prefix="nlmeta-") as scratch:
        started = confinement.start([sys.executable, "-c", "import nlmeta"], Path(scratch))
        said = started.communicate()[1].decode(errors="replace").strip()
    return None if started.returncode == 0 else said.splitlines()[-1] if said else "it failed"


def _environment(scratch: Path) -> dict[str, str]:
    """The environment of a submission; nothing of the grader's own is in it, such as the secret."""
    kept = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "OMP_NUM_THREADS")
    found = {name: os.environ[name] for name in kept if name in os.environ}
    here = str(Path(__file__).parents[2])
    fixed = {"PYTHONPATH": here, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
    fixed |= {"HOME": str(scratch), "TMPDIR": str(scratch), "USER": "student", "LANG": "C.UTF-8"}
    # One thread: sums in one order give the same digits, and submissions do not slow each other.
    fixed |= {"MPLBACKEND": "agg", "NLMETA_PROGRESS": "0", "IPYTHONDIR": str(scratch)}
    return {"OMP_NUM_THREADS": "1", **found, **fixed}


def _packages() -> list[str]:
    found = list(site.getsitepackages())
    with suppress(AttributeError):  # a virtual environment may have none for its user
        found.append(site.getusersitepackages())
    return found


def _folders(paths: Sequence[str | Path]) -> list[str]:
    there = {str(Path(path).resolve()) for path in paths if Path(path).is_dir()}
    return sorted(there - {"/"})
