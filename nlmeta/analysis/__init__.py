"""What to look at after training: suspects, corrected labels, and what a method has learned.

Everything comes as a pandas frame with the reader's own ids, ready for ``to_csv``: which given
labels are suspect and why, what they may be instead, the learned transition matrix, weights and
soft labels, and both ways to the conventions of cleanlab. The true labels are never looked at,
also where a split knows them.

What a method has learned it says itself, by `Method.learned_transition`, `Method.learned_labels`
and `Method.sample_weights`; so a method of your own that does so is seen as well.
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
