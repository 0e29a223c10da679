"""How a run ended, for people and for programs: who failed first, and where everything is."""

import math
import os

from launcher.blame import Blame, blame
from launcher.diagnosis import Diagnosis, Ended
from launcher.logs import last_lines, printable
from launcher.run import Attempt, Failure, Outcome, TaskState
from launcher.size import shown
from launcher.supervisor import Result
from launcher.table import table
from launcher.task import TaskId
from launcher.telling import exit_words, failed, how

_SHOWN_LINES = 20
_SHOWN_CHARACTERS = 300
_SHOWN_FAILURES = 10
_SHOWN_OTHERS = 10


def to_dict(result: Result) -> dict[str, object]:
    """Return the report as JSON values, for report.json and `--json`."""
    run, plan = result.run, result.plan
    failures = blame(result)
    first = failures.first
    return {
        "run": plan.run_id,
        "outcome": run.outcome.value if run.outcome else None,
        "duration_s": round(result.ended_at - result.began_at, 3),
        "first_failure": str(first.task) if first else None,
        **_why(first.diagnosis if first else None),
        "last_lines": list(_last_lines(result, first.task)) if first else [],
        "remedy": (first.diagnosis.remedy if first else "") or None,
        "why": result.why or None,
        "failures": [_as_json(failure) for failure in run.failures],
        "metrics": _finite(result.observed.metrics),
        "step": result.observed.step,
        "model": result.observed.model,
        "logs": f"{plan.run_dir}/logs",
        "output": [each._asdict() for each in result.home.brought],
        "left_on_hosts": list(result.home.problems),
        "tasks": [
            {
                "task": str(task),
                "role": plan.role(task).value,
                "state": _state(task, attempt, failures).value,
                "attempt": attempt.number,
                "exit_code": attempt.code,
                "reason": attempt.reason or None,
                **_why(failures.of(task)),
                "duration_s": _duration_s(attempt),
                "log": plan.log_path(task, attempt.number),
            }
            for task, attempt in run.tasks.items()
        ],
    }


def _as_json(failure: Failure) -> dict[str, object]:
    return {
        "task": str(failure.task),
        "attempt": failure.attempt,
        "cause": failure.cause.value,
        "how": how(failure),
        "step": failure.step,
    }


def to_text(result: Result) -> str:
    """Return the report as the console shows it."""
    run, plan, observed = result.run, result.plan, result.observed
    failures = blame(result)
    seconds = result.ended_at - result.began_at
    outcome = run.outcome.value if run.outcome else "unfinished"
    lines = ["", f"{plan.run_id}: {outcome} after {seconds:.1f} s", ""]
    rows = [_row(task, attempt, failures) for task, attempt in run.tasks.items()]
    lines += table(("task", "state", "duration", "exit"), rows)
    lines += _blamed(result, failures)
    lines += _recovered(result, failures)
    lines.append("")
    if observed.metrics:
        lines.append(f"result  {_plain(_metrics(observed.metrics))}")
    if observed.model:
        lines.append(f"model   {_from_here(_plain(observed.model))}")
    lines += _brought(result)
    lines.append(f"logs    {_from_here(plan.run_dir)}/logs")
    lines += [f"left    {problem}" for problem in result.home.problems]
    return "\n".join(lines)


def _brought(result: Result) -> list[str]:
    """Return what came home: how much, and what of it could not."""
    brought = result.home.brought
    if not brought:
        return []
    files = sum(each.files for each in brought)
    size = shown(sum(each.size_bytes for each in brought))
    lines = [f"output  {_from_here(result.plan.run_dir)}/output ({files} files, {size})"]
    return lines + [
        f"        not brought: {_from_here(each.path)}/{_plain(skipped)}"
        for each in brought
        for skipped in each.skipped
    ]


def _row(task: TaskId, attempt: Attempt, failures: Blame) -> tuple[str, ...]:
    duration_s = _duration_s(attempt)
    code = attempt.code
    ended = "-" if code is None else str(code) if code >= 0 else exit_words(code).split()[-1]
    return (
        str(task),
        _state(task, attempt, failures).value,
        "-" if duration_s is None else f"{duration_s:.1f} s",
        ended,
    )


