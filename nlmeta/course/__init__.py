"""Assignments for a course: release them, let students check themselves, grade a folder.

``python -m nlmeta course release | check | grade`` are the commands; the page "Teaching with this
book" says how they are used. An assignment is a notebook with nbgrader's cell metadata, so a course
that has nbgrader can use the same files. Notebooks need the extra: ``pip install nlmeta[course]``.

Hidden tests draw their cases from a secret, by `secret_seed`, and name an earlier part that is at
fault, by `After`. Nothing here imports PyTorch: that is
done in the processes in which submissions run.
"""

from nlmeta.course.after import After
from nlmeta.course.secret import SECRET, secret_seed

__all__ = ["SECRET", "After", "secret_seed"]
