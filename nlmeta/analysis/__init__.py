"""Analysis after training: suspects, corrected labels, and all that a method has learned.

Every result is a pandas frame with the reader's own ids, ready for ``to_csv``: suspect labels and
their scores, proposed labels, the learned transition matrix, weights and soft labels. There are
also functions to and from the conventions of cleanlab. The true labels are never used, even if a
split has them.

A method returns what it has learned by `Method.learned_transition`, `Method.learned_labels` and
`Method.sample_weights`, so the functions here also work for a method of your own that has them.
"""

from nlmeta.analysis.cleanlab import from_cleanlab, label_issues, pred_probs, to_cleanlab
from nlmeta.analysis.labels import corrected_labels, suspects
from nlmeta.analysis.learned import learned_soft_labels, learned_transition, learned_weights
from nlmeta.analysis.mixture import LossMixture, fit_loss_mixture

__all__ = [
    "LossMixture",
    "corrected_labels",
    "fit_loss_mixture",
    "from_cleanlab",
    "label_issues",
    "learned_soft_labels",
    "learned_transition",
    "learned_weights",
    "pred_probs",
    "suspects",
    "to_cleanlab",
]
