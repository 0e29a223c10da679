"""Runs in containers on this machine's Docker Engine: what tasks see, and what is left behind."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import DEADLINE_S, Launching, until
from tests.containers.conftest import Engines
from tests.testbed.images import BUSYBOX

pytestmark = pytest.mark.testbed

TWO = f"image: {BUSYBOX}\ntasks: {{chief: {{}}, worker: {{}}}}\ntimeouts: {{grace_s: 5}}\n"
FOREVER = "while :; do sleep 0.05; done"


def sh(*parts: str) -> tuple[str, ...]:
    """Return the words that make every task run a shell script."""
    return "--", "sh", "-c", "".join(parts)


def states(launching: Launching) -> dict[str, str]:
    return {task["task"]: task["state"] for task in launching.report()["tasks"]}


def test_a_cluster(launching: Launching, local: Engines) -> None:
    """Tasks meet by name on a network of their own, results come home, nothing is left."""
    launching.cluster(TWO)
    done = launching.run(
        *sh(
            "echo $TF_CONFIG; nslookup worker-0 >/dev/null && echo found; echo loud >&2;",
            " hostname >/data/output/name; mkdir /data/output/d; echo c >/data/checkpoints/c",
        )
    )
    assert done.code == 0, done.out + done.err
    log = launching.log("worker-0").decode()
    config, *rest = sorted(log.splitlines(), key=lambda line: not line.startswith("{"))
    told = json.loads(config)
    assert told["cluster"] == {"chief": ["chief-0:2222"], "worker": ["worker-0:2222"]}
    assert sorted(rest) == ["found", "loud"]
    output = launching.run_dir() / "output"
    assert (output / "chief-0/name").read_text() == "chief-0\n"
    assert (output / "worker-0/name").stat().st_uid == os.geteuid()
    assert (launching.run_dir() / "checkpoints/c").read_text() == "c\n"
    assert local.left() == []


def test_two_runs_at_once(launching: Launching, local: Engines) -> None:
    """Two runs of one cluster.yaml have their own networks, names and volumes."""
    launching.cluster(TWO)
    wait = "while [ ! -e /data/output/go ]; do sleep 0.05; nslookup worker-0 >/dev/null || exit 1; "
    wait += "[ -e /scratch/go ] && exit 0; done"
    (launching.folder / "scratch").mkdir()
    launching.cluster(f"{TWO}volumes: [{{path: {launching.folder}/scratch, at: /scratch}}]\n")
    first, second = launching.start(*sh(wait)), launching.start(*sh(wait))
    until(lambda: len(local.running()) == 4, "four containers")
    launching.write("scratch/go", "")
    for process in (first, second):
        out, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, out + err
    assert local.left() == []


def test_a_single_task(launching: Launching, local: Engines) -> None:
    """`--single --image` runs one task without TF_CONFIG, a script of this machine too."""
    launching.write("job.py", "#!/bin/sh\necho config=$TF_CONFIG $*; pwd; exit 4\n")
    words = ("--single", "--image", BUSYBOX, "--", "sh", "-c", "echo config=$TF_CONFIG; exit 4")
    done = launching.run(*words)
    assert done.code == 1
    assert launching.log("chief-0") == b"config=\n"
    assert "chief:0 failed first: exit code 4" in done.out
    assert local.left() == []


def test_code_and_secrets(launching: Launching, local: Engines) -> None:
    """`code:` lies at /data without a rebuild, secrets in files that nobody else shows."""
    launching.write("proj/train.py", "x")
    launching.write("proj/pkg/mod.txt", "first")
    launching.write("proj/.dockerignore", "*.big\n")
    launching.write("proj/a.big", "ignored")
    launching.write("token", "s3cr3t-file")
    launching.env["WANDB"] = "s3cr3t-env"
    launching.cluster(
        f"{TWO}code: proj\npython: cat\n"
        "secrets: {from_file: {file: token}, from_env: {env: WANDB}}\n"
    )
    looks = "cat /data/pkg/mod.txt /run/secrets/*; ls -a /data; ls -l /run/secrets; sleep 1"
    process = launching.start(*sh(looks))
    until(lambda: len(local.running()) == 2, "both containers")
    seen = local.inspected()
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, out + err
    log = launching.log("chief-0").decode()
    assert log.startswith("firsts3cr3t-envs3cr3t-file")
    assert "a.big" not in log and "-r--------" in log
    kept = [p.read_text() for p in launching.run_dir().glob("*.json*")]
    for text in (seen, *kept):
        assert "s3cr3t" not in text
    launching.write("proj/pkg/mod.txt", "second")
    assert launching.run(*sh("cat /data/pkg/mod.txt")).code == 0
    assert any(p.read_bytes() == b"second" for p in launching.folder.glob("runs/*/logs/*.1.log"))


def test_what_cannot_be_read(launching: Launching, local: Engines) -> None:
    """Secrets and code that are not there are told at once, and nothing is started."""
    secrets = "secrets: {a: {file: b}, c: {env: NO_SUCH}}"
    launching.cluster(f"{TWO}code: none\ndata: {{sync: nowhere}}\n{secrets}\n")
    done = launching.run(*sh("true"))
    assert done.code == 2, done.err
    for wrong in ("secrets.a", "secrets.c", f"{launching.folder}/none", "data.sync"):
        assert wrong in done.err
    assert not (launching.folder / "runs").exists()
    assert local.left() == []


def test_the_first_failure_is_named(launching: Launching, local: Engines) -> None:
    """A failed task ends the others; signals and memory are told from exit codes."""
    launching.cluster(f"{TWO}restarts: {{max: 0}}\n")
    on_worker = 'case "$TF_CONFIG" in *\'"type": "worker"\'*) echo cause; kill -9 $$;; esac; '
    done = launching.run(*sh(on_worker, FOREVER))
    assert done.code == 1
    assert "worker:0 failed first: killed by SIGKILL" in done.out
    assert "its last lines:\n  cause" in done.out
    assert states(launching) == {"chief:0": "consequence", "worker:0": "failed"}
    assert local.left() == []


def test_memory_limit(launching: Launching, local: Engines) -> None:
    """What the kernel kills for lack of memory is said to be just that."""
    limited = f"image: {BUSYBOX}\ntasks: {{chief: {{memory: 16m}}}}\n"
    launching.cluster(f"{limited}restarts: {{max: 0}}\n")
    done = launching.run(*sh("tail /dev/zero"))
    assert done.code == 1
    assert "killed by the kernel for lack of memory (its limit is 16 MiB)" in done.out


def test_stopped(launching: Launching, local: Engines) -> None:
    """^C asks containers to end, and what they still write comes home."""
    launching.cluster(TWO)
    save = "trap 'echo saved; echo s >/data/output/s; exit 0' TERM; echo up; "
    process = launching.start(*sh(save, FOREVER))
    for task in ("chief-0", "worker-0"):
        until(lambda t=task: b"up" in launching.log(t), f"{task}'s first words")  # type: ignore[misc]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert launching.log("chief-0").endswith(b"saved\n")
    assert (launching.run_dir() / "output/worker-0/s").exists()
    assert local.left() == []


def test_killed(launching: Launching, local: Engines) -> None:
    """A second ^C kills what ignores the first."""
    launching.cluster(TWO.replace("grace_s: 5", "grace_s: 600"))
    process = launching.start(*sh("trap '' TERM; echo up; ", FOREVER))
    until(lambda: b"up" in launching.log("worker-0"), "the worker's first words")
    process.send_signal(signal.SIGINT)
    until(lambda: "Stop" in [e["what"] for e in launching.events()], "the stop")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert states(launching) == {"chief:0": "stopped", "worker:0": "stopped"}
    assert local.left() == []


@pytest.mark.parametrize("things", [1, 3, 5, 8])
def test_interrupted_while_it_starts(launching: Launching, local: Engines, things: int) -> None:
    """Wherever ^C meets a start, no container, volume or network is left."""
    launching.cluster(f"image: {BUSYBOX}\ntasks: {{worker: {{count: 4}}}}\n")
    process = launching.start(*sh("exec sleep 1000"))
    until(lambda: len(local.left()) >= things, "some of the run on the engine")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert local.left() == []


def test_keep_and_collect(launching: Launching, local: Engines) -> None:
    """`--keep` leaves everything where it is; `launch collect` brings it home and removes it."""
    launching.cluster(TWO)
    done = launching.run("--keep", *sh("echo r >/data/output/r; echo line"))
    assert done.code == 0, done.err
    assert len(local.left()) == 6  # two containers, three volumes, a network
    run = launching.run_dir()
    (run / "output/chief-0/r").unlink()
    (run / "logs/chief-0.1.log").unlink()
    collected = launching.run("collect", run.name)
    assert collected.code == 0, collected.err
    assert (run / "output/chief-0/r").read_text() == "r\n"
    assert launching.log("chief-0") == b"line\n"
    assert local.left() == []
    again = launching.run("collect", run.name)
    assert (again.code, again.out) == (0, f"nothing of {run.name} is left on localhost\n")


def test_no_such_image(launching: Launching, local: Engines) -> None:
    """An image that nobody has is told with both ways to get it, and nothing is left."""
    launching.cluster(TWO.replace(BUSYBOX, "no/such:image"))
    done = launching.run(*sh("true"))
    assert done.code == 3
    assert "no/such:image" in done.out
    assert local.left() == []


def test_a_program_that_is_not_there(launching: Launching, local: Engines) -> None:
    """What cannot be started in a container is told by name."""
    launching.cluster(TWO)
    done = launching.run("--", "no-such-program")
    assert done.code == 1
    assert "exec no-such-program failed: No such file or directory" in done.out
    assert "Traceback" not in done.out + done.err
    assert local.left() == []


def test_a_killed_launcher_can_be_collected(launching: Launching, local: Engines) -> None:
    """After SIGKILL of the launcher its containers end by themselves and come home later."""
    launching.cluster(TWO)
    process = launching.start(*sh("echo up; sleep 1; echo r >/data/output/r; echo last"))
    until(lambda: b"up" in launching.log("worker-0"), "the worker's first words")
    process.send_signal(signal.SIGKILL)
    process.wait(DEADLINE_S)
    run = launching.run_dir()
    living = launching.run("collect", run.name)
    assert living.code in (0, 2)
    if living.code:
        assert "still runs" in living.err
        until(lambda: local.running() == [], "the containers' end")
        assert launching.run("collect", run.name).code == 0
    assert launching.log("chief-0") == b"up\nlast\n"
    assert (run / "output/worker-0/r").read_text() == "r\n"
    assert local.left() == []


def test_data_is_synced_once(launching: Launching, local: Engines) -> None:
    """`data: {sync: …}` is sent once for its content, read-only, and used again."""
    launching.write("digits/a.txt", "one")
    launching.write("digits/sub/b.txt", "two")
    launching.cluster(f"{TWO}data: {{sync: digits, at: /data/data}}\n")
    read = "cat /data/data/a.txt /data/data/sub/b.txt; echo x 2>/dev/null >/data/data/c || echo ro"
    assert launching.run(*sh(read)).code == 0
    assert launching.log("chief-0").startswith(b"onetworo")
    volumes = local.data_volumes()
    assert launching.run(*sh(read)).code == 0
    assert local.data_volumes() == volumes
    launching.write("digits/a.txt", "changed")
    assert launching.run(*sh(read)).code == 0
    assert len(local.data_volumes()) > len(volumes)


def test_help_names_what_is_missing(launching: Launching) -> None:
    """Without the Docker SDK the user is told what to install."""
    code = "import sys; sys.modules['docker'] = None\nfrom launcher.cli import main\n"
    code += "sys.exit(main(['--single', '--image', 'x', '--', 'true']))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=launching.env, cwd=launching.folder, capture_output=True,
        text=True, check=False, timeout=DEADLINE_S,
    )  # fmt: skip
    assert done.returncode == 3
    assert "pip install 'tf-config-launch[docker]'" in done.stderr
