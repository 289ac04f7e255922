"""Several processes, each with its own rows of one joint batch, started by `torchrun`.

A process runs the network on its own rows alone, and then gathers the outputs of all processes into
an (n, C) array. So each process evaluates the loss of the *joint* batch, and losses need no change:
weights that are divided by their sum, graphs and neighbours over the batch stay right. Of the
gathered rows only the process's own ones carry a gradient. With J_r the derivative of process r's
rows of the logits z by the network's parameters theta,

    dL/dtheta = sum over r of J_r^T (dL/dz)_r

so gradients by theta are *summed* over processes, not averaged, once for each pass backward. The
gradients by meta-parameters, (4.4), come from gathered logits and tangents, are the same in every
process, and are not summed.

A script for ``torchrun --nproc-per-node=2 script.py`` calls `start` first, before anything is made,
and then `nlmeta.fit` as always, with the same arguments in every process. In a loop of your own,
first `broadcast` the network and the method, unless their initial weights come from the same seed,
and take the steps inside ``with joint(model, *method.networks):``. Draw the same batches in every
process; each has its own rows of the inputs, ``x[share(n)]``, with all n labels and ids.
`torch.nn.parallel.DistributedDataParallel` is not needed and must not wrap the network.

Dropout draws differ between processes. BatchNorm's statistics differ too: a process normalises by
those of its own n / W rows, as if the batch were smaller. The gradients are exact for that network,
but it differs from a network with one process, so results depend on the number W of processes.
After each epoch of `fit`, the running statistics are set to those of process 0. None of this holds
for GroupNorm, which normalises each sample by itself. `torch.nn.SyncBatchNorm` does not help, since
it has no forward-mode derivative.

A plain step sums one array of the size of theta, a step with a virtual step three, MLNT's first
order 2 M + 1 for M sets of labels, M + 2 if all are tried at once, and its second order 4 M + 1.
All other messages have n rows.

With one process the functions here change nothing. `nlmeta.data` decides which rows belong to which
process, and `LabelMemory` keeps labels per sample.
"""

import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nlmeta._checks import check_positive
from nlmeta._interface import logits_in
from nlmeta._torch import all_gather_rows

__all__ = [
    "broadcast",
    "check_divisible",
    "check_joint",
    "gather",
    "gather_objects",
    "joint",
    "rank",
    "share",
    "split",
    "start",
    "sum_over_processes",
    "world_size",
]

FROM_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


_joined: list[bool] = []  # an entry for each block of `joint` around what runs now


def start(*, timeout_s: float = 120.0) -> None:
    """Join the processes that `torchrun` started; without it, do nothing.

    On CUDA each process uses a GPU of its own, which is then the default of `nlmeta.fit`. A script
    should end with `torch.distributed.destroy_process_group`; PyTorch recommends it.

    Parameters
    ----------
    timeout_s : float
        Seconds that a process waits for the others before it ends with an error. Default 120, ours.
        If another process has ended, the error usually comes at once.

    Raises
    ------
    RuntimeError
        Some of torchrun's environment variables are missing, or there is no GPU for this process.
    """
    check_positive("timeout_s", timeout_s)
    if "RANK" not in os.environ and "WORLD_SIZE" not in os.environ:
        return
    missing = [name for name in FROM_TORCHRUN if name not in os.environ]
    if missing:
        raise RuntimeError(
            f"the environment variable {missing[0]} is not set, but other variables of torchrun "
            "are; start the script with torchrun, or with none of these variables"
        )
    backend = "gloo"
    if torch.cuda.is_available():
        local, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= there:
            raise RuntimeError(
                f"process {local} of this machine has no GPU of its own, there are {there}; start "
                f"torchrun with --nproc-per-node={there}, or set CUDA_VISIBLE_DEVICES to an empty "
                "string to train on the CPU"
            )
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"  # gloo for shapes, which no GPU should be waited for
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))


def rank() -> int:
    """The number of this process, counted from 0; 0 if there is only one."""
    return dist.get_rank() if _started() else 0


