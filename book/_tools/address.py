"""Carry the repository's address from `_config.yml` to every place that needs it.

    python book/_tools/address.py                                  # apply what _config.yml says
    python book/_tools/address.py https://github.com/OWNER/NAME    # change it, then apply

`_config.yml` holds the address once. The badges and set-up cells of the chapters, the README, the
citation file and the package's metadata follow it; a test asks that nothing is left to follow.
"""

import re
import sys
from pathlib import Path

import nbformat
from chapters import ROOT

ADDRESS = re.compile(r"https://github\.com/([\w.-]+)/([\w.-]+?)(?:\.git)?/?")
BRANCH = "main"
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
COLAB = "https://colab.research.google.com/github"
FILES = ["README.md", "CONTRIBUTING.md", "CITATION.cff", "pyproject.toml", "_config.yml"]
# It prints nothing that could be compared, and in the book it is folded away.
SETUP_TAGS = ["setup", "nbval-ignore-output", "hide-cell"]
SETUP = """\
try:
    import google.colab  # noqa: F401  (only there does the next line install anything)
except ImportError:
    pass
else:
    import os

    spec = os.environ.get("NLMETA_SPEC", "git+{url}")
    %pip install -q --no-deps {{spec}}"""


def parse(url: str) -> tuple[str, str]:
    """Owner and name of a repository address."""
    match = ADDRESS.fullmatch(url)
    if not match:
        raise ValueError(f"`URL` is {url!r}; it must look like https://github.com/OWNER/NAME")
    return match.group(1), match.group(2)


def configured(root: Path = ROOT) -> str:
    """The address that `_config.yml` holds."""
    text = (root / "_config.yml").read_text()
    match = re.search(r"^repository:\n(?:  .*\n)*?  url: *(\S+)", text, re.MULTILINE)
    if not match:
        raise ValueError("_config.yml has no repository.url")
    return match.group(1)


def setup_source(url: str) -> str:
    """The set-up cell, the same in every chapter."""
    return SETUP.format(url=url)


def badge(url: str, chapter: str) -> str:
    """The line that opens a chapter on Colab."""
    owner, name = parse(url)
    notebook = f"{COLAB}/{owner}/{name}/blob/{BRANCH}/book/{chapter}.ipynb"
    return f"[![Open in Colab]({BADGE})]({notebook})"


def in_text(text: str, url: str, former: str) -> str:
    """`text` with every link to the repository, its pages and its chapters brought to `url`."""
    owner, name = parse(url)
    names = "|".join({re.escape(repository) for repository in (name, parse(former)[1], "nlmeta")})
    here = rf"[\w.-]+/(?:{names})(?![\w-])"
    text = re.sub(rf"https://github\.com/{here}", f"https://github.com/{owner}/{name}", text)
    text = re.sub(rf"{re.escape(COLAB)}/{here}", f"{COLAB}/{owner}/{name}", text)
    pages = rf"https://[\w-]+\.github\.io/(?:{names})(?![\w-])"
    return re.sub(pages, f"https://{owner}.github.io/{name}", text)


def in_chapter(notebook: nbformat.NotebookNode, chapter: str, url: str, former: str) -> None:
    """Write badge and set-up cell into a chapter; other links follow as in any text."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = in_text(cell.source, url, former)
    first = notebook.cells[0]
    line = re.compile(r"^\[!\[Open in Colab\].*$", re.MULTILINE)
    if line.search(first.source):
        first.source = line.sub(lambda _: badge(url, chapter), first.source, count=1)
    else:
        title, _, rest = first.source.partition("\n")
        first.source = f"{title}\n\n{badge(url, chapter)}\n\n{rest.lstrip()}".rstrip()
    code = next((cell for cell in notebook.cells if cell.cell_type == "code"), None)
    if code is None or "setup" not in code.metadata.get("tags", []):
        code = nbformat.v4.new_code_cell(id=f"{chapter}-setup")
        notebook.cells.insert(1, code)
    code.source = setup_source(url)
    code.metadata["tags"] = SETUP_TAGS


def rewritten(url: str, former: str, root: Path = ROOT) -> dict[Path, str]:
    """The files that do not yet agree with `url`, with the text they should have."""
    changes = {}
    for path in [*(root / name for name in FILES), *sorted((root / "book").glob("*.md"))]:
        if path.exists():
            text = path.read_text()
            changes[path] = (text, in_text(text, url, former))
    for path in sorted((root / "book").glob("*.ipynb")):
        text = path.read_text()
        notebook = nbformat.reads(text, as_version=4)
        before = nbformat.writes(notebook)
        in_chapter(notebook, path.stem, url, former)
        after = nbformat.writes(notebook)
        changes[path] = (text, text if after == before else after + "\n")
    return {path: after for path, (before, after) in changes.items() if before != after}


def main(arguments: list[str], root: Path = ROOT) -> None:
    former = configured(root)
    url = "https://github.com/" + "/".join(parse(arguments[0] if arguments else former))
    changes = rewritten(url, former, root)
    for path, text in changes.items():
        path.write_text(text)
        print(f"changed {path.relative_to(root)}")
    print(f"{len(changes)} files changed; the address is {url}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        sys.exit(str(error))
