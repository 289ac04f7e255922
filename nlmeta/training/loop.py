"""`fit`: batches, learning rate, evaluation, history and checkpoints around a method's steps."""

import os
import time
from collections.abc import Sequence
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
    device: torch.device | str | None = None,
    precision: Literal["float32", "float64", "bfloat16", "auto"] = "float32",
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
        Takes the steps.
    model : nn.Module
        Returns logits of shape (n, C). Trained in place, in training mode. Where it comes in that
        mode with parts in evaluation mode, as frozen norm layers are, these stay in it.
    split : Split
        The data. What is in memory is moved to the device as a whole; images on disk are decoded
        ahead of each batch. Training images are augmented as `Split.augmented` says.
    epochs : int
        Passes over the training part, warm-up included. The result is that of the last.
    seed : int
        Seed for the order of the batches and for dropout. The split and the initial weights are
        seeded where they are made.
    warmup_epochs : int
        First epochs, with plain cross-entropy. Default 0.
    batch_size : int
        Default 64. With several processes that of the joint batch, a multiple of their number.
    meta_batch_size : int, optional
        Clean samples a step, drawn anew each time. Default: the whole meta set. With several
        processes a multiple of their number; the whole set is cut to one. Images on disk need a
        number.
    lr, momentum, weight_decay : float
        Of SGD. Defaults 0.05, 0.9, 5e-4 (ours, `nlmeta.presets.DIGITS`).
    schedule : {"cosine", "constant"} or sequence of int
        ``"cosine"`` (default) takes the learning rate from `lr` to zero over all steps. Epochs,
        counted from 1: from each of them on the rate is a tenth of what it was before.
    device : torch.device or str, optional
        Default: CUDA if there is one, then Apple's MPS, then the CPU.
    precision : {"float32", "float64", "bfloat16", "auto"}
        ``"bfloat16"`` means autocast, with weights in float32. ``"auto"`` is that on a GPU which
        computes in it natively (since Ampere), and ``"float32"`` elsewhere, on a T4 for example.
        Default ``"float32"``.
    channels_last : bool
        Lay images and the weights of convolutions out with the channels last, which many devices
        prefer. Numbers change by rounding. Default False.
    compile : bool or str
        Compile the network's passes with `torch.compile`; a string names one of its backends.
        Numbers change by rounding. Tangents and evaluation stay as they are. Not for
        ``mode="exact"`` nor MLNT's second order: a compiled network cannot be differentiated twice.
        Default False.
    checkpoint : path, optional
        File that is written after each epoch, whole or not at all. Without `resume` it must not
        exist yet.
    resume : bool
        Continue from `checkpoint` if it is there. The run then ends at the same numbers as an
        uninterrupted one, bit for bit on the CPU. Default False.
    evaluate_every : int
        Evaluate after every so many epochs, and after the last. Default 1. The history holds no
        number where nothing was evaluated.
    evaluate_train : float
        Share of the training samples that evaluations measure, at even distances; 0 for none. The
        last evaluation measures all of them. Default 1.
    on_epoch : callable, optional
        ``on_epoch(epoch, model, method)`` after each epoch; the numbers it returns join the
        history. What it draws from PyTorch's generators comes from a stream of its own for each
        epoch, so it does not change the run. Modes that it sets are put back, `requires_grad`
        stays. If it has `state_dict` and `load_state_dict`, its state is in the checkpoint.
    stop_after : float, optional
        Seconds after which the run stops at the end of an epoch, as by Ctrl-C. At least one epoch
        is trained. Default: never.
    progress : bool, optional
        Show a progress bar. Default: unless the environment variable ``NLMETA_PROGRESS`` is 0.

    Returns
    -------
    Result

    Raises
    ------
    ValueError
        An argument is out of range, or the checkpoint is not one of this run.
    FloatingPointError
        A loss, another diagnostic or a logit stopped being finite. The last checkpoint stays.
    OSError
        The checkpoint cannot be written, for example because the disk is full. The last one stays,
        and the message says which epoch it holds.

    Notes
    -----
    Under ``torchrun``, after `nlmeta.distributed.start`, all processes train the one network
    together: each on its part of every batch, and all call `fit` with the same arguments. The
    network starts from the weights of process 0. That process alone shows progress and writes the
    checkpoint, and all read it, with the same number of processes as before. Each evaluates, and
    calls `on_epoch`.
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
        raise ValueError("`resume` is True without a `checkpoint` to continue from")
    check_split(split, method, meta_batch_size)
    check_initialised("model", model)
    device = choose_device(device)
    options["precision"] = resolve_precision(precision, device)
    split = move_all(method, model, split, options, device)
    if not model.training:
        model.train()

    path = None if checkpoint is None else Path(checkpoint)
    there = path is not None and path.exists()
    settings = settings_of(method, model, split, options, whole=path is not None)
    run = Run(method, model, split, settings, device, on_epoch, evaluate_train)
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


def _late(begun: float, stop_after: float | None) -> bool:
    """Whether the time is up for any process; then all of them stop at the same epoch."""
    late = stop_after is not None and time.monotonic() - begun >= stop_after
    return stop_after is not None and any(distributed.gather_objects(late))


def _say_stopped(run: Run, path: Path | None) -> None:
    """Tell, once for all processes, how far the run came and where it can be continued."""
    text = f"stopped after {len(run.rows)} of {run.settings['epochs']} epochs"
    if path is not None:
        text += f"; resume=True continues from {str(path)!r}"
        if run.saved != len(run.rows):  # it was the writing that was stopped
            text += f", after epoch {run.saved}"
    if distributed.rank() == 0:
        tqdm.write(text)
