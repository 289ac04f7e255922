"""The table on the digits: the four methods beside all that could explain them away.

``python -m nlmeta.experiments.digits`` runs it and adds every run, as it ends, to a record that
comes with the package. Started again after a stop it goes on where it was.

The rule is the same for every row that has something to choose: six settings of the step sizes, for
a control as for a method. (Plain cross-entropy, the controls at rest and the rows that choose
epochs have the common setting; cross-entropy with six learning rates is a row of its own.) Each is
trained on the tuning seeds, and the one with the highest mean accuracy on 150 clean validation
images after the last epoch is taken. It is trained on the seeds of the table, which no choice has
seen, and tested after the last epoch. What uses no clean sample chooses once for each kind of
noise.

A clean validation set is a luxury in itself. Here everybody has it.
"""

from nlmeta.experiments.digits.report import RECORD, read, table

__all__ = ["RECORD", "read", "table"]
