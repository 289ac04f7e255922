"""Where the chapters are: the one reader of `_toc.yml` that the tools and the tests share."""

from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).resolve().parents[2]


def entries(root: Path = ROOT) -> list[tuple[str, str]]:
    """Every page of the table of contents as (part, file without suffix), the root first."""
    toc = yaml.safe_load((root / "_toc.yml").read_text("utf-8"))
    pages = [("", toc["root"])]
    for part in toc["parts"]:
        pages += [(part["caption"], chapter["file"]) for chapter in part["chapters"]]
    return pages


def page_path(name: str, root: Path = ROOT) -> Path:
    """The source of a page of the table of contents: a notebook or a Markdown file."""
    for suffix in (".ipynb", ".md"):
        path = root / (name + suffix)
        if path.exists():
            return path
    raise FileNotFoundError(f"_toc.yml lists {name}, but there is no {name}.ipynb or {name}.md")


def notebooks(root: Path = ROOT) -> list[Path]:
    """The chapters, in the book's order: every page of the contents that is a notebook."""
    paths = [page_path(name, root) for _, name in entries(root)]
    return [path for path in paths if path.suffix == ".ipynb"]


def numbers(root: Path = ROOT) -> dict[str, int]:
    """Each chapter's number, by its name (`noise`): its place among the notebooks."""
    return {path.stem: place for place, path in enumerate(notebooks(root), start=1)}


def choose(names: list[str], root: Path = ROOT) -> list[Path]:
    """The chapters named (`noise`, `noise.ipynb` or `book/noise.ipynb`); all where none is."""
    chapters = notebooks(root)
    if not names:
        return chapters
    by_name = {path.stem: path for path in chapters}
    unknown = [name for name in names if Path(name).stem not in by_name]
    if unknown:
        raise ValueError(
            f"no chapter is called {', '.join(unknown)}; chapters are {', '.join(by_name)}"
        )
    return [by_name[Path(name).stem] for name in names]


def read(path: Path) -> nbformat.NotebookNode:
    """A notebook as stored, in the current format (4.5, with cell ids)."""
    return nbformat.read(path, as_version=4)


def tags(cell: nbformat.NotebookNode) -> set[str]:
    """The tags of a cell."""
    return set(cell.metadata.get("tags", []))
