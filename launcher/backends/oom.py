"""Whether the kernel has killed for lack of memory: it counts that, and tells no parent.

A process that the kernel kills for lack of memory looks like any that was sent SIGKILL. The control
group of this process, in which all that it starts lives too, counts what was killed in it; where
it has no counter (the root group, no control groups) the whole machine's stands in.
"""

import contextlib
import re

REASON = "killed by the kernel for lack of memory"
_GROUPS = "/proc/self/cgroup"
_COUNTER = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def kills() -> int:
    """Return how many processes were killed so far; only a difference means anything."""
    for path in (*_of_own_group(), "/proc/vmstat"):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
            found = _COUNTER.search(file.read())
            if found:
                return int(found[1])
    return 0


def _of_own_group() -> list[str]:
    """Return the files that may count in the control group of this process, versions 1 and 2."""
    try:
        with open(_GROUPS, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    files = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            files.append(f"/sys/fs/cgroup/memory{path}/memory.oom_control")
        elif not controllers:
            files.append(f"/sys/fs/cgroup{path}/memory.events")
    return files
