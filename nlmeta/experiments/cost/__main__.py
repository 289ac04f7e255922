"""Measure what a meta step costs: `python -m nlmeta.experiments.cost`."""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from nlmeta._torch import full_float32
from nlmeta.experiments.cost.measure import (
    CANDIDATES,
    MEMORY_CLASSES,
    MEMORY_LABELS,
    measure,
    measure_label_memory,
)
from nlmeta.experiments.cost.precision import measure_precision
from nlmeta.experiments.cost.report import precision_file, table, write
from nlmeta.experiments.cost.throughput import measure_batches, measure_decoding
from nlmeta.models import CIFARResNet

SEED = 0

parser = argparse.ArgumentParser(
    prog="python -m nlmeta.experiments.cost",
    description="Time and memory of one step of every method, as ratios to plain cross-entropy: "
    "ResNet-18 of width 16, batches of 64 images of 32x32 pixels, 10 classes.",
)
parser.add_argument(
    "--output", type=Path, default=Path("cost.json"), help="file to write (default: %(default)s)"
)
parser.add_argument("--rounds", type=int, default=5, help="times each step is timed (default: 5)")
parser.add_argument("--device", default="cpu", help="default: %(default)s")
parser.add_argument("--threads", type=int, default=1, help="of the CPU (default: %(default)s)")
parser.add_argument(
    "--memory-rows",
    type=int,
    default=MEMORY_LABELS,
    help=f"label rows of {MEMORY_CLASSES:,} classes to keep in memory (default: %(default)s, 4 GB)",
)
arguments = parser.parse_args()
torch.set_num_threads(arguments.threads)

say = partial(print, flush=True)
model = CIFARResNet(18, 10, width=16, seed=SEED)
name = "ResNet-18, width 16"
with full_float32():  # so that what is called float32 is
    rows = measure(
        model,
        network=name,
        candidates=CANDIDATES,
        rounds=arguments.rounds,
        device=arguments.device,
        seed=SEED,
        report=say,
    )
    say("label memory")
    plain = next(row["seconds"] for row in rows if row["method"] == "cross-entropy")
    rows.append(measure_label_memory(plain, num_samples=arguments.memory_rows, seed=SEED))
    with tempfile.TemporaryDirectory(dir=arguments.output.resolve().parent) as folder:
        file = Path(folder) / "labels"
        rows.append(
            measure_label_memory(plain, num_samples=arguments.memory_rows, file=file, seed=SEED)
        )
    say("batches")
    rows += measure_batches(model.to(arguments.device), plain, seed=SEED)
    rows.append(measure_decoding(model, folder=arguments.output.resolve().parent, seed=SEED))
    write(rows, arguments.output)
    precision = measure_precision(
        model, network=name, device=arguments.device, seed=SEED, report=say
    )
    write(precision, precision_file(arguments.output))

say(
    f"\nTime and memory in units of cross-entropy, {rows[0]['machine']}, "
    f"{rows[0]['threads']} thread(s), torch {rows[0]['torch']}"
)
say(table(pd.DataFrame(rows)).to_string(float_format="{:.2f}".format, na_rep=""))
say("\nCosine to the hypergradient in float64")
cosines = pd.DataFrame(precision).pivot(index=["mode", "dtype"], columns="trained", values="cosine")
say(cosines.to_string(float_format="{:.4f}".format))
say(f"\nWritten: {arguments.output} and {precision_file(arguments.output)}")