def world_size() -> int:
    """The number of processes W; 1 before `start`."""
    return dist.get_world_size() if _started() else 1


def check_divisible(name: str, size: int) -> None:
    """Require a number of samples that the processes can share evenly.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    size : int
        The number of samples, which must be a multiple of W.
    """
    if size % world_size():
        raise ValueError(
            f"`{name}` is {size}; {world_size()} processes need a multiple of {world_size()}, "
            "since each takes the same number of samples of the joint batch"
        )


def share(n: int) -> slice:
    """The rows of a joint batch that belong to this process.

    Parameters
    ----------
    n : int
        Number of samples in the joint batch; a multiple of W.

    Returns
    -------
    slice
        A slice of n / W rows.
    """
    check_divisible("n", n)
    size = n // world_size()
    return slice(rank() * size, (rank() + 1) * size)


def gather(rows: Tensor) -> Tensor:
    """The rows of all processes, in the order of their ranks. Every process must call it.

    Parameters
    ----------
    rows : Tensor, shape (n / W, ...)
        The rows of this process, as many as in every other. They may be dual numbers.

    Returns
    -------
    Tensor, shape (n, ...)
        All rows. The process's own rows are attached to `rows`, in all orders of differentiation; a
        derivative by their inputs must be summed over processes. The others' rows are constants.

    Raises
    ------
    ValueError
        Shapes or types differ between processes. It is raised in each of them.
    """
    if world_size() == 1:
        return rows
    kind = f"{tuple(rows.shape)} of {rows.dtype}"
    code = torch.tensor([zlib.crc32(kind.encode())], device="cpu")
    codes = torch.empty(world_size(), dtype=code.dtype, device="cpu")
    with _all_here():
        all_gather_rows(codes, code)
    if (codes != code).any():  # so in every process, and all come here
        raise ValueError(
            "`rows` must have the same shape and type in every process; in the order of the "
            f"ranks they are {', '.join(gather_objects(kind))}"
        )
    return _Gather.apply(rows)


def gather_objects(value: Any) -> list[Any]:
    """The values of all processes, in the order of their ranks. Every process must call it.

    Parameters
    ----------
    value : object
        Any object that can be pickled; it should be small, since it goes through the CPU.

    Returns
    -------
    list
        A list of length W.
    """
    if world_size() == 1:
        return [value]
    values = [None] * world_size()
    with _all_here():
        dist.all_gather_object(values, value)
    return values


