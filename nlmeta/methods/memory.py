"""A row of numbers for each training sample, for methods that learn something per sample."""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["LabelMemory"]


class LabelMemory(nn.Module):
    """A row of label logits for each training sample, addressed by sample id.

    Parameters
    ----------
    logits : Tensor, shape (N, C)
        The rows at the start.
    device : str, optional
        Where the rows stay whatever the method does. Default: they move with it.
    """

    logits: Tensor

    def __init__(self, logits: Tensor, *, device: str | None = None) -> None:
        super().__init__()
        self.stays = device is not None
        self.register_buffer("logits", logits if device is None else logits.to(device))

    def _apply(self, fn: Any, recurse: bool = True) -> "LabelMemory":
        # What `.to`, `.cuda` and `.double` go through.
        return self if self.stays else super()._apply(fn, recurse)

    def read(self, ids: Tensor | None, *, like: Tensor) -> Tensor:
        """Rows of the samples with these ids, (n, C), in device and floating type of `like`."""
        rows = self.logits[self._checked(ids)]
        kind = torch.promote_types(like.dtype, self.logits.dtype)
        return rows.to(like.device, kind)

    def write(self, ids: Tensor | None, rows: Tensor) -> None:
        """Put rows back; all other rows stay as they are."""
        self.logits[self._checked(ids)] = rows.detach().to(self.logits)

    def _checked(self, ids: Tensor | None) -> Tensor:
        if ids is None:
            raise ValueError(
                "`train.ids` is missing; a label is kept for each sample, so a batch must say "
                "which samples it holds: Batch(x, y, ids), ids counting rows of the training part"
            )
        ids = ids.to(self.logits.device)
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= len(self.logits):
            raise ValueError(
                f"`train.ids` holds {low if low < 0 else high}; "
                f"the memory has rows 0 to {len(self.logits) - 1}"
            )
        if len(ids.unique()) < len(ids):
            raise ValueError("`train.ids` repeats a sample; a batch may hold each sample once")
        return ids
