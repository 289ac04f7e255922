"""The command `audition FOLDER`: which method for these images, and which labels are suspect?"""

import argparse
from pathlib import Path
from typing import Any

from torch import nn

from nlmeta import data, models
from nlmeta.experiments.auditions import audition

__all__ = ["add_audition"]


def add_audition(commands: Any) -> None:
    """Add the command to a parser.

    Parameters
    ----------
    commands : argparse subparsers
        The commands of the parser. The new one sets ``run``, which takes the parsed arguments.
    """
    said = "try a short list of methods on a folder of your own, with a folder for each class"
    own = commands.add_parser("audition", help=said)
    own.add_argument("folder", metavar="FOLDER")
    own.add_argument("--clean", metavar="FOLDER", help="such a folder with checked labels")
    own.add_argument("--budget", default="10m", metavar="TIME", help="default: %(default)s")
    own.add_argument(
        "--size", type=int, default=64, help="side of the images (default: %(default)s)"
    )
    of_backbone = "take a small network on features of this one instead of SmallCNN"
    own.add_argument("--backbone", choices=data.BACKBONES, help=of_backbone)
    own.add_argument("--epochs", type=int, default=30, help="default: %(default)s")
    own.add_argument("--record", type=Path, help="file by which the same command goes on")
    own.add_argument("--suspects", type=Path, default="suspects.csv", help="default: %(default)s")
    own.add_argument("--device", help="default: the fastest there is")
    own.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    own.set_defaults(run=_audition)


def _audition(given: argparse.Namespace) -> None:
    # Nobody is told to set a test folder apart: what is checked is dealt.
    split = data.from_folder(given.folder, test=given.clean, size=given.size, seed=given.seed)
    print("\n".join([repr(split), *split.notes]))
    if given.backbone is not None:
        split = data.features(split, data.backbone(given.backbone))

    def network(seed: int) -> nn.Module:
        if given.backbone is None:
            return models.SmallCNN(3, split.num_classes, width=16, seed=seed)
        x: Any = split.train.x
        return models.MLP(x.shape[1], split.num_classes, seed=seed)

    options = {name: getattr(given, name) for name in ("record", "seed", "device")}
    training = {"epochs": given.epochs}
    found = audition(split, network, given.budget, training=training, say=print, **options)
    print(f"\n{found}")
    found.suspects().to_csv(given.suspects, index=False)
    print(f"{given.suspects}: the training samples, the most suspect to {found.winner} first")
