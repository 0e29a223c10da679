"""What ends a task whose launcher is gone and does not come back: a shell beside it, if asked for.

The shell starts a watch and then becomes the task: the task's process, its signals, its output and
its exit code are what they would be without. The watch sees a file that the launcher writes anew
(the lease); when that has not changed for `orphan_s` it ends the task, by SIGTERM and, `grace_s`
later, by SIGKILL. It counts its own seconds, so no two clocks must agree. Only environment
variables with names that no shell can have get lost.
"""

import math

from launcher.cluster import Timeouts

SHELL = "/bin/sh"
CONTAINER_LEASE = "/run/launch/lease"

# The watch is no child of the task's, which may wait for any of its own. What is asked to end by
# others ends the watch too, where both have the same process group. It needs `sleep` as well.
_SCRIPT = """\
watch() {
    lease=$1 orphan_s=$2 grace_s=$3 task=$4 whom=$5 age=0 last= now=
    while [ "$age" -lt "$orphan_s" ]; do
        sleep 1 && kill -s 0 "$task" || return
        age=$((age + 1))
        if read -r now <"$lease" && [ "$now" != "$last" ]; then
            age=0 last=$now
        fi
    done
    trap '' TERM
    kill -s TERM -- "$whom"
    while [ "$grace_s" -gt 0 ] && kill -s 0 "$task"; do
        sleep 1
        grace_s=$((grace_s - 1))
    done
    kill -s KILL -- "$whom"
}
(watch "$1" "$2" "$3" "$$" "$4$$" </dev/null >/dev/null 2>&1 &)
shift 4
exec "$@"
"""


def period_s(timeouts: Timeouts) -> float | None:
    """Return how often the lease is written anew; None where nobody asks for it."""
    return None if timeouts.orphan_s is None else timeouts.orphan_s / 3


def watched(
    argv: tuple[str, ...], timeouts: Timeouts, lease: str, *, group: bool
) -> tuple[str, ...]:
    """Return the command that becomes `argv`, watched where that is asked for.

    lease: the file's path, as the task sees it.
    group: whether the task leads a process group, to be ended as a whole.
    """
    if timeouts.orphan_s is None:
        return argv
    limits = (str(math.ceil(timeouts.orphan_s)), str(math.ceil(timeouts.grace_s)))
    return (SHELL, "-c", _SCRIPT, "launch", lease, *limits, "-" if group else "", *argv)
