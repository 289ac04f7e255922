"""One step of lookahead, and how its outcome depends on anything that enters only the loss.

The question behind every meta-learning method for noisy labels is: *if I took one gradient step
with this loss, would the network become better?* The loss depends on meta-parameters phi (a
transition matrix, soft labels, sample weights). With theta the network's parameters,
z = f(theta; x) its logits on the training batch, L(z; phi) the inner loss and M the outer loss, the
answer is the derivative of M(theta_hat) by phi,

    theta_hat = theta - lr * dL/dtheta          (4.1)  the virtual step
    v         = dM/dtheta at theta_hat          (4.2)  the outer gradient
    z_dot     = J v,  J = dz/dtheta at theta    (4.3)  the tangent of the logits
    dM/dphi   = -lr * d/dphi <dL/dz, z_dot>     (4.4)  the hypergradient, in the space of logits

(4.4) holds because phi enters L only behind the logits. So one Jacobian-vector product of the
network gives the derivative by *every* meta-parameter at once, and no graph of a gradient is ever
kept. All methods of this book have this shape except MLNT, whose meta-parameters are theta itself;
MLNT uses `trial_gradient`.

There are three ways to the same number. The argument `mode` chooses one:

===========  ==============================================  ============  ==================
mode         what it does                                    error         cost beside (4.2)
===========  ==============================================  ============  ==================
``"jvp"``    (4.3) by forward-mode differentiation           round-off     1 dual forward
``"fd"``     (4.3) by a central difference of two forwards   second order  2 forwards
``"exact"``  differentiates (4.1) itself                     round-off     1 double backward
===========  ==============================================  ============  ==================

A difference compares whole passes. It therefore contains what the other two modes leave out: parts
of the network that are held fixed for the gradient by ``detach`` or ``no_grad``, and the jumps
behind a straight-through gradient. For such a network ``"fd"`` has an error that no step size
removes, and a warning says so.

What a whole step costs depends on its sequence too. In forward passes of the network, where a
backward pass counts as two and a dual forward as three (cross-entropy is 3):

================  =========  ========  ==============  ==========================
sequence          ``"jvp"``  ``"fd"``  one-sided       graphs alive at one time
================  =========  ========  ==============  ==========================
``"look-first"``  11         10        9               2; 1 with ``recompute``,
                                                       for one more pass
``"act-first"``   9          8         7               1, and one copy of theta
================  =========  ========  ==============  ==========================

Looking first, as the papers do, takes the virtual step of (4.1), moves phi and then takes the
network's ordinary step with the new phi. Acting first, the ordinary step is the lookahead (`act`):
it costs no virtual step, and phi moves afterwards, for the next step. `Lookahead` has the choice.

Forward mode behind the logits and the sequence that acts first are in the released code of EMLC
(M. K. Taraday, C. Baskin, "Enhanced Meta Label Correction for Coping with Label Corruption", ICCV
2023). The general case, several steps unrolled, is MixFlow-MG (I. Kemaev et al., "Scalable
Meta-Learning via Mixed-Mode Differentiation", ICML 2025).

The methods use the modes ``"jvp"`` and ``"fd"``; ``"exact"`` is the form of the papers' code, kept
as the reference that the tests compare with. Chapter 4 derives all of this by hand. Pass a
`Lookahead` instead of a mode's name to choose which layers take part in the virtual step, or to
trade time for memory.

BatchNorm's running statistics move only in `forward_pass`, which the ordinary step needs anyway.
Every other pass works on copies that are thrown away.

If several processes share a batch, gradients by theta are summed over the processes here.
Everything else is as with one process; `nlmeta.distributed` explains this.

Read the files in this order: `hypergradient`, then `acting`, then `trials`, which only MLNT needs.
Below them lie `lookahead`, the options, `passes`, for networks of any kind, and the files for
PyTorch's quirks.
"""

from nlmeta.bilevel.acting import TakenStep, act
from nlmeta.bilevel.hypergradient import (
    Hypergradient,
    hypergradient,
    hypergradient_from_tangent,
    outer_gradient,
    tangent,
    virtual_step,
)
from nlmeta.bilevel.lookahead import MODES, SEQUENCES, Lookahead, Mode, StepSequence, recomputed
from nlmeta.bilevel.passes import (
    ForwardPass,
    forward_pass,
    parameters,
    same_random_numbers,
    with_parameters,
)
from nlmeta.bilevel.trials import (
    ORDERS,
    Order,
    mean_trial_gradient,
    trial_gradient,
    trial_gradients,
)

__all__ = [
    # the derivative of a virtual step, and its four steps
    "hypergradient",
    "Hypergradient",
    "virtual_step",
    "outer_gradient",
    "tangent",
    "hypergradient_from_tangent",
    "Lookahead",
    "Mode",
    "MODES",
    "StepSequence",
    "SEQUENCES",
    # the ordinary step as the lookahead
    "act",
    "TakenStep",
    # the derivative of trial steps
    "trial_gradient",
    "trial_gradients",
    "mean_trial_gradient",
    "Order",
    "ORDERS",
    # passes of a network
    "forward_pass",
    "ForwardPass",
    "recomputed",
    "same_random_numbers",
    "with_parameters",
    "parameters",
]
