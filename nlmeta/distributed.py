"""Several processes, each with its own rows of one joint batch, started by `torchrun`.

A process runs the network on its own rows alone, and then gathers what it gave for all rows, an
(n, C) array. So each evaluates the loss of the *joint* batch, and no loss need know of processes:
weights that are divided by their sum, graphs and neighbours over the batch are right as they stand.
Of the gathered rows only the own ones carry a gradient. With J_r the derivative of process r's
rows of the logits z by the network's parameters theta,

    dL/dtheta = sum over r of J_r^T (dL/dz)_r

so gradients by theta are *summed* over processes, not averaged, once for each pass backward. The
gradients by meta-parameters, (4.4), come from gathered logits and tangents, are the same in every
process, and are not summed.

A script for ``torchrun --nproc-per-node=2 script.py`` calls `start` first, before anything is made,
and then `nlmeta.fit` as always, with the same arguments in every process. Around a loop of your
own, first `broadcast` the network and the method, unless their first weights come from the same
seed, and take the steps inside ``with joint(model, *method.networks):``. Draw the same batches in
every process; each holds the own rows of the inputs, ``x[share(n)]``, with all n labels and ids.
`torch.nn.parallel.DistributedDataParallel` is not needed, and may not be around the network.

Dropout draws differ between processes. So do BatchNorm's statistics: a process normalises by those
of its own n / W rows, as if the batch were smaller. The gradients are exact for that network, but
it is another one, and results depend on the number W of processes. Running statistics are made
those of process 0 after each epoch of `fit`. GroupNorm looks at one sample at a time, and nothing
of this applies. `torch.nn.SyncBatchNorm` has no forward-mode derivative, so it is no way out.

A plain step sums one array of the size of theta, a step with lookahead three, MLNT's first order
2 M + 1 for M sets of labels, M + 2 where all are tried at once, and its second 4 M + 1. All else
that is sent has n rows.

With one process every function here does nothing. Left to others: which rows are whose is
`nlmeta.data`'s, labels kept per sample are `LabelMemory`'s.
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

    On CUDA each process gets a GPU of its own, which is then the default of `nlmeta.fit`. A script
    may end with `torch.distributed.destroy_process_group`; PyTorch asks for it there.

    Parameters
    ----------
    timeout_s : float
        Seconds that a process waits for the others before it ends with an error. Default 120, ours.
        Where one has ended, the others usually learn of it at once.

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
            f"the environment variable {missing[0]} is not set, though others of torchrun's are; "
            "start the script with torchrun, or with none of them"
        )
    backend = "gloo"
    if torch.cuda.is_available():
        local, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= there:
            raise RuntimeError(
                f"process {local} of this machine has no GPU of its own, there are {there}; start "
                f"torchrun with --nproc-per-node={there}, or hide the GPUs to train on the CPU"
            )
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"  # gloo for shapes, which no GPU should be waited for
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))


def rank() -> int:
    """The number of this process, from 0; 0 where there is only one."""
    return dist.get_rank() if _started() else 0


def world_size() -> int:
    """W, the number of processes; 1 before `start`."""
    return dist.get_world_size() if _started() else 1


def check_divisible(name: str, size: int) -> None:
    """Require a number of samples that the processes can share evenly.

    Parameters
    ----------
    name : str
        Of the argument, for the message.
    size : int
        A multiple of W.
    """
    if size % world_size():
        raise ValueError(
            f"`{name}` is {size}; {world_size()} processes need a multiple of {world_size()}, "
            "since each takes as many samples of the joint batch"
        )


def share(n: int) -> slice:
    """Which rows of a joint batch are this process's.

    Parameters
    ----------
    n : int
        Samples in the joint batch; a multiple of W.

    Returns
    -------
    slice
        Of n / W rows.
    """
    check_divisible("n", n)
    size = n // world_size()
    return slice(rank() * size, (rank() + 1) * size)


def gather(rows: Tensor) -> Tensor:
    """The rows of all processes, in the order of their ranks. Every process takes part.

    Parameters
    ----------
    rows : Tensor, shape (n / W, ...)
        The own rows, as many in every process. They may be dual numbers.

    Returns
    -------
    Tensor, shape (n, ...)
        The own rows are attached to `rows`, in all orders of differentiation; a derivative by what
        lies behind them is to be summed over processes. The others' rows are constants here.

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
            "`rows` must have the same shape and type in every process; in the order of their "
            f"ranks they are {', '.join(gather_objects(kind))}"
        )
    return _Gather.apply(rows)


