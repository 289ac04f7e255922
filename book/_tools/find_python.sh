#!/bin/sh
# Print the path of a Python 3.11 to 3.14 that can make a virtual environment.
# Usage: find_python.sh [PYTHON]   (an argument that is not empty is the only candidate)
set -u

suitable='
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 14):
    sys.exit("is Python %d.%d, which is not 3.11 to 3.14" % sys.version_info[:2])
try:
    import ensurepip, venv
except ImportError:
    sys.exit("cannot make virtual environments (no ensurepip; Debian and Ubuntu keep it in "
             "the package python%d.%d-venv)" % sys.version_info[:2])
print(getattr(sys, "_base_executable", None) or sys.executable)
'

if [ -n "${1:-}" ]; then
    candidates=$1
else
    candidates="python3.13 python3.12 python3.14 python3.11 python3 python"
fi

tried=""
for candidate in $candidates; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    if answer=$("$candidate" -c "$suitable" 2>&1); then
        echo "$answer"
        exit 0
    fi
    reason=$(printf '%s\n' "$answer" | head -n 1)
    tried="$tried
  $candidate: $reason"
done

{
    echo "nlmeta needs Python 3.11 to 3.14, and none was found that can be used."
    if [ -n "$tried" ]; then
        echo "Tried:$tried"
    else
        echo "Tried: $candidates (none of them is on the PATH)"
    fi
    echo "Install one, or name yours: make PYTHON=/path/to/python3.12 ..."
} >&2
exit 1
