"""Files that are written whole or not at all.

Left to others: what stands in a file, and what is said when it could not be written.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file in one go: whatever breaks it off, the file at `path` is the old or the new one.

    The new content goes into a file of its own, the name followed by ``.part``. It takes the place
    of the old one when the disk has all of it. If anything is raised on the way, Ctrl-C and a full
    disk included, the unfinished file is removed and the old one stays as it was.

    Parameters
    ----------
    path : Path
        The file. Folders on the way to it are made.
    write : callable
        ``write(unfinished)`` writes all of the content to the path that it is given, and closes it.

    Raises
    ------
    OSError
        The file cannot be written, for example because the disk is full.
    """
    unfinished = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write(unfinished)
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())  # else a power cut after the replacement could leave it empty
        unfinished.replace(path)
    except BaseException:
        with suppress(OSError):  # what went wrong first is what is told
            unfinished.unlink(missing_ok=True)
        raise
