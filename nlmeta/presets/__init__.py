"""Settings as data: one frozen `Preset`, with its source, for each published or released setting.

Every preset says how certain its values are: ``published`` (printed in the paper), ``code`` (read
in the authors' release), ``port`` (read in a re-implementation by others that follows the paper, if
the authors released none) or ``ours`` (found here; the source names the data and the rule).

A preset has up to four parts. `method` holds arguments of the method,
``MLC(10, **presets.MLC_DIGITS.method)``, and `training` arguments of `nlmeta.fit`. `data` holds
arguments of `nlmeta.data.load` if the release has something unusual, such as a meta set of test
images. `protocol` describes the rest: network, augmentation, the authors' selection rule.

Settings that no source has are missing: those of MLC for MNIST, CIFAR-100, Clothing1M and Twitter
were never released.
"""

from collections.abc import Mapping
from types import MappingProxyType

import pandas as pd

from nlmeta.presets.base import PARTS, Certainty, Preset
from nlmeta.presets.clid_mu import (
    CLID_MU_ANIMAL10N,
    CLID_MU_CIFAR_MULTIPLIERS,
    CLID_MU_CIFAR_WEIGHTS,
    CLID_MU_CLOTHING1M,
    CLID_MU_DIVIDEMIX_CIFAR,
    CLID_MU_SEMI_CIFAR10,
)
from nlmeta.presets.digits import CLID_MU_DIGITS, DIGITS, MLC_DIGITS, MLNT_DIGITS, MSLG_DIGITS
from nlmeta.presets.label_head import (
    META_LABEL_CORRECTION_CIFAR10,
    META_LABEL_CORRECTION_CLOTHING1M,
    META_LABEL_NET_CIFAR10,
    META_LABEL_NET_CLOTHING1M,
    META_LABEL_NET_FOOD101N,
)
from nlmeta.presets.mlc import MLC_CIFAR10
from nlmeta.presets.mlnt import MLNT_CIFAR10, MLNT_CLOTHING1M_2018, MLNT_CLOTHING1M_HEAD
from nlmeta.presets.mslg import MSLG_CIFAR10, MSLG_CLOTHING1M, MSLG_FOOD101N

__all__ = [
    "ALL",
    "CLID_MU_ANIMAL10N",
    "CLID_MU_CIFAR_MULTIPLIERS",
    "CLID_MU_CIFAR_WEIGHTS",
    "CLID_MU_CLOTHING1M",
    "CLID_MU_DIGITS",
    "CLID_MU_DIVIDEMIX_CIFAR",
    "CLID_MU_SEMI_CIFAR10",
    "DIGITS",
    "META_LABEL_CORRECTION_CIFAR10",
    "META_LABEL_CORRECTION_CLOTHING1M",
    "META_LABEL_NET_CIFAR10",
    "META_LABEL_NET_CLOTHING1M",
    "META_LABEL_NET_FOOD101N",
    "MLC_CIFAR10",
    "MLC_DIGITS",
    "MLNT_CIFAR10",
    "MLNT_CLOTHING1M_2018",
    "MLNT_CLOTHING1M_HEAD",
    "MLNT_DIGITS",
    "MSLG_CIFAR10",
    "MSLG_CLOTHING1M",
    "MSLG_DIGITS",
    "MSLG_FOOD101N",
    "Certainty",
    "Preset",
    "table",
]

#: Every preset by its name, in alphabetical order.
#:
#: :meta hide-value:
ALL: Mapping[str, Preset] = MappingProxyType(
    {name: globals()[name] for name in __all__ if isinstance(globals().get(name), Preset)}
)


def table() -> pd.DataFrame:
    """The values and the source of each preset.

    Returns
    -------
    DataFrame
        One row per preset with the columns `name`, `certainty`, `source`, `commit`, `date` (missing
        if no commit was read) and `values`, a text such as "method: virtual_lr=0.1".
    """
    columns = ("certainty", "source", "commit", "date")
    rows = [
        {"name": name, **{key: getattr(preset, key) for key in columns}, "values": _values(preset)}
        for name, preset in ALL.items()
    ]
    return pd.DataFrame(rows)


def _values(preset: Preset) -> str:
    parts = {part: getattr(preset, part) for part in PARTS}
    texts = {
        part: ", ".join(f"{key}={value!r}" for key, value in values.items())
        for part, values in parts.items()
    }
    return "; ".join(f"{part}: {text}" for part, text in texts.items() if text)
