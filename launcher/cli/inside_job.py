"""`launch submit inside RUN_DIR`: what a Slurm job runs, on its first node: the run itself.

The run is supervised here as anywhere; its tasks are steps of the job.
"""

import os
from concurrent.futures import ThreadPoolExecutor

from launcher.errors import InputError, Problem
from launcher.platforms.slurm.allocation import Allocation
from launcher.platforms.slurm.settings import read_kept


def main(words: list[str]) -> int:
    """Run it to its end, or to where the job's end is near: then have the job go on later."""
    if len(words) != 1:
        raise InputError(Problem("submit inside", "expected the folder of a submitted run"))
    run_dir = os.path.abspath(words[0])
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(Allocation.read, os.environ)
        from launcher.cli.job_run import run  # while Slurm answers: it takes as long

        kept = read_kept(run_dir)
        allocation = asked.result()
    return run(kept, allocation, run_dir)
