"""Progress bars: whether one is wanted, and that of `nlmeta.fit`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from nlmeta import distributed
from nlmeta._progress import progress_wanted

__all__ = ["epoch_bar", "progress_wanted"]


@contextmanager
def epoch_bar(epochs: int, done: int, title: str, progress: bool | None) -> Iterator[Any]:
    """A bar over the epochs of a run, in process 0 alone, of which some may be done already."""
    with tqdm(
        total=epochs,
        initial=done,
        desc=title,
        unit="epoch",
        leave=False,
        disable=distributed.rank() > 0 or not progress_wanted(progress),
    ) as bar:
        yield bar
