"""`fit`: batches, learning rate, evaluation, history and checkpoints around a method's steps."""

import os
import time
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from nlmeta import distributed
from nlmeta._checks import check_count, check_positive, check_rate
from nlmeta.data import Split
from nlmeta.methods import Method
from nlmeta.models.copies import check_initialised
from nlmeta.seeding import seeded
from nlmeta.training.checkpoint import load, save
from nlmeta.training.devices import choose_device, move_all, resolve_precision
from nlmeta.training.optimisers import MakeOptimizer, described, optimizer_of
from nlmeta.training.options import check_options, check_split
from nlmeta.training.progress import epoch_bar
from nlmeta.training.result import Result
from nlmeta.training.run import OnEpoch, Run, own_stream
from nlmeta.training.settings import check_alike, plain, settings_of

__all__ = ["fit"]


def fit(
    method: Method,
    model: nn.Module,
    split: Split,
    *,
    epochs: int,
    seed: int,
    warmup_epochs: int = 0,
    batch_size: int = 64,
    meta_batch_size: int | None = None,
    lr: float = 0.05,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    schedule: Literal["cosine", "constant"] | Sequence[int] = "cosine",
    lr_warmup_epochs: float = 0.0,
    optimizer: MakeOptimizer | None = None,
    device: torch.device | str | None = None,
    precision: Literal["float32", "float64", "bfloat16", "float16", "auto"] = "float32",
    channels_last: bool = False,
    compile: bool | str = False,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    evaluate_every: int = 1,
    evaluate_train: float = 1.0,
    on_epoch: OnEpoch | None = None,
    stop_after: float | None = None,
    progress: bool | None = None,
) -> Result:
    """Train a network with a method.

    Parameters
    ----------
    method : Method
        The method that takes the steps.
    model : nn.Module
        A network that returns logits, see `models.logits_of`. It is trained in place, in training
        mode. If it is already in training mode, parts that are in evaluation mode, such as frozen
        norm layers, stay so.
    split : Split
        The data. Data in memory are moved to the device as a whole; images on disk are decoded
        ahead of each batch. Training images are augmented as set by `Split.augmented`.
    epochs : int
        Passes over the training part, warm-up included. The result is that of the last epoch.
    seed : int
        Seed for the order of the batches and for dropout. The split and the initial weights are
        seeded where they are made.
    warmup_epochs : int
        Number of first epochs with plain cross-entropy. Default 0.
    batch_size : int
        Number of training samples in a batch. Default 64. With several processes it is the size of
        the joint batch, a multiple of their number.
    meta_batch_size : int, optional
        Number of clean samples in a step, drawn anew each time. Default: the whole meta set. With
        several processes it must be a multiple of their number; the whole set is cut to such a
        multiple. If meta images stay on disk, the number must be given.
    lr, momentum, weight_decay : float
        Options of SGD. Defaults 0.05, 0.9, 5e-4 (ours, `nlmeta.presets.DIGITS`). They are refused
        beside `optimizer`.
    schedule : {"cosine", "constant"} or sequence of int
        Course of the learning rate. ``"cosine"`` (default) takes it from `lr` to zero over all
        steps. A sequence holds epochs, counted from 1; from each of them on, the rate is a tenth
        of the rate before.
    lr_warmup_epochs : float
        Number of first epochs, or a part of one, over whose steps the learning rate rises in equal
        parts to its full value; the cosine begins after them. Default 0. It has nothing to do with
        `warmup_epochs`.
    optimizer : callable, optional
        A function of the list of the network's parameters that returns their optimiser, for example
        ``lambda parameters: torch.optim.AdamW(parameters, lr=1e-3)``. The schedule multiplies the
        learning rate of each of its groups. Optimisers that evaluate the loss themselves, such as
        LBFGS, are refused. Virtual and trial steps remain plain gradient steps. Default: SGD.
    device : torch.device or str, optional
        The device of the run. Default: CUDA if there is one, then Apple's MPS, then the CPU.
    precision : {"float32", "float64", "bfloat16", "float16", "auto"}
        Precision of the run. ``"bfloat16"`` means autocast, with weights in float32. ``"auto"`` is
        ``"bfloat16"`` on a GPU that computes in it natively (since Ampere), and ``"float32"``
        elsewhere, for example on a T4. ``"float16"`` is for such a GPU: autocast with losses that
        `torch.amp.GradScaler` scales; steps with an infinite gradient are left out. It needs a
        method with `Method.scalable`, which those that look ahead are not. Default ``"float32"``.
    channels_last : bool
        If True, images and the weights of convolutions are stored with the channels last, which is
        faster on many devices. Numbers change by rounding. Default False.
    compile : bool or str
        If True, the network's passes are compiled with `torch.compile`; a string is the name of one
        of its backends. Numbers change by rounding. Tangents and evaluation are not compiled. It
        cannot be used with ``mode="exact"`` or MLNT's second order, since a compiled network cannot
        be differentiated twice. Default False.
    checkpoint : path, optional
        A file that is written after each epoch, whole or not at all. Without `resume` it must not
        exist yet.
    resume : bool
        If True, the run continues from `checkpoint` if that file exists, and ends at the same
        numbers as an uninterrupted run, bit for bit on the CPU. Default False.
    evaluate_every : int
        Number of epochs from one evaluation to the next; the last epoch is always evaluated.
        Default 1. The history holds NaN for epochs without an evaluation.
    evaluate_train : float
        Share of the training samples that evaluations measure, at even distances; 0 for none. The
        last evaluation measures all of them. Default 1.
    on_epoch : callable, optional
        A function called as ``on_epoch(epoch, model, method)`` after each epoch; the numbers that
        it returns are added to the history. It draws from a stream of PyTorch's generators of its
        own for each epoch, so it does not change the run. Modes that it sets are restored,
        `requires_grad` is not. If it has `state_dict` and `load_state_dict`, its state is in the
        checkpoint.
    stop_after : float, optional
        Seconds after which the run stops at the end of an epoch, as by Ctrl-C. At least one epoch
        is trained. Default: no limit.
    progress : bool, optional
        Whether a progress bar is shown. Default: True, unless the environment variable
        ``NLMETA_PROGRESS`` is 0.

    Returns
    -------
    Result
        The trained network, the method and the history.

    Raises
    ------
    ValueError
        An argument is out of range, or the checkpoint belongs to another run.
    FloatingPointError
        A loss, another diagnostic or a logit is not finite. The last checkpoint stays.
    OSError
        The checkpoint cannot be written, for example because the disk is full. The last one stays,
        and the message says which epoch it holds.

    Notes
    -----
    Under ``torchrun``, after `nlmeta.distributed.start`, all processes train one network together:
    each on its part of every batch, and all call `fit` with the same arguments. The network starts
    from the weights of process 0. Only that process shows progress and writes the checkpoint. All
    processes read it, and their number must be the same as before. Each process evaluates and calls
    `on_epoch`.
    """
    options = plain(
        {
            "epochs": epochs,
            "seed": seed,
            "warmup_epochs": warmup_epochs,
            "batch_size": batch_size,
            "meta_batch_size": meta_batch_size,
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "schedule": schedule if isinstance(schedule, str) else list(schedule),
            "lr_warmup_epochs": lr_warmup_epochs,
            "precision": precision,
            "channels_last": channels_last,
            "compile": compile,
        }
    )
    check_options(options)
    check_count("evaluate_every", evaluate_every)
    check_rate("evaluate_train", evaluate_train)
    if stop_after is not None:
        check_positive("stop_after", stop_after)
    if resume and checkpoint is None:
        raise ValueError("`resume` is True and `checkpoint` is None; name the file of the run")
    check_split(split, method, meta_batch_size, precision)
    check_initialised("model", model)
    device = choose_device(device)
    options["precision"] = resolve_precision(precision, device)
    split = move_all(method, model, split, options, device)
    chosen = optimizer_of(optimizer, model, options, _DEFAULTS)
    options["optimizer"] = None if optimizer is None else described(chosen)
    if not model.training:
        model.train()

    clean = split.meta if split.meta_is_clean and len(split.meta) else None
    method.begin(epochs - warmup_epochs, split.train, clean)
    path = None if checkpoint is None else Path(checkpoint)
    there = path is not None and path.exists()
    settings = settings_of(method, model, split, options, whole=path is not None)
    run = Run(method, model, split, settings, device, chosen, on_epoch, evaluate_train)
    check_alike({**settings, "checkpoint given": path is not None, "checkpoint exists": there})
    if there and not resume:
        raise ValueError(
            f"`checkpoint` {str(path)!r} exists; pass resume=True to continue that run, "
            "or name another file"
        )
    finished, begun = True, time.monotonic()
    with seeded(seed, own_stream("training"), device):
        if path is not None and there:
            load(run, path)
        distributed.broadcast(model, method)
        with epoch_bar(epochs, len(run.rows), type(method).__name__, progress) as bar:
            try:
                for epoch in range(len(run.rows) + 1, epochs + 1):
                    started = time.perf_counter()
                    row = run.train_epoch(epoch)
                    due = epoch % evaluate_every == 0 or epoch == epochs
                    row |= run.finish_epoch(epoch, evaluate=due)
                    row["seconds"] = time.perf_counter() - started
                    run.rows.append(row)
                    if path is not None:
                        save(run, path)
                    shown = {k: row[k] for k in ("loss", "test_accuracy") if k in row}
                    bar.set_postfix({name: f"{value:.3f}" for name, value in shown.items()})
                    bar.update()
                    if epoch < epochs and _late(begun, stop_after):
                        raise KeyboardInterrupt
            except KeyboardInterrupt:
                finished = False
                _say_stopped(run, path)
    return Result(model, method, pd.DataFrame(run.rows), finished)


_DEFAULTS = {name: parameter.default for name, parameter in signature(fit).parameters.items()}


def _late(begun: float, stop_after: float | None) -> bool:
    """Whether the time is up for any process; then all of them stop at the same epoch."""
    late = stop_after is not None and time.monotonic() - begun >= stop_after
    return stop_after is not None and any(distributed.gather_objects(late))


def _say_stopped(run: Run, path: Path | None) -> None:
    """Print, once for all processes, how far the run came and how it can be continued."""
    text = f"stopped after {len(run.rows)} of {run.settings['epochs']} epochs"
    if path is not None:
        text += f"; resume=True continues from {str(path)!r}"
        if run.saved != len(run.rows):  # it was the writing that was stopped
            text += f", after epoch {run.saved}"
    if distributed.rank() == 0:
        tqdm.write(text)
