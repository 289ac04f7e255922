"""Whether long computations show a progress bar."""

import os

__all__ = ["progress_wanted"]


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
