"""A network for windows of words, as for the part-of-speech tags of tweets, and for short texts."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nlmeta._checks import check_count
from nlmeta.models.small import MLP
from nlmeta.seeding import seeded

__all__ = ["TextMLP"]

_SUMMED = 0.03  # the first size of vectors that are summed


class TextMLP(MLP):
    """A fully connected network with ReLU on the joined or summed word vectors of a window.

    Parameters
    ----------
    words : int or Tensor, shape (V, E)
        Number of words V, whose vectors are then learned with the network; or given vectors, which
        do not change (GLC's Twitter experiment).
    num_classes : int
        C, the number of classes.
    window : int
        Number of words in a sample. Default 3: a word and its two neighbours (GLC's code).
    dimension : int, optional
        E, the length of a word vector, if `words` is a number. Default 50 (GLC's code).
    hidden : sequence of int
        Widths of the hidden layers; the last is the width D of the features. Default (256, 256)
        (GLC's code).
    summed : bool
        Whether the vectors are added up, those of index 0 left out, so that the place of a word
        does not count. Learned vectors then begin at 0.03 of the usual size (ours), or SGD would
        hardly move them. Default False: they are joined.
    seed : int
        Seed of the initial weights and of learned word vectors.

    Notes
    -----
    Inputs are word indices: int64 of shape (n, window), from 0 to V - 1.
    """

    def __init__(
        self,
        words: int | Tensor,
        num_classes: int,
        *,
        window: int = 3,
        dimension: int | None = None,
        hidden: Sequence[int] = (256, 256),
        summed: bool = False,
        seed: int,
    ) -> None:
        check_count("window", window)
        if isinstance(words, Tensor):
            if words.ndim != 2 or not words.is_floating_point():
                raise ValueError(
                    f"`words` is {words.dtype} of shape {tuple(words.shape)}; given vectors must "
                    "be floating-point numbers of shape (V, E)"
                )
            if dimension is not None:
                raise ValueError(
                    "`dimension` is given, and `words` are vectors, which have one; leave it out"
                )
            vectors = nn.Embedding.from_pretrained(words.detach().clone(), freeze=True)
        else:
            dimension = 50 if dimension is None else dimension
            check_count("words", words)
            check_count("dimension", dimension)
            with seeded(seed, "word vectors"):
                vectors = nn.Embedding(words, dimension)
            if summed:
                vectors.weight.data *= _SUMMED
        width = vectors.embedding_dim * (1 if summed else window)
        super().__init__(width, num_classes, hidden, seed=seed)
        self.window = window
        self.body = nn.Sequential(_Sum(vectors) if summed else vectors, self.body)

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """`Network.forward` for word indices of shape (n, window)."""
        if x.dtype != torch.int64 or x.ndim != 2 or x.shape[1] != self.window:
            raise ValueError(
                f"`x` is {x.dtype} of shape {tuple(x.shape)}; word indices must be torch.int64 of "
                f"shape (n, {self.window})"
            )
        return super().forward(x, return_features)


class _Sum(nn.Module):
    """The sum of the vectors of a window, without those of index 0."""

    def __init__(self, vectors: nn.Embedding) -> None:
        super().__init__()
        self.vectors = vectors

    def forward(self, x: Tensor) -> Tensor:
        inside = (x > 0)[..., None]  # (n, window, 1)
        return (self.vectors(x) * inside).sum(1)  # (n, E)
