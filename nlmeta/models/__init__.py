"""Networks. Each returns logits, and its penultimate features when asked for them.

Their first weights come from a seed; building one leaves PyTorch's global generator as it was.
"""

from nlmeta.models.features import with_features
from nlmeta.models.small import MLP, SmallCNN

__all__ = ["MLP", "SmallCNN", "with_features"]
