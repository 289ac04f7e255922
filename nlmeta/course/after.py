"""For tests of an assignment that call an earlier answer: say so where that answer is the fault."""

from collections.abc import Callable, Mapping
from types import TracebackType

__all__ = ["After"]


class After:
    """Name the earlier part that is at fault, where a test fails.

    A test within the ``with`` block fails with its own message, unless one of the earlier answers
    that it calls is wrong too. No points depend on it: what passes is not looked at again.

    Parameters
    ----------
    parts : mapping of str to callable
        A function for each earlier part, by the part's name. It returns whether that part is right;
        one that raises an error is not.

    Raises
    ------
    AssertionError
        An earlier part is wrong. This takes the place of the test's own error and ends in it.

    Examples
    --------
    >>> with After({"part 1 (twice)": lambda: False}):  # doctest: +ELLIPSIS
    ...     assert 2 + 2 == 5, "the sum"
    Traceback (most recent call last):
    AssertionError: part 1 (twice) fails, ... (Here: the sum)
    """

    def __init__(self, parts: Mapping[str, Callable[[], object]]) -> None:
        self.parts = parts

    def __enter__(self) -> "After":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not isinstance(error, Exception):
            return
        for name, is_right in self.parts.items():
            try:
                right = bool(is_right())
            except Exception:
                right = False
            if not right:
                here = str(error) or type(error).__name__
                raise AssertionError(
                    f"{name} fails, so this part cannot be judged; mend that one first. "
                    f"(Here: {here})"
                ) from error
