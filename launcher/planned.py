"""What a run's own plan.json still tells once its launcher is gone: where its containers are."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yaml import MappingNode

from launcher.cluster import Host
from launcher.decode import Decoder
from launcher.errors import InputError, Problem
from launcher.nodes import compose
from launcher.plan import written


def planned_hosts(run_dir: Path) -> Mapping[str, Host]:
    """Return the hosts of a run's containers; none where its tasks are processes.

    Raises:
        InputError: the folder is no run's, or its plan.json is none.
    """
    path = run_dir / "plan.json"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        what = f"cannot be read: {error.strerror}; expected a run, or --cluster with its hosts"
        raise InputError(Problem(str(path), what)) from None
    decoder = Decoder(str(path))
    document = compose(text, str(path), decoder.problems)  # JSON is YAML
    root = document.root if document else None
    entries = decoder.pairs(root, "") if isinstance(root, MappingNode) else {}
    hint: Any = Mapping[str, Host]
    found = decoder.decode(entries["hosts"], hint, "hosts") if "hosts" in entries else {}
    if decoder.problems:
        raise InputError(decoder.problems)
    return found or {}


def note_hosts(run_dir: Path, hosts: Mapping[str, Host]) -> None:
    """Add hosts to which tasks have moved to plan.json, which stays as old as it is.

    Where that cannot be written, containers there are found with --cluster alone.
    """
    path, new = run_dir / "plan.json", run_dir / ".plan.json.tmp"
    with contextlib.suppress(OSError, ValueError):
        times = path.stat()
        plan = json.loads(path.read_text("utf-8"))
        plan["hosts"] |= {name: written(host) for name, host in hosts.items()}
        new.write_text(json.dumps(plan, indent=2, ensure_ascii=False) + "\n", "utf-8")
        os.utime(new, ns=(times.st_atime_ns, times.st_mtime_ns))  # when the run began
        new.replace(path)
