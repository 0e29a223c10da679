"""How long planning takes, after imports.

.venv/bin/python -m bench.planning
"""

import gc
import statistics
import time

from bench.measure import median_ratio, say
from launcher.cluster import Backend, ClusterSpec, Host, Task
from launcher.layout import Job
from launcher.placement import HostFacts
from launcher.plan import plan
from launcher.strategy import Strategy
from launcher.task import CHIEF, TaskId, TaskType

RUNS = 21
GPUS_A_HOST = 8


def main() -> None:
    """Print the table."""
    gc.disable()  # as the launcher plans
    pairs = [(_plan_ms(1_000, 250), _plan_ms(10_000, 2_500)) for _ in range(RUNS)]
    small, large = zip(*pairs, strict=True)
    small_ms, large_ms = statistics.median(small), statistics.median(large)
    say("1,000 tasks on 250 hosts", f"{small_ms:.1f} ms", "<= 20 ms", small_ms <= 20)
    ratio = median_ratio(large, small)
    figure = f"{large_ms:.1f} ms, {ratio:.1f}x"
    say("10,000 tasks on 2,500 hosts, to that", figure, "<= 12x", ratio <= 12)


def _plan_ms(tasks: int, hosts: int) -> float:
    spec = _spec(tasks, hosts)
    facts = dict.fromkeys(spec.hosts, HostFacts(tuple(range(2222, 2222 + GPUS_A_HOST))))
    job = Job("mnist_dist", "/trainers/mnist_dist.py", ("--epochs", "3"), "/", platform_args=True)
    started = time.perf_counter()
    made = plan(spec, job, "run", facts, run_dir="/runs/run", python="python")
    took_ms = (time.perf_counter() - started) * 1000
    gc.collect()
    assert len(made.tasks) == tasks
    return took_ms


def _spec(tasks: int, hosts: int) -> ClusterSpec:
    """Return a cluster whose tasks of one GPU each may stand anywhere."""
    workers = [TaskId(TaskType.WORKER, index) for index in range(tasks - 1)]
    return ClusterSpec(
        Backend.DOCKER,
        Strategy.MULTI_WORKER_MIRRORED,
        {f"gpu{i}": Host(f"10.0.{i // 250}.{i % 250 + 1}", GPUS_A_HOST) for i in range(hosts)},
        tuple(Task(task, None, None, 1, {}, ()) for task in [CHIEF, *workers]),
        image="registry.lab/mnist_dist:v1",
    )


if __name__ == "__main__":
    main()
