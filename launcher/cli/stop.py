"""`launch stop RUN`: have a run end with its state saved, and wait until it has."""

import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

from launcher import supervision
from launcher.cli.arguments import parser
from launcher.cli.reaching import runs_folder
from launcher.cli.which_run import folder_of, refuse_submitted
from launcher.errors import HostError

_LOOK_S = 0.05
_SAVED = ("succeeded", "stopped, its state is saved")


def main(words: list[str]) -> int:
    """Stop a run; 0 where it has succeeded or saved its state, 1 where it ended otherwise.

    A run whose launcher is gone is taken up for that.
    """
    options = parser("stop").parse_args(words)
    run_dir = folder_of(options.run, runs_folder(options.runs_dir))
    refuse_submitted(run_dir, "stop")
    holder = supervision.holder(run_dir) if run_dir and run_dir.is_dir() else None
    if run_dir is None or holder is None:
        from launcher.cli.attach import take_up

        return take_up(options, run_dir, stop=True)
    _ask(run_dir, holder)
    while supervision.holder(run_dir) is not None:
        time.sleep(_LOOK_S)
    report = _report(run_dir)
    if options.json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        print(f"{run_dir.name}: {report.get('outcome') or 'ended without a report'}")
    return 0 if report.get("outcome") in _SAVED else 1


def _ask(run_dir: Path, holder: supervision.Holder) -> None:
    """Ask a run's launcher to end it. Raises HostError where that is on another machine."""
    if holder.host not in ("", socket.gethostname()) or not holder.pid:
        raise HostError(f"{run_dir.name}: {holder} supervises it; stop it there")
    try:
        os.kill(holder.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it has just ended
    except PermissionError:
        raise HostError(f"{run_dir.name}: {holder} is another user's") from None


def _report(run_dir: Path) -> dict[str, Any]:
    try:
        found = json.loads((run_dir / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
