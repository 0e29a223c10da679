"""The text of `launch --help`, as a constant: argparse alone would cost more than its budget."""

HELP = """\
usage: launch [OPTIONS] TRAINER [TRAINER ARGS…]
       launch [OPTIONS] -- COMMAND [ARGS…]
       launch COMMAND …

Start a TensorFlow TF_CONFIG training cluster, watch it, and say how it ended.

TRAINER is a bare name (mnist_dist: trainers/mnist_dist.py here, else an installed
trainer) or a path to any Python script. Everything after TRAINER is the trainer's.

options:
  --cluster FILE     the cluster to start (default: ./cluster.yaml)
  --single           one task on this machine, without a cluster and TF_CONFIG;
                     TRAINER defaults to mnist_single
  --image IMAGE      with --single: in a container of this image
  --strategy NAME    auto, multi_worker_mirrored or parameter_server, over the file's
  --dry-run          print the plan that would run, and start nothing
  --hosts            with --dry-run: ask the hosts for their free ports and GPUs
  --detach           return once it runs; it is supervised in the background
  --resume           go on with the last run of this command that did not succeed
  --preflight HOW    auto: whether hosts reach each other is tried where that was not
                     seen within a day; full: before this run too; none: never
  --wait             queue for GPUs and ports that other runs hold, first come first served
  --keep             leave a run's containers and volumes on the hosts when it ends
  --runs-dir DIR     where runs are kept (default: $LAUNCH_RUNS, else ./runs)
  --uai-args         give a script named by path the platform's arguments too
                     (--work_dir --data_dir --output_dir --num_gpus --log_dir)
  --json             print the plan (--dry-run) or the report as JSON
  --version          print the version
  -h, --help         print this text

commands:
  check [FILE]       print every problem in a cluster.yaml (--schema: its JSON Schema),
                     with --hosts those of its hosts too
  tf-config [FILE|-] print a TF_CONFIG (default: $TF_CONFIG) in chief form, and why
  ps                 list runs, from the hosts of a cluster.yaml and from ./runs
  logs RUN [TASK]    print the logs of all attempts; -f follows until the run has ended
  attach RUN         supervise a run again whose launcher is gone, or watch it
  stop RUN           end a run, its state saved where it can
  resume RUN         go on with a run from its last checkpoint
  collect RUN        bring home what a run left on its hosts, and remove it there
  gc                 remove what dead runs left on the hosts (--dry-run: say what)
  hosts [trust]      list hosts, their GPUs and who holds them; trust their keys
  exec -- COMMAND    normalise $TF_CONFIG, then become COMMAND
  build [CONTEXT]    build an image (mnist.Dockerfile) here, with a tag for good and latest
  push NAME[:TAG]    push an image to the registry in its name
  pack               build and push an image with the trainer in it, and hand the run to
                     a platform: one command from a script, or --notebook, to a job
  submit             hand the run to a platform (--platform uai, slurm, kubernetes), or
                     list, status, logs, stop, delete its jobs there
  completion SHELL   print the completion script for bash, zsh or tcsh

exit codes:
  0 succeeded, or stopped with its state saved   1 a task failed
  2 the command line, a file or the plan is wrong   3 a host failed
  124 out of time or stalled   130 interrupted   143 terminated
"""
