"""The first program inside new namespaces: hides folders, gives up all rights, starts the command.

`confining` starts it by its file name. It imports nothing but Python's own, and its errors end the
command before any code of a submission has run.
"""

import ctypes
import json
import os
import sys

__all__: list[str] = []

BIND, RECURSIVE, NOSUID, NODEV = 0x1000, 0x4000, 0x2, 0x4
MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, READ_ONLY = 442, -100, 0x8000, 0x1
LIBC = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> None:
    if result != 0:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    texts = [text.encode() for text in (source, target, kind, options)]
    done = LIBC.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3])
    checked(done, f"cannot mount {target}")


def hide(hidden: list[str], kept: list[str]) -> None:
    """Cover folders with empty ones. What is kept shows through, unless it is hidden within."""
    handles = {path: os.open(path, os.O_PATH) for path in kept}
    covered: list[str] = []
    for path in sorted({*hidden, *kept}, key=lambda path: (path.count("/"), path)):
        below = any(path.startswith(f"{other}/") for other in covered)
        if path in handles and (below or path in hidden):
            os.makedirs(path, exist_ok=True)
            mount(f"/proc/self/fd/{handles[path]}", path, "", BIND | RECURSIVE)
        elif path in hidden and os.path.isdir(path):
            mount("tmpfs", path, "tmpfs", NOSUID | NODEV, "mode=0755,size=1m")
            covered.append(path)
    for handle in handles.values():
        os.close(handle)


def make_read_only() -> None:
    """Nothing that is mounted by now can be written to, whoever may write there otherwise."""
    attributes = (ctypes.c_uint64 * 4)(READ_ONLY, 0, 0, 0)
    call = [ctypes.c_long(MOUNT_SETATTR), ctypes.c_int(AT_FDCWD), b"/"]
    call += [ctypes.c_uint(AT_RECURSIVE), attributes, ctypes.c_size_t(32)]
    checked(LIBC.syscall(*call), "cannot make the file system read-only")


def main() -> None:
    plan = json.loads(sys.argv[1])
    hide(plan["hidden"], plan["kept"])
    os.makedirs(plan["scratch"], exist_ok=True)
    make_read_only()
    for path in (plan["scratch"], "/dev/shm"):
        if os.path.isdir(path):
            mount("tmpfs", path, "tmpfs", NOSUID | NODEV, f"mode=1777,size={plan['size']}")
    os.chdir(plan["scratch"])
    rights = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    if plan["user"] is not None:
        user = str(plan["user"])
        rights += ["--clear-groups", "--reuid", user, "--regid", user]
    os.execvp("setpriv", [*rights, *plan["command"]])


if __name__ == "__main__":
    main()
