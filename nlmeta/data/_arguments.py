"""Checks on arguments that only data has."""

from collections.abc import Callable, Iterable
from inspect import signature
from itertools import chain
from typing import Any

__all__ = ["check_options", "keywords"]


def keywords(*functions: Callable[..., Any]) -> list[str]:
    """The keyword-only arguments of functions, each name once."""
    parameters = chain.from_iterable(signature(f).parameters.values() for f in functions)
    return list(dict.fromkeys(p.name for p in parameters if p.kind is p.KEYWORD_ONLY))


def check_options(owner: str, options: Iterable[str], allowed: Iterable[str]) -> None:
    """Refuse options that the owner does not have."""
    known = list(allowed)
    for option in options:
        if option not in known:
            raise TypeError(
                f"`{option}` is not an option of {owner}; options are "
                + ", ".join(f"`{name}`" for name in known)
            )
