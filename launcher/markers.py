"""Marker lines: what a training loop tells its supervisor on standard output.

A marker is one line, `@launch ` and a JSON object whose `kind` says what it reports:

    dumps       a signal has it print its stacks       signal, pid
    ready       the task plays its role now            role
    step        training goes on                       step, total_steps, steps_per_s
    metrics     a loss and metrics were computed       step, split (train|eval), final, loss, …
    checkpoint  a checkpoint is complete               step, path
    model       the final model is written             path

They are printed only when LAUNCH_MARKERS=1 is in the environment, whole, in one write. The log
file keeps them; the console does not show them. A line that looks like a marker and is none is
an ordinary line.
"""

PREFIX = "@launch "


def marker(kind: str, **fields: object) -> str:
    """Return the marker line for `fields`, without its newline."""
    import json

    return PREFIX + json.dumps({"kind": kind, **fields}, separators=(",", ":"))


def parse(line: str | bytes) -> dict[str, object] | None:
    """Return the fields of a marker line, `kind` among them, or None for any other line."""
    import json

    if isinstance(line, bytes):
        line = line.decode("utf-8", "replace")
    if not line.startswith(PREFIX):
        return None
    try:
        fields = json.loads(line[len(PREFIX) :])
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) and isinstance(fields.get("kind"), str) else None
