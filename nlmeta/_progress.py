"""Whether long work shows how far it is."""

import os

__all__ = ["progress_wanted"]


def progress_wanted(progress: bool | None = None) -> bool:
    """Whether progress bars are shown.

    Parameters
    ----------
    progress : bool, optional
        The answer, if there is one already. Default: True, unless the environment variable
        ``NLMETA_PROGRESS`` is 0.

    Returns
    -------
    bool
    """
    return os.environ.get("NLMETA_PROGRESS", "1") != "0" if progress is None else progress
