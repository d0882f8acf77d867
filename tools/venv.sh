#!/bin/sh
# Build the virtual environment that `make` works in: sh tools/venv.sh FOLDER
#
# Takes the first Python that is 3.11 or later and can make one ($PYTHON, if set, is the only
# candidate), installs the versions locked in constraints.txt and the checkout itself, editable.
# A folder that holds a working environment is brought up to date, not made anew.
set -eu

folder=$1
root=$(cd "$(dirname "$0")/.." && pwd)
tried=${PYTHON:-python3.11 python3.12 python3.13 python3 python3.14}

fail() {
    printf 'mltwin: %s\n' "$1" >&2
    exit 1
}

recent() { # a candidate may be there and not run: version managers leave such stubs
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

version() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'
}

find_python() { # sets `python`
    without_venv=
    for candidate in $tried; do
        recent "$candidate" || continue
        if "$candidate" -c 'import venv, ensurepip' >/dev/null 2>&1; then
            python=$candidate
            return
        fi
        without_venv=${without_venv:-$candidate}
    done
    if [ -n "$without_venv" ]; then
        fail "$without_venv has no venv module; run: apt install python$(version "$without_venv")-venv"
    fi
    fail "no Python 3.11 or later among: $tried; install one, or run: make PYTHON=/path/to/python3"
}

works() {
    recent "$folder/bin/python" && "$folder/bin/python" -m pip --version >/dev/null 2>&1
}

install() {
    "$folder/bin/python" -m pip install -qq --no-input --disable-pip-version-check \
        --constraint "$root/constraints.txt" "$@" ||
        fail "pip could not install the packages of constraints.txt (its message is above; is the machine online?)"
}

if works; then
    echo "mltwin: bringing $folder up to date with constraints.txt"
else
    find_python
    echo "mltwin: building $folder with Python $(version "$python") (once, about a minute)"
    "$python" -m venv --clear "$folder" || fail "$python could not make $folder"
fi
# setuptools first, so that the build of the checkout uses the locked one.
install setuptools
install --no-build-isolation --editable "$root[dev]"
