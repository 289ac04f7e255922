"""Run every chapter, two at a time, and build the book that shows what they printed.

    python book/_tools/make_book.py

The chapters run in a copy of the sources, so the files of the repository stay as they are. The book
lies in `_build/html`. Where a cell fails, the other chapters still run, and no book is built.
`jupyter-book build .` makes the same book, one chapter after the other.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import nbformat
from chapters import ROOT, notebooks
from execute import run
from kernels import DEFAULTS

from nlmeta.experiments.machine import environment

STRICT = ["--all", "-W", "-n", "--keep-going"]
TABLE = re.compile(r"```\{nb-exec-table\}\n```")
PACKAGES = ["nlmeta", "torch", "torchvision", "numpy", "pandas", "scikit-learn", "matplotlib"]
PACKAGES += ["seaborn", "jupyter-book", "nbclient"]


def jupyter_book(place: Path, *options: str) -> list[str]:
    """The strict build of the sources in a folder, as a command of this Python on any system."""
    program = "from jupyter_book.cli.main import main; main()"  # wherever its program lies
    return [sys.executable, "-c", program, "build", str(place), *STRICT, *options]


@dataclass(frozen=True)
class Outcome:
    """How one chapter ran: when it began, in how many seconds, and what stopped it."""

    chapter: str
    title: str
    began: datetime
    seconds: float
    stopped: str


def copy_of_sources(root: Path, place: Path) -> None:
    """Copy what the book is built from; the copy shows stored outputs and runs nothing."""
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", ".ruff_cache")
    shutil.copytree(root / "book", place / "book", ignore=ignored)
    shutil.copy(root / "_toc.yml", place)
    config = (root / "_config.yml").read_text("utf-8")
    stored, found = re.subn(r"(execute_notebooks:) \w+", r"\1 'off'", config)
    if found != 1:
        raise ValueError("_config.yml must say `execute_notebooks` exactly once")
    (place / "_config.yml").write_text(stored, "utf-8")


def run_in_place(path: Path) -> Outcome:
    """Run a chapter and write its outputs into its file."""
    began = datetime.now(UTC)
    notebook, stopped, seconds = run(path)
    if not stopped:
        path.write_text(nbformat.writes(notebook) + "\n", "utf-8", newline="\n")
    title = notebook.cells[0].source.partition("\n")[0].lstrip("# ")
    return Outcome(path.stem, title, began, seconds, stopped)


def status(outcomes: list[Outcome], wall: float) -> str:
    """The table of the status page, and what the chapters ran on, as Markdown."""
    lines = ["| chapter | began (UTC) | seconds | |", "|---|---|---|---|"]
    for outcome in outcomes:
        link = f"[{outcome.title}]({outcome.chapter}.ipynb)"
        said = f"{outcome.began:%Y-%m-%d %H:%M}"
        lines.append(f"| {link} | {said} | {outcome.seconds:.0f} | every cell ran |")
    total = sum(outcome.seconds for outcome in outcomes)
    ran_on = environment()
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    lines += [
        "",
        f"Together {total / 60:.0f} minutes, two chapters at a time in {wall / 60:.0f}.",
        "",
        f"*Machine:* {ran_on['machine']}, {platform.system()}. "
        f"*Software:* Python {ran_on['python']}, {packages}.",
    ]
    return "\n".join(lines)


def write_status(page: Path, outcomes: list[Outcome], wall: float) -> None:
    """Put the table where the page asks Sphinx for one of its own."""
    table = status(outcomes, wall)
    text, found = TABLE.subn(lambda _: table, page.read_text("utf-8"))
    if found != 1:
        raise ValueError(f"{page.name} must have one empty `nb-exec-table`, and has {found}")
    page.write_text(text, "utf-8")


def build(root: Path = ROOT) -> int:
    """Run the chapters of `root` and build its book into `_build`; 0 if all went well."""
    place = root / "_build/sources"
    shutil.rmtree(root / "_build", ignore_errors=True)
    place.mkdir(parents=True)
    copy_of_sources(root, place)
    chapters = notebooks(place)
    print(f"Running {len(chapters)} chapters, two at a time", flush=True)
    began = datetime.now(UTC)
    outcomes = []
    with ProcessPoolExecutor(max_workers=2) as pool:
        for outcome in pool.map(run_in_place, chapters):
            said = "FAILED" if outcome.stopped else "ran"
            print(f"{outcome.chapter}: {said}, {outcome.seconds:.0f} s", flush=True)
            outcomes.append(outcome)
    failed = [outcome for outcome in outcomes if outcome.stopped]
    for outcome in failed:
        print(f"\n{outcome.chapter}:\n{outcome.stopped}", file=sys.stderr)
    if failed:
        names = ", ".join(outcome.chapter for outcome in failed)
        print(f"No book was built, for a cell failed in: {names}", file=sys.stderr)
        return 1
    write_status(place / "book/status.md", outcomes, (datetime.now(UTC) - began).total_seconds())
    return subprocess.run(jupyter_book(place, "--path-output", str(root)), check=False).returncode


if __name__ == "__main__":
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    sys.exit(build())
