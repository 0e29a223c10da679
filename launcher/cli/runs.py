"""Which run a word on the command line means."""

import os

from launcher.errors import InputError, Problem, nearest

LAST = "last"


def folder_of(word: str, runs_dir: str | None) -> str:
    """Return the folder of the run that `word` names: its name or its beginning, a path, `last`.

    Raises:
        InputError: no run is meant, or several are.
    """
    if os.sep in word:
        return _checked(os.path.abspath(word))
    runs = os.path.abspath(runs_dir or os.environ.get("LAUNCH_RUNS") or "runs")
    try:
        with os.scandir(runs) as entries:
            names = sorted(e.name for e in entries if os.path.exists(f"{e.path}/plan.json"))
    except OSError as error:
        raise InputError(Problem(runs, f"cannot be read: {error.strerror}")) from None
    if word == LAST and names:
        return max((f"{runs}/{name}" for name in names), key=os.path.getmtime)
    meant = [name for name in names if name == word] or [n for n in names if n.startswith(word)]
    if not meant:
        raise InputError(Problem(word, f"no run in {runs}{nearest(word, names)}"))
    if len(meant) > 1:
        raise InputError(Problem(word, f"means several runs: {', '.join(meant)}"))
    return f"{runs}/{meant[0]}"


def _checked(path: str) -> str:
    if not os.path.exists(f"{path}/plan.json"):
        raise InputError(Problem(path, "is no run's folder"))
    return path
