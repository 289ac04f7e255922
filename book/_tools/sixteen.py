"""Compute what the front page and chapter 14 show of sixteen digits each, and store it.

    python book/_tools/sixteen.py

Writes `book/_static/sixteen.js`, which pages load as a script, since a page from the disk may read
no other file. `labels` is the run of chapter 9: MSLG on 1,097 digits of which 40 % are mislabelled,
judged by 100 checked ones; of the first sixteen training images it keeps what their soft labels
say after each epoch. `suspects` are sixteen digits of the kind of error that chapter 14 has,
mistaken by their looks, with the opinion of a classifier that was not trained on them.
"""

import sys

import moving
import numpy as np
import torch
from chapters import ROOT
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from nlmeta import MSLG, CrossEntropy, data, fit, metrics, models, noise, presets, seeding

COUNT = 16
INK = "0123456789abcdefg"  # a pixel has 17 values
QUIET = {"device": "cpu", "progress": False}


def picture(pixels: torch.Tensor) -> str:
    """An image of 8 x 8 pixels from 0 to 16 as 64 characters, row by row."""
    return "".join(INK[round(value)] for value in pixels.flatten().tolist())


def moving_labels(epochs: int = 42) -> dict:
    """The run of chapter 9, seed 0: soft labels of the first sixteen images after each epoch."""
    split = data.load("digits", noise="one-target", rate=0.4, meta_size=100, seed=0)
    model = models.MLP(64, 10, seed=0)
    warm_up = {"epochs": 8, "schedule": "constant", "evaluate_every": 8}
    fit(CrossEntropy(), model, split, seed=0, **warm_up, **QUIET)
    method = MSLG(split.train.y, 10, **presets.MSLG_DIGITS.method)
    kept = [method.soft_labels()]

    def keep(epoch, model, method):
        kept.append(method.soft_labels().cpu())
        return {}

    training = {**presets.MSLG_DIGITS.training, "evaluate_every": epochs, **QUIET}
    fit(method, model, split, epochs=epochs, seed=0, on_epoch=keep, **training)
    shares = [metrics.label_recovery(soft, split.train.y, split.true_labels) for soft in kept]
    wrong = int(split.wrong.sum())
    right = len(split.train) - wrong
    first = torch.stack(kept)[:, :COUNT]  # (epochs + 1, 16, 10)
    return {
        "start": 8,  # epochs of cross-entropy before the first label moves
        "samples": len(split.train),
        "checked": len(split.meta),
        "wrong": wrong,
        "mended": [round(wrong * share["recovered"]) for share in shares],
        "spoilt": [round(right * share["destroyed"]) for share in shares],
        "pictures": [picture(pixels) for pixels in pixels_of(split.train.x)[:COUNT]],
        "given": split.train.y[:COUNT].tolist(),
        "true": split.true_labels[:COUNT].tolist(),
        "says": first.argmax(2).T.tolist(),
    }


def pixels_of(x: torch.Tensor) -> torch.Tensor:
    """Standardised training images as pixels from 0 to 16 again, which each image set reaches."""
    return 16 * (x - x.min()) / (x.max() - x.min())


def suspects(rate: float = 0.1) -> dict:
    """Sixteen doubtful digits, eight of them mislabelled by their looks, in a mixed order.

    They are the eight wrong and the eight right labels that a logistic regression, trained on the
    other four fifths of the images, finds least likely, but no given label
    more than twice of a kind. `predicted` is what it says itself.
    """
    pixels, true = load_digits(return_X_y=True)
    centres = np.stack([pixels[true == c].mean(0) for c in range(10)])
    distances = ((pixels[:, None] - centres) ** 2).sum(2)
    likeness = torch.from_numpy(-distances / 100).softmax(1)
    given = noise.feature_dependent(likeness, torch.from_numpy(true), rate).numpy()
    judge = LogisticRegression(C=0.1, max_iter=1000)
    held_out = cross_val_predict(judge, pixels / 16, given, cv=5, method="predict_proba")
    order = np.argsort(held_out[np.arange(len(given)), given], kind="stable")
    wrong, right = (few(order[(given != true)[order] == kind], given) for kind in (True, False))
    mixed = torch.randperm(COUNT, generator=seeding.generator(0, "suspects"))
    chosen = np.concatenate([wrong, right])[mixed]
    return {
        "pictures": [picture(pixels[i]) for i in chosen],
        "given": given[chosen].tolist(),
        "true": true[chosen].tolist(),
        "predicted": held_out[chosen].argmax(1).tolist(),
    }


def few(order: np.ndarray, given: np.ndarray, most: int = 2) -> np.ndarray:
    """The first half of sixteen in an order, with no given label more than `most` times."""
    kept: list[int] = []
    for i in order:
        if sum(given[k] == given[i] for k in kept) < most and len(kept) < COUNT // 2:
            kept.append(i)
    return np.array(kept)


def main() -> int:
    content = {"labels": moving_labels(), "suspects": suspects()}
    moving.STORED.write_text(moving.text(content), "utf-8", newline="\n")
    print(f"{moving.STORED.relative_to(ROOT)}: {moving.STORED.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
