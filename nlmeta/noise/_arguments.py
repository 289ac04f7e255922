"""Checks on arguments that only noise has."""

import torch
from torch import Tensor

from nlmeta import _checks

__all__ = ["check_distributions", "check_generator"]


def check_generator(generator: torch.Generator) -> None:
    """Require a generator on the CPU."""
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"`generator` is {generator!r}; it must be a torch.Generator on the CPU")
    if generator.device.type != "cpu":
        raise ValueError(
            f"`generator` is on {generator.device}; it must be a CPU generator, so that one seed "
            "gives the same labels on every machine"
        )


def check_distributions(name: str, table: Tensor, *, tolerance: float = 1e-6) -> None:
    """Require a (n, C) table: entries in [0, 1], rows that sum to 1 within the tolerance."""
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(
            f"`{name}` has shape {tuple(table.shape)}; it must be (n, C) with two classes or more"
        )
    bad = (~((table >= 0) & (table <= 1))).nonzero()  # written so that NaN fails too
    if len(bad):
        k, j = bad[0].tolist()
        raise ValueError(
            f"`{name}` holds {table[k, j].item():g} at row {k}, column {j}; "
            "entries must lie in [0, 1]"
        )
    _checks.check_rows_sum_to_one(name, table, tolerance=tolerance)
