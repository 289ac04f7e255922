"""Progress bars: whether to show them, and the bar of `nlmeta.fit`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from nlmeta import distributed
from nlmeta._progress import progress_wanted

__all__ = ["epoch_bar", "progress_wanted"]


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
