"""What the papers published

The papers' own text could not be read, so their figures are second-hand or from memory, and say so;
many are unknown. They are accuracies on test images in per cent, each with the rule by which its
epoch was taken where that is known. Ours are means over seeds, of the last epoch, with scale and
seeds of the experiment, and with the difference to what was published unless that is known to be of
another epoch. Runs at the scale `cores` are shorter, or of smaller networks or on fixed features,
and no reproduction.

Settings are read in the code that the authors released (`code`), read in others' code (`port`),
ours, or unknown. Hours of one run at full size are an estimate: the number of steps times the
seconds of a step on random images, so that reading images is left out. A core is one core of the
CPU that the record `paper_steps` names, a card a GPU.

Figures of competitors, sources and networks are in `experiments.published("mlnt")` and so on, those
of other works in `experiments.published("others")`. `python -m nlmeta list --published` prints this
section.
"""

from pathlib import Path

import pandas as pd

from nlmeta._checks import check_choice
from nlmeta.noise import CONVENTIONS

__all__ = ["CERTAINTIES", "COLUMNS", "RULES", "TITLES", "published", "read_figures"]

#: The four papers by the names of their files; ``"others"`` has other works.
TITLES = {"mlnt": "MLNT", "mlc": "MLC", "mslg": "MSLG", "clid_mu": "CLID-MU"}
COLUMNS = ["table", "dataset", "noise", "rate", "network", "method", "setting"]
COLUMNS += ["value", "spread", "rule", "source", "certainty"]

#: How sure a figure is. ``"read in logs"`` are numbers that a released program has written.
CERTAINTIES = ("read in the paper", "read in logs", "second-hand", "from memory", "unknown")

#: The epoch that a figure is of. Five epochs of lowest divergence predict together.
RULES = ["last epoch", "best on validation", "best on noisy validation", "best on test"]
RULES += ["best on an unknown part", "lowest divergence", "unknown"]

#: Kinds of noise: ours where the convention is known.
NOISES = [*CONVENTIONS, "real", "unknown"]
NOISES += [f"{kind}, convention unknown" for kind in ("symmetric", "asymmetric")]


def published(paper: str) -> pd.DataFrame:
    """The figures of a paper, or of other works on the same experiments.

    Parameters
    ----------
    paper : {"mlnt", "mlc", "mslg", "clid_mu", "others"}
        The paper.

    Returns
    -------
    pandas.DataFrame
        A row for each figure: ``table``, ``dataset``, ``noise`` (as in `nlmeta.noise.CONVENTIONS`
        where the convention is known), ``rate`` (in [0, 1]), ``network``, ``method``, ``setting``
        (a column of the table, or what else it says), ``value`` (accuracy in per cent, missing
        where it is unknown), ``spread`` (standard deviation in points), ``rule`` (the epoch that it
        is of), ``source`` and ``certainty``.

    Raises
    ------
    ValueError
        There is no such paper, or its file breaks a rule.

    Examples
    --------
    >>> figures = published("mslg")
    >>> figures[["dataset", "value", "certainty"]].iloc[-2].tolist()
    ['food101n', 79.06, 'second-hand']
    """
    check_choice("paper", paper, [*TITLES, "others"])
    return read_figures(Path(__file__).parent / "published" / f"{paper}.csv")


def read_figures(path: Path) -> pd.DataFrame:
    """The figures of a file, after all of it was checked.

    Parameters
    ----------
    path : Path
        A file of comma-separated values with the columns that `published` describes.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    ValueError
        Columns are missing, a word is not allowed, a number is out of range, there is a value
        without certainty or one that is unknown, or a figure stands there twice.
    """
    words = {name: str for name in COLUMNS if name not in ("rate", "value", "spread")}
    figures = pd.read_csv(path, dtype=words, keep_default_na=False, na_values={})
    if list(figures) != COLUMNS:
        raise ValueError(f"{path} has the columns {list(figures)}; they must be {COLUMNS}")
    for name, most in (("rate", 1), ("value", 100), ("spread", 100)):
        figures[name] = pd.to_numeric(figures[name].replace("", None)).astype(float)
        wrong = figures[name].notna() & ~figures[name].between(0, most)
        _refuse(path, wrong, f"`{name}` must lie in 0 to {most}")
    for name, allowed in (("certainty", CERTAINTIES), ("rule", RULES), ("noise", NOISES)):
        wrong = ~figures[name].isin(allowed)
        _refuse(path, wrong, f"`{name}` must be one of {', '.join(map(repr, allowed))}")
    for name in ("table", "dataset", "network", "method", "source"):
        _refuse(path, figures[name] == "", f"`{name}` must not be empty")
    unknown = figures["value"].isna()
    _refuse(
        path,
        unknown != (figures["certainty"] == "unknown"),
        "`certainty` must be 'unknown' where there is no value, and nowhere else",
    )
    where = [name for name in COLUMNS if name not in ("value", "spread", "certainty")]
    _refuse(path, figures.duplicated(where), "a figure must stand there once")
    return figures


def _refuse(path: Path, wrong: pd.Series, rule: str) -> None:
    """Name the first line that breaks a rule; the heading is line 1."""
    if wrong.any():
        raise ValueError(f"{path}, line {int(wrong.to_numpy().argmax()) + 2}: {rule}")
