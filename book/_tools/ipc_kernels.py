"""A plugin of pytest: kernels that nbval starts talk through files, see `kernels.py`."""

from kernels import manager
from nbval import kernel

kernel.KernelManager = manager
