"""The secret from which hidden tests draw their cases."""

import hashlib
import os

__all__ = ["PUBLIC", "SECRET", "secret_seed"]

# The environment variable that holds the secret at grading time.
SECRET = "NLMETA_COURSE_SECRET"
# What stands in for it elsewhere, so that a source also runs in nbgrader or by hand.
PUBLIC = "public"


def secret_seed(question: str) -> int:
    """A seed that a student cannot know before the submissions are graded.

    Parameters
    ----------
    question : str
        A name that is different for each place that draws, such as the test's ``grade_id``.

    Returns
    -------
    int
        A number from 0 to 2**31 - 1, the same for the same secret and question.

    Examples
    --------
    >>> from nlmeta.course import secret_seed
    >>> secret_seed("audit") == secret_seed("audit") != secret_seed("diagnose")
    True
    """
    secret = os.environ.get(SECRET, PUBLIC)
    digest = hashlib.sha256(f"{secret}/{question}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 2**31
