"""The chief's checkpoints on hosts that share no folder: home, to the evaluator, to a new host."""

import re

import pytest

from tests.conftest import Launching, until
from tests.containers.conftest import Engines
from tests.containers.test_hosts import sh
from tests.testbed import Testbed

pytestmark = pytest.mark.testbed

# A stand-in for a trainer: it names its checkpoints as TensorFlow does and keeps the last two.
TRAINER = r"""
cd $LAUNCH_CHECKPOINT_DIR
at() {
  sed -n 's/^model_checkpoint_path: "ckpt-\(.*\)"/\1/p' checkpoint 2>/dev/null | grep . || echo 0
}
save() {
  echo "model_checkpoint_path: \"ckpt-$n\"" >.new
  for k in $((n-10)) $n; do echo "all_model_checkpoint_paths: \"ckpt-$k\""; done >>.new
  echo $n >ckpt-$n.data-00000-of-00001
  printf '\0\0\006\010\001\032\002\010\001' >ckpt-$n.index
  mv .new checkpoint
  rm -f ckpt-$((n-20)).*
}
train() {
  n=$(at); echo from $n
  while [ $n -lt LAST ]; do
    n=$((n+1)); sleep 0.05
    if [ $n = PAUSE ]; then until [ -e /data/output/go ]; do sleep 0.1; done; fi
    echo "@launch {\"kind\":\"step\",\"step\":$n,\"total_steps\":LAST}"
    if [ $((n % 10)) = 0 ]; then save; fi
  done
}
evaluate() {
  while [ ${done:-0} -lt LAST ]; do
    n=$(at)
    if [ $n != ${done:-0} ] && [ "$(cat ckpt-$n.data*)" = $n ]; then done=$n; echo evaluated $n; fi
    sleep 0.1
  done
}
case $TF_CONFIG in *'"type": "evaluator"'*) evaluate;; *) train;; esac
"""
CLUSTER = """
image: launch-testbed/busybox:1
hosts:
  h1: {{address: {0}, ssh: {{host: h1}}}}
  h2: {{address: {1}, ssh: {{host: h2}}}}
  h3: {{address: {2}, ssh: {{host: h3}}}}
tasks: {{chief: {{host: h2}}, evaluator: {{host: h1}}}}
restarts: {{move: true}}
"""


@pytest.fixture
def hosts(user: Launching, testbed: Testbed) -> None:
    """A chief and an evaluator on hosts of their own; checkpoints come home twice a second."""
    user.cluster(CLUSTER.format(*(host.address for host in testbed.hosts)))
    user.env |= {"LAUNCH_HOMING_S": "0.5", "LAUNCH_UNREACHABLE_S": "4"}
    config = user.folder / "home/.ssh/config"
    config.write_text(f"{config.read_text()}Host *\n  ConnectTimeout 2\n")


def trainer(last: int, pause: int = 0) -> tuple[str, ...]:
    """Return a trainer of so many steps, which waits at one for a word."""
    return sh(TRAINER.replace("LAST", str(last)).replace("PAUSE", str(pause)))


def numbers(word: bytes, log: bytes) -> list[int]:
    return [int(n) for n in re.findall(rb"^%s (\d+)$" % word, log, re.MULTILINE)]


def at_home(user: Launching) -> int:
    """Return the step of the latest checkpoint at home; its files are there."""
    folder = user.run_dir() / "checkpoints"
    try:
        found = re.search(
            r'^model_checkpoint_path: "ckpt-(\d+)"', (folder / "checkpoint").read_text()
        )
    except FileNotFoundError:
        return 0
    assert found
    return int(found[1])


def test_a_chief_whose_host_is_lost_goes_on_elsewhere(
    user: Launching, remote: Engines, testbed: Testbed, hosts: None
) -> None:
    """From the last checkpoint that was home; the evaluator on another host sees all that come."""
    process = user.start(*trainer(120))
    until(lambda: len(numbers(b"evaluated", user.log("evaluator-0"))) > 2, "evaluations")
    assert at_home(user) >= 10
    testbed.hosts[1].power_off()
    out, err = process.communicate(timeout=90)
    assert "Traceback" not in out + err
    assert process.returncode == 3, out + err  # what h2 holds is not home
    assert user.report()["outcome"] == "succeeded", out + err
    assert out.count("checkpoints of chief:0 are not home") == 1, out  # tried again and again

    (begun,) = numbers(b"from", user.log("chief-0", 2))
    told = [int(n) for n in re.findall(rb'"step":(\d+)', user.log("chief-0"))]
    assert 10 <= begun <= told[-1] < 120
    evaluated = numbers(b"evaluated", user.log("evaluator-0"))
    assert evaluated == sorted(set(evaluated)) and evaluated[-1] == 120
    assert at_home(user) == user.report()["step"] == 120
    assert (user.run_dir() / "checkpoints/ckpt-110.index").exists()

    testbed.hosts[1].power_on()
    assert user.run("collect", user.run_dir().name).code == 0
    assert at_home(user) == 120  # what another host had is beside it
    assert (user.run_dir() / "checkpoints.1/checkpoint").exists()
    assert remote.left() == []


def test_an_evaluator_whose_host_is_lost_goes_on_elsewhere(
    user: Launching, remote: Engines, testbed: Testbed, hosts: None
) -> None:
    """It finds the checkpoints there; the others do not notice."""
    process = user.start(*trainer(60, pause=50))
    until(lambda: numbers(b"evaluated", user.log("evaluator-0")) != [], "an evaluation")
    (chief,) = (name for name in remote.running() if "chief" in name)
    testbed.hosts[0].power_off()
    until(lambda: numbers(b"evaluated", user.log("evaluator-0", 2)) != [], "an evaluation there")
    testbed.hosts[1].docker("exec", chief.lstrip("/"), "touch", "/data/output/go")
    out, err = process.communicate(timeout=90)
    assert "Traceback" not in out + err
    assert process.returncode == 3, out + err  # what h1 holds is not home
    assert user.report()["outcome"] == "succeeded", out + err
    again = numbers(b"evaluated", user.log("evaluator-0", 2))
    assert again[0] >= 10 and again[-1] == 60
    assert numbers(b"from", user.log("chief-0")) == [0] and user.log("chief-0", 2) == b""
    testbed.hosts[0].power_on()
    assert user.run("collect", user.run_dir().name).code == 0
    assert remote.left() == []
