"""Does an audition choose well? It is held on the folder of "Your own data", and all are marked.

``python -m nlmeta run own_folder`` writes that chapter's folder of digits: 1,197 scans of which
about a fifth lie in a wrong class, and 100 checked ones. An audition deals the checked ones and
chooses a method. Then each network that it judged is marked on an exam of 500 files that it has not
seen. Each seed is another deal, with other weights and batches; the folder stays the same.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from nlmeta import data, metrics, models, noise, seeding
from nlmeta.experiments.auditions import audition
from nlmeta.experiments.loading import load_named
from nlmeta.experiments.measured import Measurement, Measurements

__all__ = ["IN_FOLDER", "OWN_FOLDER", "hold", "load_with_folder", "read_folder", "write_folder"]

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
MIXED_UP = ((7, 1), (4, 9), (3, 8))  # nearly half of the first lie among the second
BY_LOOKS = 0.1  # share of the labels that follow the picture
EXAM, CHECKED = 500, 100
EPOCHS = 12  # half of the chapter's, so that ten auditions take minutes
BUDGET = "10h"  # so that everything is run, on any machine
IN_FOLDER = "by looks and mixed up"  # the noise by which `load_with_folder` knows the folder


def write_folder(folder: Path) -> None:
    """Write the chapter's folder from the digits of scikit-learn, the same at each call.

    Parameters
    ----------
    folder : Path
        A folder that exists. In it are made ``scans``, ``checked`` and ``exam``, each with a folder
        for each class; only in ``scans`` do files lie in wrong ones.
    """
    from sklearn.datasets import load_digits  # slow to import, and for nothing else

    pixels, true = map(torch.from_numpy, load_digits(return_X_y=True))
    draw = seeding.generator(2026, "folder")
    order = torch.randperm(len(true), generator=draw)
    centres = torch.stack([pixels[true == c].mean(0) for c in range(len(CLASSES))])
    likeness = (-torch.cdist(pixels, centres).square() / 100).softmax(1)
    given = noise.feature_dependent(likeness, true, BY_LOOKS)
    for right, wrong in MIXED_UP:
        rows = ((true == right) & (given == right)).nonzero().flatten()
        given[rows[torch.randperm(len(rows), generator=draw)[: int(0.45 * len(rows))]]] = wrong
    for place, i in enumerate(order.tolist()):
        scan = place >= EXAM + CHECKED
        root = "scans" if scan else "exam" if place < EXAM else "checked"
        file = folder / root / CLASSES[given[i] if scan else true[i]] / f"scan-{i:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture = (pixels[i] * 255 / 16).round().byte().view(8, 8).numpy()
        Image.fromarray(picture).save(file)


def read_folder(folder: Path) -> data.Split:
    """The split of the folder that `write_folder` wrote, the checked files as its meta set."""
    return data.from_folder(
        folder / "scans",
        clean=folder / "checked",
        test=folder / "exam",
        size=8,
        meta_size=CHECKED,
        balanced_meta=False,
        class_names=CLASSES,
        seed=0,
    )


def load_with_folder(name: str, **options: Any) -> data.Split:
    """`loading.load_named`, where digits with the noise `IN_FOLDER` are the chapter's folder.

    Parameters
    ----------
    name : str
        The dataset.
    **options
        Options of `loading.load_named`. The folder looks at none but the noise, so it is the same
        for all seeds.

    Returns
    -------
    Split
    """
    if options.get("noise") != IN_FOLDER:
        return load_named(name, **options)
    with tempfile.TemporaryDirectory() as place:
        write_folder(Path(place))
        return read_folder(Path(place))


def _network(seed: int) -> nn.Module:
    return models.MLP(3 * 8 * 8, len(CLASSES), hidden=(128, 128), seed=seed)


def _without_checked(split: data.Split) -> data.Split:
    none = torch.arange(0)
    parts = {part: getattr(split, part).subset(none) for part in ("meta", "test")}
    return replace(split, **parts, indices={**split.indices, **dict.fromkeys(parts, none)})


def hold(*, seed: int, device: str, checked: bool) -> list[dict[str, Any]]:
    """Hold an audition on the folder, and mark each network that it judged.

    Parameters
    ----------
    seed : int
        The seed of the audition, see `auditions.audition`.
    device : str
        The device.
    checked : bool
        Whether the audition has the 100 checked files.

    Returns
    -------
    list of dict
        A row for each method: ``method``; ``accuracy``, on the exam; ``judged``, the accuracy on
        the samples by which the audition judged, with ``low`` and ``high``, and ``p`` against the
        first (``noisy_validation`` is the same where these had noisy labels); ``chosen``, whether
        the audition's advice is to take it; ``in_full``, its seconds; and its ``setting``.
    """
    split = load_with_folder("digits", noise=IN_FOLDER)
    exam, shown = split.test, split if checked else _without_checked(split)
    training = {"epochs": EPOCHS}
    found = audition(
        shown, _network, BUDGET, training=training, seed=seed, device=device, progress=False
    )
    measure = "accuracy" if checked else "noisy_accuracy"
    rows = []
    for judged in found.frame[found.frame["not_run"].isna()].to_dict("records"):
        network = found.network(judged["method"])
        accuracy = metrics.evaluate(network, exam.x, exam.y)
        row = {"method": judged["method"], "accuracy": accuracy, "judged": judged[measure]}
        row |= {name: judged[name] for name in ("low", "high", "p", "in_full", "setting")}
        row |= {} if checked else {"noisy_validation": judged[measure]}
        rows.append({**row, "chosen": judged["method"] == found.winner})
    return rows


OWN_FOLDER = Measurements(
    name="own_folder",
    about="Does an audition choose well on the folder of a chapter?",
    parts={
        "100 checked": Measurement(hold, {"checked": True}),
        "nothing checked": Measurement(hold, {"checked": False}),
    },
    seeds=range(5),
    at_once=False,
    threads=1,
)
