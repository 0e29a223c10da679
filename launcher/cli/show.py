"""A plan as text for people, or as JSON."""

from collections.abc import Iterator, Sequence

from launcher.container import masked
from launcher.plan import Plan
from launcher.table import table


def show(made: Plan, *, as_json: bool) -> None:
    """Print a plan."""
    if as_json:
        import json

        print(json.dumps(made.to_dict(), indent=2, ensure_ascii=False))
        return
    print(plan_text(made))


def plan_text(plan: Plan) -> str:
    """Return a table of the tasks, then what each one runs, in whole."""
    return "\n".join(_lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    strategy = plan.strategy.value if plan.cluster else "no cluster"
    yield f"{plan.run_id}: {len(plan.tasks)} tasks, {plan.backend.value}, {strategy}"
    yield from (f"note: {note}" for note in plan.notes)
    yield ""
    yield from table(("task", "role", "host", "address", "gpus"), _rows(plan))
    for container in plan.tasks:
        env = masked(plan.env(container))
        config = env.pop("TF_CONFIG", "none")
        yield ""
        yield f"{container.task}"
        yield f"  command    {quoted(container.argv)}"
        yield f"  TF_CONFIG  {config}"
        yield from (f"  env        {key}={value}" for key, value in env.items())
        yield f"  in         {container.work_dir}"
        yield f"  output     {container.output_dir}"
        yield f"  log        {plan.log_path(container.task, 1)}"
        for mount in container.mounts:
            mode = " (read only)" if mount.read_only else ""
            yield f"  mount      {mount.source} at {mount.target}{mode}"


def _rows(plan: Plan) -> Iterator[Sequence[str]]:
    for c in plan.tasks:
        address = str(c.address) if plan.cluster else "-"
        gpus = ",".join(c.gpus) or "-"
        yield str(c.task), plan.role(c.task).value, c.host, address, gpus


def quoted(argv: Sequence[str]) -> str:
    """Return a command as it would be typed in a shell."""
    from shlex import join

    return join(argv)
