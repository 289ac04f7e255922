"""Part-of-speech tags of tweets, another of MLC's datasets: 14,619 tokens, 25 tags.

The task is that of GLC (Hendrycks et al., NeurIPS 2018): a word with its two neighbours. MLC's
settings were never released; network and batch are GLC's, the rest is ours, as for MNIST. Word
vectors are learned with the network.
"""

from nlmeta.experiments.mnist import TRAINING, entries, problems
from nlmeta.experiments.training_runs import TrainingTable

__all__ = ["TWITTER"]

TWITTER = TrainingTable(
    name="twitter",
    about="Does a learned T help on tags of tweets, beside one that is known or estimated?",
    problems=problems(
        {"name": "twitter", "meta_size": 500},
        {"name": "text_mlp"},
        {**TRAINING, "batch_size": 64},
    ),
    entries=entries(epochs=TRAINING["epochs"], meta_batch_size=128),
    seeds=range(5),
    tuning_seeds=(100,),
)
