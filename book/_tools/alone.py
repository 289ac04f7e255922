"""Run each chapter alone, in an empty directory, and compare its outputs with the stored ones.

    python book/_tools/alone.py              # all chapters of _toc.yml
    python book/_tools/alone.py noise mlc    # these

This is what a reader on Colab has: one notebook and the installed package. nbval does the
comparison; afterwards its report is read, since a chapter that was not collected fails nothing.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from chapters import ROOT, choose
from kernels import DEFAULTS

TOOLS = Path(__file__).parent
CELL_SECONDS = 900  # on a busy machine the longest takes four minutes
RUN_SECONDS = 3600  # of all chapters together; what takes longer hangs


def passed_cells(report: Path) -> dict[str, int]:
    """Number of cells that ran and passed, per chapter, out of pytest's report."""
    cells: dict[str, int] = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        chapter = case.get("classname", "").split(".")[0]
        good = case.find("failure") is None and case.find("error") is None
        if good and case.find("skipped") is None:
            cells[chapter] = cells.get(chapter, 0) + 1
    return cells


def run(chapters: list[Path], root: Path = ROOT) -> int:
    """Copy, run and compare the chapters; 0 if every one of them ran and agreed."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.xml")
        place = Path(scratch, "chapters")
        for chapter in chapters:
            own = place / chapter.stem
            own.mkdir(parents=True)
            shutil.copy(chapter, own)
        command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env"]
        command += [f"--nbval-cell-timeout={CELL_SECONDS}", "-n", "2", "--dist", "loadfile"]
        command += [f"--nbval-sanitize-with={root / 'book/_tools/sanitize.cfg'}"]
        command += ["--durations=15", "-p", "no:cacheprovider", f"--junitxml={report}"]
        command += ["-p", "ipc_kernels"]
        paths = os.pathsep.join(filter(None, [str(TOOLS), os.environ.get("PYTHONPATH")]))
        command += ["--rootdir", str(place), str(place)]
        status = subprocess.run(
            command,
            cwd=place,
            check=False,
            timeout=RUN_SECONDS,
            env={**DEFAULTS, **os.environ, "PYTHONPATH": paths},
        ).returncode
        cells = passed_cells(report) if report.exists() else {}
    missing = [chapter.stem for chapter in chapters if not cells.get(chapter.stem)]
    if missing:
        print(f"No cell of these chapters ran and passed: {', '.join(missing)}", file=sys.stderr)
    if status or missing:
        return 1
    print(
        f"{len(cells)} of {len(chapters)} chapters ran alone and agree with their stored outputs."
    )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(run(choose(sys.argv[1:])))
    except (ValueError, FileNotFoundError, subprocess.TimeoutExpired) as error:
        sys.exit(str(error))
