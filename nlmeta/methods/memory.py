"""A row of numbers for each training sample, for methods that learn something per sample."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nlmeta._torch import HookedModule, assert_on_device
from nlmeta.distributed import rank, sum_over_processes, world_size

__all__ = ["LabelMemory", "given_memory", "rows_on_disk"]


def rows_on_disk(file: str | os.PathLike[str], num_samples: int, num_classes: int) -> Tensor:
    """Zeros for a memory that does not fit into RAM: a tensor whose numbers lie in a file.

    Parameters
    ----------
    file : path
        The file, which is created or overwritten; it takes 4 N C bytes.
    num_samples, num_classes : int
        N and C.

    Returns
    -------
    Tensor of float32, shape (N, C)
        A tensor on the CPU. Numbers written to it are written to the file.
    """
    path = Path(file)
    if not path.parent.is_dir():
        raise ValueError(
            f"`memory_file` is {str(file)!r}; there is no folder {str(path.parent)!r}, create it"
        )
    if world_size() > 1:
        raise ValueError(
            "`memory_file` is given, and there are several processes; each needs rows of its own, "
            "so leave `memory_file` out"
        )
    path.unlink(missing_ok=True)  # whoever still maps an old file keeps it
    size = num_samples * num_classes
    return torch.from_file(str(path), shared=True, size=size, dtype=torch.float32).view(
        num_samples, num_classes
    )


class LabelMemory(HookedModule):
    """A row of label logits for each training sample, addressed by sample id.

    With W processes, process r keeps the rows with ``id % W == r``. All processes must then call
    `read`, `write`, `all_rows` and `state_dict` together; the state holds all rows.

    If ids lie on a GPU, their range is checked by an assertion there, which ends the process, and
    repeated ids are not found.

    Parameters
    ----------
    logits : Tensor, shape (N, C)
        All rows at the start.
    device : str, optional
        The device on which the rows stay if the method moves. Default: they move with it. Rows from
        `rows_on_disk` need ``"cpu"``.

    Attributes
    ----------
    logits : Tensor, shape (N, C)
        The rows that this process keeps; a single process keeps all.
    """

    logits: Tensor

    def __init__(self, logits: Tensor, *, device: str | None = None) -> None:
        super().__init__()
        self.stays = device is not None
        self.num_samples = len(logits)
        self.processes = world_size()
        self.sharded = self.processes > 1  # so that `distributed.broadcast` leaves it alone
        own = logits[self._own].clone() if self.sharded else logits
        self.register_buffer("logits", own if device is None else own.to(device))

    def read(self, ids: Tensor | None, *, like: Tensor) -> Tensor:
        """Rows of the samples with these ids, (n, C), on the device and in the type of `like`."""
        ids = self._checked(ids)
        kind = torch.promote_types(like.dtype, self.logits.dtype)
        if not self.sharded:
            return self.logits[ids].to(like.device, kind)
        rows = self.logits.new_zeros(len(ids), self.logits.shape[1])
        here = ids % self.processes == rank()
        rows[here] = self.logits[ids[here] // self.processes]
        (rows,) = sum_over_processes([rows.to(like.device, kind)])  # of which one is not zero
        return rows

    def write(self, ids: Tensor | None, rows: Tensor) -> None:
        """Store rows of the samples with these ids; all other rows stay as they are."""
        ids, rows = self._checked(ids), rows.detach().to(self.logits)
        if self.sharded:
            here = ids % self.processes == rank()
            ids, rows = ids[here] // self.processes, rows[here]
        self.logits[ids] = rows

    def all_rows(self) -> Tensor:
        """The rows of all samples, (N, C)."""
        self._check_processes()
        if not self.sharded:
            return self.logits
        rows = self.logits.new_zeros(self.num_samples, self.logits.shape[1])
        rows[self._own] = self.logits
        return sum_over_processes([rows])[0]

    @property
    def _own(self) -> slice:
        return slice(rank(), None, self.processes)

    def saving(self, state: dict[str, Any], prefix: str) -> None:
        """Save the rows of all processes."""
        if self.sharded:
            state[prefix + "logits"] = self.all_rows()

    def loading(self, state: dict[str, Any], prefix: str) -> dict[str, Any]:
        """Load the rows of this process."""
        rows = state.get(prefix + "logits")
        if self.sharded and rows is not None and len(rows) == self.num_samples:
            return {**state, prefix + "logits": rows[self._own]}
        return state

    def _check_processes(self) -> None:
        if self.sharded and world_size() != self.processes:
            raise RuntimeError(
                f"the memory is shared by {self.processes} processes, and there are {world_size()} "
                "now; read it before the processes end"
            )

    def _checked(self, ids: Tensor | None) -> Tensor:
        self._check_processes()
        if ids is None:
            raise ValueError(
                "`train.ids` is missing; the method keeps a label for each sample, so it needs "
                "Batch(x, y, ids), where ids are row numbers of the training part"
            )
        ids = ids.to(self.logits.device)
        if ids.device.type not in ("cpu", "mps"):
            # To look at them, each step would wait for the device. (MPS has no such assertion.)
            known = ((ids >= 0) & (ids < self.num_samples)).all()
            assert_on_device(known, f"`train.ids` must lie in 0 to {self.num_samples - 1}")
            return ids
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= self.num_samples:
            raise ValueError(
                f"`train.ids` holds {low if low < 0 else high}; "
                f"ids must lie in 0 to {self.num_samples - 1}"
            )
        if len(ids.unique()) < len(ids):
            raise ValueError("`train.ids` repeats a sample; a batch may hold each sample once")
        return ids


def given_memory(
    given: Tensor,
    num_classes: int,
    k: float,
    *,
    device: str | None,
    file: str | os.PathLike[str] | None,
) -> LabelMemory:
    """Rows that are K at the given label and 0 elsewhere: the start of `MSLG`, with its options."""
    shape = len(given), num_classes
    if file is not None:
        if device not in (None, "cpu"):
            raise ValueError(f"`memory_device` is {device!r}; with `memory_file` it must be 'cpu'")
        start, device = rows_on_disk(file, *shape), "cpu"
    else:
        start = torch.zeros(shape, device=given.device)  # (N, C)
    start.scatter_(1, given[:, None].to(start.device), k)  # in place: no second array of that size
    return LabelMemory(start, device=device)
