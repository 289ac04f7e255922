"""Lists of a few of many names, for notes and errors."""

from collections.abc import Sequence

__all__ = ["counted", "few", "unchecked"]


def few(names: Sequence[str]) -> str:
    """The first three names, and dots if there are more."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def counted(what: str, names: Sequence[str], *, many: str | None = None) -> str:
    """The number of things and the first three names."""
    plural = f"{what}s" if many is None else many
    return f"{len(names)} {what if len(names) == 1 else plural} ({few(names)})"


def unchecked(part: str) -> str:
    """The note on a part of which nobody knows the wrong labels."""
    return f"the {part} part has given labels, and it is unknown which are wrong"
