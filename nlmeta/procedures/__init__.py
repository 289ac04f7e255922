"""Procedures that need more than one training run, or several epochs of one.

They are: baselines on the meta set, comparisons over seeds, MLNT's iterations with a mentor, the
choice of epochs without labels, estimates of the transition matrix, predictions out of sample, and
the distilled network behind feature-dependent noise. On fixed features two need no run at all: a
linear layer in closed form, and labels that are learned through it.
"""

from nlmeta.procedures.baselines import fine_tune, train_on_meta_set
from nlmeta.procedures.comparison import compare, paired_difference
from nlmeta.procedures.cross_predictions import cross_predictions
from nlmeta.procedures.distillation import distillation_loss, distilled_predictions
from nlmeta.procedures.epochs import (
    SELECTORS,
    EpochScores,
    PredictionChanges,
    chosen_epoch,
    regret,
)
from nlmeta.procedures.mentor import Iteration, kept_by_mentor, label_confidence, mlnt_iterations
from nlmeta.procedures.purified_labels import (
    PurifiedLabels,
    purified_labels,
    ridge_label_gradient,
)
from nlmeta.procedures.ridge import ridge
from nlmeta.procedures.selection import Ensemble, KeepEpochs, divergence_score
from nlmeta.procedures.transition import transition_from_anchors, transition_from_clean

__all__ = [
    "SELECTORS",
    "Ensemble",
    "EpochScores",
    "Iteration",
    "KeepEpochs",
    "PredictionChanges",
    "PurifiedLabels",
    "chosen_epoch",
    "compare",
    "cross_predictions",
    "distillation_loss",
    "distilled_predictions",
    "divergence_score",
    "fine_tune",
    "kept_by_mentor",
    "label_confidence",
    "mlnt_iterations",
    "paired_difference",
    "purified_labels",
    "regret",
    "ridge",
    "ridge_label_gradient",
    "train_on_meta_set",
    "transition_from_anchors",
    "transition_from_clean",
]