def gather_objects(value: Any) -> list[Any]:
    """What each process holds here, in the order of their ranks. Every process takes part.

    Parameters
    ----------
    value : object
        Anything that can be pickled; small, as it goes through the CPU.

    Returns
    -------
    list
        Of length W.
    """
    if world_size() == 1:
        return [value]
    values = [None] * world_size()
    with _all_here():
        dist.all_gather_object(values, value)
    return values


def sum_over_processes(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Sums over all processes, by one reduction for the whole sequence. Every process takes part.

    Parameters
    ----------
    tensors : sequence of Tensor
        The same shapes in every process.

    Returns
    -------
    tuple of Tensor
        New ones, of the same shapes, types and memory formats; for one process the given ones. They
        may be differentiated: the gradient by a term is the sum of all processes' gradients by the
        sum.
    """
    if world_size() == 1 or not tensors:
        return tuple(tensors)
    return _Sum.apply(*tensors)


def split(rows: Tensor, sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """Take gathered rows apart where several batches went through the network in one pass.

    The rows of such a pass lie process by process. So the first of them are not the first batch.

    Parameters
    ----------
    rows : Tensor, shape (n + m + ..., C)
        For example the logits of ``torch.cat([train.x, meta.x])``.
    sizes : sequence of int
        n, m, ...: samples of each joint batch.

    Returns
    -------
    tuple of Tensor
        Of shapes (n, C), (m, C), ...
    """
    for size in sizes:
        check_divisible("sizes", size)
    blocks = [
        block.split([size // world_size() for size in sizes]) for block in rows.chunk(world_size())
    ]
    return tuple(torch.cat(parts) for parts in zip(*blocks, strict=True))


def broadcast(*modules: nn.Module) -> None:
    """Give every process the parameters and buffers of process 0. Every process takes part.

    Parameters
    ----------
    modules : nn.Module
        Alike in every process. Parts with an attribute ``sharded`` that is True keep their own.
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
    """Require `joint` where there are several processes.

    Raises
    ------
    RuntimeError
        A process would take a loss of its own rows alone, and the sum of such gradients is not the
        joint batch's.
    """
    if world_size() > 1 and not _joined:
        raise RuntimeError(
            f"there are {world_size()} processes, and the networks' outputs are not gathered; take "
            "steps inside `with nlmeta.distributed.joint(model, *method.networks):`"
        )


@contextmanager
def joint(*networks: nn.Module) -> Iterator[None]:
    """Inside the block the outputs of these networks are gathered, see `gather`.

    Parameters
    ----------
    networks : nn.Module
        Each returns a tensor or a tuple of tensors, with a row for each sample. Their parameters'
        names stay as they are, and `bilevel.forward_pass` and `bilevel.with_parameters` of them
        gather as well.
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
    """All rows. Its derivative by the own rows takes their part of the gradient: `_Own`."""

    @staticmethod
    def forward(rows: Tensor) -> Tensor:
        every = rows.new_empty(world_size() * len(rows), *rows.shape[1:])
        with _all_here():
            all_gather_rows(every, rows.contiguous())
        return every

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept; `torch.func.vmap` asks for this form."""

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
    """The own rows of an array that is the same in every process, and which all rows enter."""

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
    """Sums over processes, forward and backward: every process's outcome depends on all terms."""

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
    if isinstance(output, Tensor):
        return gather(output)
    if isinstance(output, tuple) and all(isinstance(part, Tensor) for part in output):
        return tuple(gather(part) for part in output)
    raise TypeError(
        f"{type(network).__name__} returned a {type(output).__name__}; with several processes a "
        "network must return a tensor, or a tuple of tensors, with a row for each sample"
    )


@contextmanager
def _all_here() -> Iterator[None]:
    """Around what waits for the other processes."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise RuntimeError(
            "another process has ended, or did not come within the time that `start` allows; its "
            f"own output says why. PyTorch says: {reason}"
        ) from error


def _started() -> bool:
    return dist.is_available() and dist.is_initialized()
