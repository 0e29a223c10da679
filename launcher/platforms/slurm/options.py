"""sbatch's options: which the script sets itself, and what would contradict it: users' own options
in cluster.yaml, the variables from which sbatch takes options too.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping

_TASKS = ("ntasks", "n", "gpus", "G", "gpus-per-task", "gpus-per-node")
_FIXED = ("comment", "chdir", "D", "output", "o", "error", "e", "input", "i", "open-mode",
          "signal", "array", "a", "wrap", "parsable")  # fmt: skip
# Options that the script sets, with the key of cluster.yaml that decides.
_OURS = {
    "job-name": "name", "J": "name", "time": "platforms.slurm.time", "t": "platforms.slurm.time",
    "partition": "platforms.slurm.partition", "p": "platforms.slurm.partition",
    "account": "platforms.slurm.account", "A": "platforms.slurm.account",
    "nodes": "platforms.slurm.nodes", "N": "platforms.slurm.nodes",
    "requeue": "platforms.slurm.requeue", "no-requeue": "platforms.slurm.requeue",
    "cpus-per-task": "cpus", "c": "cpus", "mem-per-cpu": "memory",
    **dict.fromkeys(_TASKS, "tasks"), **dict.fromkeys(_FIXED, ""),
}  # fmt: skip
_REFUSED = {
    **dict.fromkeys(("test-only", "help", "h", "usage", "version", "V"), "submits nothing"),
    **dict.fromkeys(("wait", "W"), "waits for the end of the job (see --wait)"),
    **dict.fromkeys(("clusters", "M"), "asks a cluster whose jobs are not looked for"),
}
_OWN = ("mem",)  # sbatch's own, whole, though they begin as one of ours does
_BARE = frozenset("HOQVWhksv")  # letters that take no value: others may stand behind them
_LETTERS = {"C": "constraint", "q": "qos", "x": "exclude", "w": "nodelist", "d": "dependency"}
_OPEN = ("time", "partition", "account")  # the site's, or a variable's, where the script has none
# Variables that are not called as their option, or ask in other words for what the script asks.
_VARIABLES = {"time": "SBATCH_TIMELIMIT", "array": "SBATCH_ARRAY_INX"}
_OTHERS = ("SBATCH_MEM_PER_NODE", "SBATCH_MEM_PER_GPU", "SLURM_CLUSTERS")
_WORD = re.compile(r"[^\s\"'\\#]+")


def is_word(text: str) -> bool:
    """Whether sbatch takes a value as it is: no space, no quote."""
    return text.isprintable() and _WORD.fullmatch(text) is not None


def problem(option: str) -> str:
    """Return what is wrong with a user's option; nothing for one that may stand in the script."""
    names = list(_names(option))
    if not names:
        return f"expected one option, such as --exclusive or --qos=long, got {option!r}"
    for name in names:
        if refused := _meant(name, _REFUSED):
            return f"{option}: with it sbatch {_REFUSED[refused]}"
        if ours := _meant(name, _OURS):
            key = f" (from the key {_OURS[ours]!r})" if _OURS[ours] else ""
            return f"{option}: the launcher itself sets it{key}"
    return ""


def sbatch_environ(environ: Mapping[str, str], options: Iterable[str]) -> Mapping[str, str]:
    """Return an environment of which sbatch takes nothing that is against the script's options.

    To sbatch its variables count for more than what the script says.
    """
    said = {_LETTERS.get(name, name) for option in options for name in _names(option)}
    ruled = {*_OURS, *_REFUSED} - set(_OPEN) | said
    variables = {_VARIABLES.get(n, f"SBATCH_{n.upper().replace('-', '_')}") for n in ruled}
    return {k: text for k, text in environ.items() if k not in variables and k not in _OTHERS}


def _names(option: str) -> Iterator[str]:
    """Yield the names in an option, several where letters stand together; none in no option."""
    try:
        words = shlex.split(option) if option.isprintable() else []
    except ValueError:
        words = []
    word = words[0] if len(words) == 1 else ""
    if word.startswith("--"):
        if name := word[2:].partition("=")[0]:
            yield name
    elif word.startswith("-"):
        for letter in word[1:]:
            yield letter
            if letter not in _BARE:
                return


def _meant(name: str, known: Iterable[str]) -> str | None:
    """Return which of some options a name means: getopt takes the beginning of a long one."""
    if len(name) == 1 or name in _OWN:
        return name if name in known else None
    return next((each for each in known if len(each) > 1 and each.startswith(name)), None)
