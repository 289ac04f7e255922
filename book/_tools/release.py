"""Check that a tag may be released, and print what the changelog says of its version.

    python book/_tools/release.py v0.1.0
    python book/_tools/release.py v0.1.0 https://github.com/OWNER/NAME    # the address it must have

A release cannot be taken back, so the tag, the version, the changelog and the address are compared
before anything is published. Runs on a plain Python, so it imports the standard library alone.
"""

import argparse
import re
import sys
import tomllib
from pathlib import Path

from address import ROOT, UNDECIDED, configured, parse, read, rewritten


def notes(version: str, root: Path = ROOT) -> str | None:
    """The changelog's section on a version; None where there is none with a date."""
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n"
    section = re.search(
        rf"{heading}(.*?)(?=^## |^\[|\Z)", read(root / "CHANGELOG.md"), re.MULTILINE | re.DOTALL
    )
    return section[1].strip() if section else None


def complaints(tag: str, url: str | None = None, root: Path = ROOT) -> list[str]:
    """What speaks against releasing the files in `root` as `tag` of the repository `url`."""
    found = []
    version = tomllib.loads(read(root / "pyproject.toml"))["project"]["version"]
    if tag != f"v{version}":
        found.append(f"the tag is {tag}; the version in pyproject.toml is {version}")
    if not re.search(rf"^version: {re.escape(version)}$", read(root / "CITATION.cff"), re.M):
        found.append(f"CITATION.cff has another version than {version}")
    if notes(version, root) is None:
        found.append(f"CHANGELOG.md has no section '## [{version}] - YYYY-MM-DD'")
    address = parse(url or configured(root).url, tag)
    if address.owner == UNDECIDED:
        found.append("the address is not decided: run `make address URL=... REF=...`")
    elif rewritten(address, root):
        found.append(
            f"badges and set-up cells are not pinned to the tag: run `make address "
            f"URL={address.url} REF={tag}`, commit, and tag that commit"
        )
    return found


def main(arguments: list[str], root: Path = ROOT) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tag", metavar="TAG", help="the tag to be released, as in v0.1.0")
    parser.add_argument("url", nargs="?", metavar="URL", help="default: what _config.yml says")
    given = parser.parse_args(arguments)
    found = complaints(given.tag, given.url, root)
    if found:
        raise ValueError("\n".join([f"{given.tag} cannot be released:", *found]))
    print(notes(given.tag.removeprefix("v"), root))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        sys.exit(str(error))
