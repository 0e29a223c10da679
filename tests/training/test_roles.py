"""What a task makes of what it is told, before any cluster forms."""

import pytest

from launcher.errors import InputError
from launcher.task import TaskId
from launcher.tf_config import TfConfig
from launcher.training import roles
from launcher.training.formation import is_here


def config(task: str) -> TfConfig:
    kind, index = task.split(":")
    return TfConfig.parse(
        '{"cluster": {"master": ["a:1"], "ps": ["a:2"], "worker": ["b:1"]}, '
        f'"task": {{"type": "{kind}", "index": {index}}}}}'
    )


def test_gpus_of_a_ps() -> None:
    """A platform tells a node's ps how many GPUs the node has; it takes what it sees of them."""
    assert config("ps:0").task == TaskId.parse("ps:0")
    assert roles._own_gpus(config("ps:0"), 4) == 0
    assert roles._own_gpus(config("ps:0"), None) is None
    assert roles._own_gpus(config("worker:0"), 4) == 4
    with pytest.raises(InputError, match="num_gpus: expected 0 to 0"):
        roles._configure(4, None)


@pytest.mark.parametrize(
    ("host", "here"), [("127.0.0.1", True), ("localhost", True), ("192.0.2.1", False)]
)
def test_whether_a_host_is_this_machine(host: str, here: bool) -> None:
    """Addresses that are this machine's are told from others."""
    assert is_here(host) is here
