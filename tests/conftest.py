"""What all tests share: the root, one random state, closed figures, and the rule for GPU tests."""

import os
import random
import sys
from pathlib import Path

import pytest
from chromium import browser  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(autouse=True)
def _chance_starts_anew():
    """A test that forgets to seed has one outcome, whatever ran before it in its process."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def _figures_are_closed():
    """No test meets a figure of another, whichever files happen to share a process."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def pytest_collection_modifyitems(items):
    """Without a CUDA device the tests marked `gpu` are skipped, unless they were asked for."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked or os.environ.get("NLMETA_REQUIRE_GPU") == "1":
        return
    import torch  # not needed by the tests of the pages alone

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="there is no CUDA device"))
