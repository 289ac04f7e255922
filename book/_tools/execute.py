"""Run chapters and store their outputs: the only way in which outputs get into the repository.

    python book/_tools/execute.py              # all chapters
    python book/_tools/execute.py noise mlc    # these

Each chapter runs in an empty directory of its own, two at a time. What is stored is what every
reader gets: no timings, no versions, no names. A chapter whose outputs hold an error, a progress
bar, a widget or a path of this machine is not stored, and its file stays as it was.
"""

import base64
import io
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import checks
import nbformat
from chapters import ROOT, choose, read, tags
from kernels import Manager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {"file_extension": ".py", "name": "python", "pygments_lexer": "ipython3"}
CELL_SECONDS = 1200  # on a busy machine the longest takes ten minutes


def clean(notebook: nbformat.NotebookNode, chapter: str) -> None:
    """Keep what belongs to the chapter, drop what belongs to the machine and the moment."""
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": LANGUAGE})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    number = 0
    seen: set[str] = set()
    for position, cell in enumerate(notebook.cells, start=1):
        if cell.get("id") in seen or not cell.get("id"):
            cell["id"] = f"{chapter}-{position}"
        seen.add(cell["id"])
        kept = {
            key: cell.metadata[key]
            for key in ("tags", "mystnb", "cellView")
            if key in cell.metadata
        }
        cell.metadata = nbformat.from_dict(kept)
        if cell.cell_type != "code":
            continue
        skipped = bool(checks.SKIP_TAGS & tags(cell))
        number += not skipped
        cell.execution_count = None if skipped else number
        for output in cell.outputs:
            output.pop("transient", None)
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
            if output.output_type == "execute_result":
                output.execution_count = cell.execution_count
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = smaller(data["image/png"])


def smaller(png: str) -> str:
    """A figure in 256 colours: it looks the same and takes a third of the room (base64)."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    small = io.BytesIO()
    picture.quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def run(path: Path) -> tuple[nbformat.NotebookNode, str, float]:
    """Run a chapter in an empty directory of its own.

    Returns
    -------
    tuple
        The notebook with its outputs, what stopped it (empty if nothing did), and the seconds.
    """
    notebook = read(path)
    stopped = ""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as empty:
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            kernel_manager_class=Manager,
            timeout=CELL_SECONDS,
            resources={"metadata": {"path": empty}},
            store_widget_state=False,
            record_timing=False,
            coalesce_streams=True,
        )
        try:
            client.execute()
        except CellExecutionError as error:
            stopped = str(error)
        except TimeoutError:
            stopped = f"a cell took more than {CELL_SECONDS} s"
    return notebook, stopped, time.perf_counter() - started


def execute(path: Path) -> tuple[list[str], float]:
    """Run one chapter and store it; return the reasons for not storing it, and the seconds."""
    notebook, stopped, seconds = run(path)
    if stopped:
        return [stopped], seconds
    clean(notebook, path.stem)
    complaints = checks.stored_outputs(notebook) + checks.counts(notebook)
    text = nbformat.writes(notebook) + "\n"
    size = len(text.encode())
    if size > checks.MOST_BYTES:
        complaints.append(f"it would have {size} bytes, more than {checks.MOST_BYTES}")
    if not complaints:
        fresh = path.with_suffix(".tmp")
        fresh.write_text(text, "utf-8", newline="\n")
        fresh.replace(path)
    return complaints, seconds


def main(names: list[str], root: Path = ROOT) -> int:
    chapters = choose(names, root)
    failed = []
    print(f"Running {len(chapters)} chapters, two at a time", flush=True)
    with ProcessPoolExecutor(max_workers=2) as pool:
        for path, (complaints, seconds) in zip(chapters, pool.map(execute, chapters), strict=True):
            outcome = "NOT STORED" if complaints else "stored"
            print(f"{path.relative_to(root)}: {outcome}, {seconds:.0f} s", flush=True)
            for complaint in complaints:
                print("   ", complaint)
            if complaints:
                failed.append(path.stem)
    if failed:
        print(f"Not stored: {', '.join(failed)}. Their files are as they were.", file=sys.stderr)
        return 1
    print(f"All {len(chapters)} chapters ran and are stored.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ValueError, FileNotFoundError) as error:
        sys.exit(str(error))
