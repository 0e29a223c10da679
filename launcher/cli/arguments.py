"""The options of each command. Those of a run are read by getopt, which ends at the first word
that is no option and costs a third of argparse; the commands' own are argparse's."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from launcher.errors import InputError, nearest
from launcher.lean import without
from launcher.option import Option

with without("gettext"):  # its translations of two messages cost more than the rest of it
    import getopt

if TYPE_CHECKING:
    from argparse import ArgumentParser

_CLUSTER = "whose hosts are asked; default: ./cluster.yaml"
VERBS = ("list", "status", "logs", "stop", "delete")  #: of jobs on a platform
PREFLIGHTS = ("auto", "full", "none")
STRATEGIES = ("auto", "multi_worker_mirrored", "parameter_server")


RUN_OPTIONS = (
    Option("cluster", "FILE", "the cluster to start"),
    Option("single", None, "one task on this machine"),
    Option("image", "IMAGE", "the image of a single task: it runs in a container"),
    Option("strategy", "NAME", "how to train", STRATEGIES),
    Option("dry-run", None, "print the plan, start nothing"),
    Option("hosts", None, "with --dry-run: ask the hosts for ports and GPUs"),
    Option("detach", None, "return once it runs; supervise it in the background"),
    Option("resume", None, "go on with the last run of this command that did not succeed"),
    Option("preflight", "HOW", "how much of the hosts is checked before", PREFLIGHTS),
    Option("wait", None, "queue for GPUs and ports that other runs hold"),
    Option("keep", None, "leave containers and volumes where they are"),
    Option("runs-dir", "DIR", "where runs are kept"),
    Option("uai-args", None, "the platform's arguments for any script"),
    Option("json", None, "print as JSON"),
)


SUBMIT_OPTIONS = (
    Option("platform", "NAME", "the platform: kubernetes, slurm, uai, or another package's"),
    Option("cluster", "FILE", "what to run there (default: ./cluster.yaml)"),
    Option("strategy", "NAME", "how to train, over the file's", STRATEGIES),
    Option("dry-run", None, "print exactly what would be sent, and send nothing"),
    Option("wait", None, "return when the job has ended, with its exit code"),
    Option("runs-dir", "DIR", "where what belongs to a run is kept"),
    Option("uai-args", None, "the platform's arguments for a script named by path too"),
    Option("json", None, "print as JSON"),
)

PACK_OPTIONS = (
    Option("tag", "NAME", "the image's name, REGISTRY/NAME (default: the file's image)", None, "t"),
    Option("file", "FILE", "the Dockerfile (default: as launch build; none: FROM the file's image)",
           None, "f"),
    Option("context", "DIR", "whose files the Dockerfile may copy (default: .)"),
    Option("notebook", "NB.ipynb", "make the trainer from it: instead of TRAINER, -- ARGS"),
    Option("submit", None, "submit the run, instead of printing what would be sent"),
    *(option for option in SUBMIT_OPTIONS if option.name != "dry-run"),
)  # fmt: skip


class Words(NamedTuple):
    """A command line: the options of a run, and the words from the first that is none of them.

    separated: whether `--` stood before `rest`.
    """

    options: dict[str, str]
    rest: list[str]
    separated: bool


def parse(
    words: Sequence[str], options: Sequence[Option] = RUN_OPTIONS, command: str = ""
) -> Words:
    """Return the parts of a command line. Raises InputError for what is none of `options`."""
    names = [f"{option.name}=" if option.value else option.name for option in options]
    letters = {f"-{option.letter}": option for option in options if option.letter}
    short = "".join(f"{o.letter}:" if o.value else o.letter for o in letters.values())
    try:
        found, rest = getopt.getopt(list(words), f"h{short}", [*names, "help"])
    except getopt.GetoptError as error:
        known = [f"--{option.name}" for option in options]
        hint = nearest(f"--{error.opt}", known)
        see = f"launch {command} --help".replace("  ", " ")
        raise InputError(f"{error.msg}{hint} (see {see})") from None
    chosen = {
        "help" if name == "-h" else letters[name].name if name in letters else name[2:]: value
        for name, value in found
    }
    for option in options:
        given = chosen.get(option.name)
        if given is not None and option.choices and given not in option.choices:
            among = ", ".join(option.choices)
            raise InputError(f"--{option.name}: expected one of {among}, got {given!r}")
    taken = words[: len(words) - len(rest)]
    return Words(chosen, rest, taken[-1:] == ["--"])


def parser(command: str) -> "ArgumentParser":
    """Return the parser of one command other than a run."""
    from argparse import ArgumentParser

    made = ArgumentParser(f"launch {command}", allow_abbrev=False)
    _COMMANDS[command](made)
    return made


def complete_parser() -> "ArgumentParser":
    """Return one parser of the whole command line, for completion."""
    from argparse import ArgumentParser

    whole = ArgumentParser("launch", allow_abbrev=False)
    for option in RUN_OPTIONS:
        flag = f"--{option.name}"
        if option.value:
            whole.add_argument(flag, metavar=option.value, help=option.help, choices=option.choices)
        else:
            whole.add_argument(flag, action="store_true", help=option.help)
    commands = whole.add_subparsers(dest="command")
    for name, add_options in _COMMANDS.items():
        add_options(commands.add_parser(name, allow_abbrev=False))
    return whole


def _check(to: "ArgumentParser") -> None:
    to.add_argument("file", nargs="?", metavar="FILE", default="cluster.yaml")
    to.add_argument("--schema", action="store_true", help="print the file's JSON Schema")
    to.add_argument("--hosts", action="store_true", help="check every host of the file too")
    to.add_argument("--json", action="store_true", help="print the problems as JSON")


def _tf_config(to: "ArgumentParser") -> None:
    to.add_argument("file", nargs="?", metavar="FILE|-")
    to.add_argument("--strategy", choices=STRATEGIES, default="auto")
    to.add_argument("--json", action="store_true", help="print the findings too, as JSON")


def _exec(to: "ArgumentParser") -> None:
    to.add_argument("--strategy", choices=STRATEGIES, help="default: $LAUNCH_STRATEGY, else auto")
    value = "a variable for the command"
    to.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help=value)
    alone = "without $TF_CONFIG: the one of a cluster without other tasks"
    to.add_argument("--alone", action="store_true", help=alone)
    together = "servers and the evaluator end with the chief that $LAUNCH_CHIEF names"
    to.add_argument("--end-together", action="store_true", help=together)
    to.add_argument("command", nargs="...", metavar="-- COMMAND")


def _build(to: "ArgumentParser") -> None:
    to.add_argument("context", nargs="?", metavar="CONTEXT", default=".", help="default: .")
    to.add_argument("-t", "--tag", dest="name", metavar="NAME", help="the image's name, untagged")
    file = "default: mnist.Dockerfile in CONTEXT, else Dockerfile"
    to.add_argument("-f", "--file", metavar="FILE", help=file)
    value = "a value for an ARG; KEY alone takes the environment's"
    to.add_argument("--build-arg", action="append", default=[], metavar="KEY=VALUE", help=value)
    to.add_argument("--pull", action="store_true", help="ask for newer base images")
    to.add_argument("--no-cache", action="store_true", help="do every step again")
    to.add_argument("--network", metavar="MODE", help="Docker's network mode for RUN")
    to.add_argument("--json", action="store_true", help="print the image as JSON")


def _push(to: "ArgumentParser") -> None:
    whole = "REGISTRY/NAME; without TAG: both tags of the latest build"
    to.add_argument("name", metavar="NAME[:TAG]", help=whole)
    to.add_argument("--json", action="store_true", help="print the digests as JSON")


def _pack(to: "ArgumentParser") -> None:
    for option in PACK_OPTIONS:
        flags = [f"-{option.letter}"] * bool(option.letter) + [f"--{option.name}"]
        if option.value:
            to.add_argument(*flags, metavar=option.value, help=option.help, choices=option.choices)
        else:
            to.add_argument(*flags, action="store_true", help=option.help)
    to.add_argument("trainer", nargs="...", metavar="TRAINER …")


def _hosts(to: "ArgumentParser") -> None:
    to.add_argument("action", nargs="?", choices=("list", "trust"), default="list")
    to.add_argument("host", nargs="*", metavar="HOST", help="default: every host of the file")
    to.add_argument("--cluster", metavar="FILE", default="cluster.yaml")
    to.add_argument("--yes", action="store_true", help="trust without asking")
    to.add_argument("--json", action="store_true", help="print the list as JSON")


def _run(to: "ArgumentParser", json_of: str, *, asks_hosts: bool = True) -> None:
    """Add what every command about one run takes."""
    named = "the run's name, or as much of it as is unique; its folder; `last`"
    to.add_argument("run", metavar="RUN", help=named)
    if asks_hosts:
        to.add_argument("--cluster", metavar="FILE", help="ask this cluster's hosts, not the run's")
    to.add_argument("--runs-dir", metavar="DIR", help="where runs are kept")
    to.add_argument("--json", action="store_true", help=f"print {json_of} as JSON")


def _collect(to: "ArgumentParser") -> None:
    _run(to, "what came home")
    to.add_argument("--keep", action="store_true", help="remove nothing on the hosts")


def _ps(to: "ArgumentParser") -> None:
    to.add_argument("--cluster", metavar="FILE", help=_CLUSTER)
    to.add_argument("--runs-dir", metavar="DIR", help="where runs are kept")
    to.add_argument("--all", action="store_true", help="those too of which nothing is left to do")
    to.add_argument("--json", action="store_true", help="print the runs as JSON")


def _logs(to: "ArgumentParser") -> None:
    _run(to, "each line")
    to.add_argument("task", metavar="TASK", nargs="?", help="such as worker:0; default: all tasks")
    to.add_argument("-f", "--follow", action="store_true", help="until the run has ended")
    to.add_argument("--stderr", action="store_true", help="what came on standard error alone")


def _resume(to: "ArgumentParser") -> None:
    _run(to, "the report", asks_hosts=False)
    to.add_argument("--detach", action="store_true", help="supervise it in the background")


def _attach(to: "ArgumentParser") -> None:
    _run(to, "the report")


def _stop(to: "ArgumentParser") -> None:
    _run(to, "how it ended")


def _gc(to: "ArgumentParser") -> None:
    to.add_argument("--cluster", metavar="FILE", help=f"{_CLUSTER}, else this machine alone")
    to.add_argument("--runs-dir", metavar="DIR", help="where runs are kept")
    to.add_argument("--dry-run", action="store_true", help="say what would go, remove nothing")
    older = "what nothing here vouches for, and synced data: only from this age (default: 168)"
    to.add_argument("--older", metavar="HOURS", type=_hours, default=168.0, help=older)
    to.add_argument("--json", action="store_true", help="print what was removed as JSON")


def _hours(text: str) -> float:
    hours = float(text)
    if not 0 <= hours < float("inf"):
        raise ValueError
    return hours


def _submit(to: "ArgumentParser") -> None:
    to.add_argument("verb", choices=VERBS, help="what to do with the jobs that are there")
    to.add_argument("job", nargs="?", metavar="JOB", help="as it was called when submitted")
    to.add_argument("--platform", metavar="NAME", required=True)
    to.add_argument("--cluster", metavar="FILE", help="whose `platforms:` to use")
    to.add_argument("-f", "--follow", action="store_true", help="logs: until the job has ended")
    to.add_argument("--json", action="store_true", help="print as JSON")


def _completion(to: "ArgumentParser") -> None:
    to.add_argument("shell", choices=("bash", "zsh", "tcsh"))


_COMMANDS: dict[str, Callable[["ArgumentParser"], None]] = {
    "check": _check,
    "tf-config": _tf_config,
    "exec": _exec,
    "build": _build,
    "push": _push,
    "pack": _pack,
    "collect": _collect,
    "attach": _attach,
    "resume": _resume,
    "stop": _stop,
    "hosts": _hosts,
    "ps": _ps,
    "logs": _logs,
    "gc": _gc,
    "submit": _submit,
    "completion": _completion,
}
