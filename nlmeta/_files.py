"""Files that are written whole or not at all.

The callers decide on the content of a file, and on the message if it cannot be written.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file in one go: after any interruption, `path` holds the old or the new content.

    The new content is written to a file of its own, the name followed by ``.part``, which replaces
    the old file once the disk has all of it. If an error is raised before, also by Ctrl-C or a full
    disk, the unfinished file is removed and the old one stays as it was.

    Parameters
    ----------
    path : Path
        The file. Missing folders are created.
    write : callable
        A function ``write(unfinished)`` that writes all content to the given path and closes it.

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
