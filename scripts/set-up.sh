# Sourced by the scripts beside it: `set_up EXTRA…` makes .venv with the project and what those
# extras name (pyproject.toml), once for each state of pyproject.toml. Without an NVIDIA GPU the
# extra `tensorflow` stands for the CPU build, with one for the CUDA build.

_python_is_right() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

_find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if _python_is_right "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    found=$("${PYTHON:-python3}" -c 'import platform; print(platform.python_version())' 2>/dev/null) ||
        found="none"
    echo "launch needs Python 3.11, 3.12 or 3.13, for which TensorFlow has wheels." >&2
    echo "Found: ${PYTHON:-python3}: $found. Install one of them, or name it:" >&2
    echo "  PYTHON=/path/to/python3.12 $0" >&2
    return 1
}

_make_venv() {
    "$1" -m venv .venv >/dev/null 2>&1 && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        # Debian keeps the part of venv that installs pip in a package of its own.
        apt-get update -qq && apt-get install -y -qq "python$(_minor "$1")-venv" >/dev/null
    fi
    "$1" -m venv --clear .venv && return
    echo "A virtual environment could not be made. On Debian and Ubuntu:" >&2
    echo "  apt-get install python$(_minor "$1")-venv" >&2
    return 1
}

_minor() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'
}

set_up() {
    build=tensorflow
    nvidia-smi -L 2>/dev/null | grep -q '^GPU ' && build=gpu
    extras=$build
    for extra; do
        [ "$extra" = tensorflow ] || extras=$extras,$extra
    done
    stamp=".venv/set-up-$extras-$(cksum <pyproject.toml | tr ' ' -)"
    # Whoever has more extras has these too.
    for done_stamp in .venv/set-up-"$extras"*-"${stamp##*"$extras"-}"; do
        [ -e "$done_stamp" ] && return
    done
    python=$(_find_python) || return
    echo "Setting up .venv with $($python --version), $extras (once; TensorFlow is 300 MB) …" >&2
    # CPU and CUDA builds do not stand beside each other, nor packages of two Pythons.
    if ! ls .venv/set-up-"$build"* >/dev/null 2>&1 || ! .venv/bin/python -c '' 2>/dev/null; then
        rm -rf .venv
        _make_venv "$python" || return
    fi
    PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip install --quiet -e ".[$extras]" || return
    .venv/bin/python -m compileall -q launcher trainers
    touch "$stamp"
}
