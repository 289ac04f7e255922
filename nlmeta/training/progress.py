"""Progress bars: whether to show them, and the bar of `nlmeta.fit`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from nlmeta import distributed

__all__ = ["epoch_bar", "progress_wanted"]


def progress_wanted(progress: bool | None = None) -> bool:
    """Whether progress bars are shown.

    Parameters
    ----------
    progress : bool, optional
        The value to return. Default: True, unless the environment variable ``NLMETA_PROGRESS`` is
        0.

    Returns
    -------
    bool
        Whether to show progress bars.
    """
    return os.environ.get("NLMETA_PROGRESS", "1") != "0" if progress is None else progress


@contextmanager
def epoch_bar(epochs: int, done: int, title: str, progress: bool | None) -> Iterator[Any]:
    """A bar over the epochs of a run, some of which may be done already; only in process 0."""
    with tqdm(
        total=epochs,
        initial=done,
        desc=title,
        unit="epoch",
        leave=False,
        disable=distributed.rank() > 0 or not progress_wanted(progress),
    ) as bar:
        yield bar