def _state(task: TaskId, attempt: Attempt, failures: Blame) -> TaskState:
    """Return a task's state now that the first cause is known: it may not be who ended first."""
    if failures.first and attempt.state in (TaskState.FAILED, TaskState.CONSEQUENCE):
        if task == failures.first.task:
            return TaskState.FAILED
        if any(task == end.task for end in failures.others):
            return TaskState.CONSEQUENCE
    return attempt.state


def _why(diagnosis: Diagnosis | None) -> dict[str, str | None]:
    if diagnosis is None:
        return {"cause": None, "words": None}
    return {"cause": diagnosis.cause.value, "words": diagnosis.words}


def _duration_s(attempt: Attempt) -> float | None:
    if attempt.started_at is None or attempt.ended_at is None:
        return None
    return round(attempt.ended_at - attempt.started_at, 3)


def _last_lines(result: Result, task: TaskId, count: int = _SHOWN_LINES) -> tuple[str, ...]:
    path = result.plan.log_path(task, result.run.tasks[task].number)
    return last_lines(path, count)


def _cut(line: str) -> str:
    """Return a line that leaves a terminal readable: an array in an error can fill pages."""
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]} …"


def _blamed(result: Result, failures: Blame) -> list[str]:
    """Return what failed, the first cause with its last lines; nothing where nothing did."""
    run, lines = result.run, []
    if failures.first:
        lines += _failure(result, failures.first, "failed first")
        lines += _followed(result, failures.first, failures.others)
    for end in failures.unneeded:
        lines += _failure(result, end, "failed; the run went on without")
    if result.why:
        lines += ["", result.why]
    if run.outcome is Outcome.TIMED_OUT:
        lines += ["", f"timeouts.run_s ({run.timeouts.run_s:g} s) was over"]
    return lines


def _failure(result: Result, end: Ended, how: str) -> list[str]:
    lines = ["", f"{_whom(result, end.task)} {how}: {_plain(end.diagnosis.words)}"]
    shown = _last_lines(result, end.task)
    if shown:
        lines += ["its last lines:", *(f"  {_cut(line)}" for line in shown)]
    lines += ["", f"when: {end.at - result.began_at:.1f} s after the run began"]
    if end.diagnosis.remedy:
        lines.append(f"remedy: {end.diagnosis.remedy}")
    return lines


def _followed(result: Result, first: Ended, others: tuple[Ended, ...]) -> list[str]:
    """Return a line for each other failure, with its distance in time from the first."""
    lines = []
    for end in others[:_SHOWN_OTHERS]:
        after_s = end.at - first.at
        when = f"{abs(after_s):.1f} s {'later' if after_s >= 0 else 'earlier'}"
        lines.append(f"{_whom(result, end.task)}: {_cut(_plain(end.diagnosis.words))}, {when}")
    more = len(others) - _SHOWN_OTHERS
    return [*lines, f"and {more} more"] if more > 0 else lines


def _whom(result: Result, task: TaskId) -> str:
    """Return a task's name, with its host's where there are several."""
    hosts = {each.task: each.host for each in result.plan.tasks}
    return f"{task} on {hosts[task]}" if len(set(hosts.values())) > 1 else str(task)


def _recovered(result: Result, failures: Blame) -> list[str]:
    """Return what failed on the way and was started again."""
    final = {end.task for end in (failures.first, *failures.others, *failures.unneeded) if end}
    overcome = [
        failure
        for failure in result.run.failures
        if failure.attempt < result.run.tasks[failure.task].number or failure.task not in final
    ]
    if not overcome or result.why:
        return []
    shown = overcome[-_SHOWN_FAILURES:]
    more = [f"  … {len(overcome) - len(shown)} before these"] if len(shown) < len(overcome) else []
    return ["", "started again after:", *more, *(f"  {_cut(failed(f))}" for f in shown)]


def _finite(value: object) -> object:
    """Return a marker's value as JSON has it, where a loss that is NaN has to be a text."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _plain(text: str) -> str:
    """Return what a task said of itself without what would act on a terminal."""
    return printable(text.replace("\n", " ").encode("utf-8", "replace")).decode()


def _from_here(path: str) -> str:
    """Return a path as one would type it here: relative where it lies below the current folder."""
    try:
        return path.removeprefix(f"{os.getcwd()}/")
    except OSError:
        return path


def _metrics(metrics: dict[str, object]) -> str:
    parts = []
    for key, value in metrics.items():
        if key in ("split", "final"):
            continue
        parts.append(f"{key}={value:.4f}" if isinstance(value, float) else f"{key}={value}")
    return " ".join(parts)
