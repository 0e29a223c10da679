"""The stacks of a task that is a container: what has them is run inside, in its /bin/sh."""

from collections.abc import Collection

from launcher.engine import Engine
from launcher.errors import HostError
from launcher.execution import output
from launcher.stacks import Process, Stacks, py_spy_answer, py_spy_command, ways

# Lists the processes of a container as `_parsed` reads them; needs /bin/sh alone.
_LIST = """
for d in /proc/[0-9]*; do
  n= s= c=
  while read -r key value; do
    case $key in Name:) n=$value;; State:) s=${value%% *};; SigCgt:) c=$value;; esac
  done 2>/dev/null < $d/status || continue
  e=$(readlink $d/exe 2>/dev/null); e=${e##*/}
  echo "${d#/proc/} $s $c ${e:-$n}"
done
if command -v py-spy >/dev/null; then echo py-spy; fi
"""


def dump(engine: Engine, container_id: str, announced: Collection[int] = ()) -> Stacks:
    """Have the stacks of a task that is a container.

    announced: the processes of which markers said that they may be asked, by the container's own
        numbers.
    """
    try:
        return _dump(engine, container_id, announced)
    except HostError as error:
        return Stacks(problems=(str(error),))


def _dump(engine: Engine, container_id: str, announced: Collection[int]) -> Stacks:
    listed = output(engine, container_id, "sh", "-c", _LIST)
    lines = listed.splitlines()
    processes = tuple(process for line in lines if (process := _parsed(line)))
    if not processes:
        why = lines[0] if lines else "it printed nothing"
        return Stacks(problems=(f"the container does not list its processes: {why}",))
    found = ways(processes, announced, has_py_spy="py-spy" in lines)
    texts, problems = [], list(found.problems)
    for pid in found.ask:
        told = output(engine, container_id, "sh", "-c", f"kill -USR1 {pid}")
        problems += told.splitlines()
    for pid in found.read:
        told = output(engine, container_id, *py_spy_command("py-spy", pid))
        text, problem = py_spy_answer(told, pid)
        texts.append(text)
        problems += [problem] if problem else []
    return Stacks("".join(texts), tuple(problems))


def _parsed(line: str) -> Process | None:
    parts = line.split(" ", 3)
    if len(parts) < 4 or not parts[0].isdecimal():
        return None
    try:
        return Process(int(parts[0]), parts[1], int(parts[2] or "0", 16), parts[3])
    except ValueError:
        return None
