"""Processes of a run whose launcher is gone: they are ended before the run goes on.

Two attempts of one task must never live at once: both would write the same checkpoints.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable

from launcher import strategy as rules
from launcher.plan import Plan
from launcher.runs_here import LivingProcess, processes_of
from launcher.task import TaskId

_LOOK_S = 0.05
_KILLED_S = 5.0


def end(plan: Plan, say: Callable[[str], None]) -> None:
    """End what still lives of a run: first who decides, with its state saved, then the others.

    say: shows a line to the user.
    """
    living = processes_of(plan.run_id)
    if not living:
        return
    names = ", ".join(dict.fromkeys(str(one.task) for one in sorted(living)))
    grace_s = plan.timeouts.grace_s
    say(f"launch: {names} still run without a launcher; stopping them (up to {grace_s:g} s)")
    deciding = {one.task for one in living if rules.decides(plan.strategy, one.task)}
    _send((one for one in living if one.task in deciding), signal.SIGTERM)
    _await_end(plan.run_id, grace_s, deciding)
    _send(processes_of(plan.run_id), signal.SIGKILL)
    _await_end(plan.run_id, _KILLED_S, {one.task for one in living})


def _send(processes: Iterable[LivingProcess], signum: signal.Signals) -> None:
    for one in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(one.pid, signum)


def _await_end(run_id: str, limit_s: float, tasks: set[TaskId]) -> None:
    """Return once none of these tasks lives, or the limit is over."""
    give_up_at = time.monotonic() + limit_s
    while time.monotonic() < give_up_at:
        if not tasks & {one.task for one in processes_of(run_id)}:
            return
        time.sleep(_LOOK_S)