def sum_over_processes(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Sums over all processes, by one reduction for the whole sequence. Every process must call it.

    Parameters
    ----------
    tensors : sequence of Tensor
        Tensors of the same shapes in every process.

    Returns
    -------
    tuple of Tensor
        New tensors of the same shapes, types and memory formats; with one process the given ones.
        They can be differentiated: the gradient by a term is the sum of all processes' gradients by
        the sum.
    """
    if world_size() == 1 or not tensors:
        return tuple(tensors)
    return _Sum.apply(*tensors)


def split(rows: Tensor, sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """Split the gathered rows of one pass into the batches that went through the network together.

    The rows of such a pass are sorted by process, so the first rows are not the first batch.

    Parameters
    ----------
    rows : Tensor, shape (n + m + ..., C)
        Gathered rows, for example the logits of ``torch.cat([train.x, meta.x])``.
    sizes : sequence of int
        Numbers n, m, ... of samples of the joint batches.

    Returns
    -------
    tuple of Tensor
        The batches, of shapes (n, C), (m, C), ...
    """
    for size in sizes:
        check_divisible("sizes", size)
    blocks = [
        block.split([size // world_size() for size in sizes]) for block in rows.chunk(world_size())
    ]
    return tuple(torch.cat(parts) for parts in zip(*blocks, strict=True))


def broadcast(*modules: nn.Module) -> None:
    """Copy the parameters and buffers of process 0 to all processes. Every process must call it.

    Parameters
    ----------
    modules : nn.Module
        Modules of the same structure in every process. Parts whose attribute ``sharded`` is True
        keep their own values.
    """
    if world_size() == 1:
        return
    parts = [part for module in modules for part in module.modules()]
    whole = [part for part in parts if not getattr(part, "sharded", False)]
    for part in whole:
        for tensor in (*part.parameters(recurse=False), *part.buffers(recurse=False)):
            values = tensor.detach().contiguous()
            with _all_here():
                dist.broadcast(values, src=0)
            tensor.detach().copy_(values)


def check_joint() -> None:
    """Require `joint` if there are several processes.

    Raises
    ------
    RuntimeError
        The loss of each process would be that of its own rows alone, and the sum of such gradients
        is not the gradient of the joint batch.
    """
    if world_size() > 1 and not _joined:
        raise RuntimeError(
            f"there are {world_size()} processes, and the networks' outputs are not gathered; take "
            "steps inside `with nlmeta.distributed.joint(model, *method.networks):`"
        )


@contextmanager
def joint(*networks: nn.Module) -> Iterator[None]:
    """Gather the outputs of these networks inside the block, see `gather`.

    Parameters
    ----------
    networks : nn.Module
        Networks that return a tensor or a tuple of tensors, with a row for each sample. The names
        of their parameters stay as they are, and their `bilevel.forward_pass` and
        `bilevel.with_parameters` gather as well.
    """
    if world_size() == 1:
        yield
        return
    hook = torch.compiler.disable(_gather_output)  # a compiled network ends before it
    handles = [network.register_forward_hook(hook) for network in dict.fromkeys(networks)]
    _joined.append(True)
    try:
        yield
    finally:
        _joined.pop()
        for handle in handles:
            handle.remove()


class _Gather(torch.autograd.Function):
    """All rows. The derivative by the process's own rows is their part of the gradient: `_Own`."""

    @staticmethod
    def forward(rows: Tensor) -> Tensor:
        every = rows.new_empty(world_size() * len(rows), *rows.shape[1:])
        with _all_here():
            all_gather_rows(every, rows.contiguous())
        return every

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept; `torch.func.vmap` needs this form."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Own.apply(gradient)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return _Gather.apply(tangent)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], rows: Tensor) -> tuple[Tensor, int]:
        return _Gather.apply(rows.movedim(in_dims[0], 1)), 1  # rows stay first


class _Own(torch.autograd.Function):
    """This process's rows of an array that is the same in every process."""

    @staticmethod
    def forward(every: Tensor) -> Tensor:
        return every[share(len(every))].clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Gather.apply(gradient)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], every: Tensor) -> tuple[Tensor, int]:
        return _Own.apply(every.movedim(in_dims[0], 1)), 1


class _Sum(torch.autograd.Function):
    """Sums over processes, forward and backward: every result depends on the terms of all."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _all_here():
            dist.all_reduce(flat)
        sums = flat.split([tensor.numel() for tensor in tensors])
        pairs = zip(tensors, sums, strict=True)
        return tuple(torch.empty_like(t).copy_(total.view(t.shape)) for t, total in pairs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return _Sum.apply(*gradients)


def _gather_output(network: nn.Module, inputs: Any, output: Any) -> Any:
    if isinstance(output, tuple) and not hasattr(output, "logits"):
        return tuple(_gather_output(network, inputs, part) for part in output)
    logits = logits_in(output)
    if isinstance(logits, Tensor):
        return gather(logits)
    raise TypeError(
        f"{type(network).__name__} returned a {type(output).__name__}; with several processes a "
        "network must return a tensor, an object or a dict with `logits`, or a tuple of these, "
        "with a row for each sample"
    )


@contextmanager
def _all_here() -> Iterator[None]:
    """Explain errors of code that waits for the other processes."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise RuntimeError(
            "another process has ended, or did not arrive within `timeout_s` of `start`; see its "
            f"own output for the reason. PyTorch says: {reason}"
        ) from error


def _started() -> bool:
    return dist.is_available() and dist.is_initialized()
