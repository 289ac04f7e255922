"""What needs more than one training run: baselines on the meta set, comparisons over seeds."""

from nlmeta.procedures.baselines import fine_tune, train_on_meta_set
from nlmeta.procedures.comparison import compare, paired_difference

__all__ = ["compare", "fine_tune", "paired_difference", "train_on_meta_set"]
