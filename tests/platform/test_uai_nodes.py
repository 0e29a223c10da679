"""Our image on a simulation of UAI Train's nodes (see uai_nodes): unchanged, to a trained model."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.platform import uai_nodes
from tests.testbed import Testbed

NODES = 2


@pytest.fixture(scope="module")
def image(tensorflow_testbed: Testbed) -> Iterator[str]:
    """The image of mnist.Dockerfile on both nodes."""
    with uai_nodes.image(tensorflow_testbed, NODES) as name:
        yield name


@pytest.mark.timeout(uai_nodes.ENDS_WITHIN_S + 120)
@pytest.mark.testbed
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("strategy", "first", "through_exec", "of_ps"),
    [
        ("multi_worker_mirrored", "worker", True, "is not needed"),
        ("auto", "master", False, "the chief announced completion"),
    ],
)
def test_a_job(
    tensorflow_testbed: Testbed,
    image: str,
    tmp_path: Path,
    strategy: str,
    first: str,
    through_exec: bool,
    of_ps: str,
) -> None:
    """Every process ends by itself with 0, and the model is in the folder that nodes share.

    Whatever the platform calls the first trainer, and whether the command goes through
    `launch exec` or is the trainer itself. `auto` is parameter_server on this cluster.
    """
    outcome = uai_nodes.simulate(
        tensorflow_testbed, image, strategy, first, NODES, tmp_path, through_exec=through_exec
    )
    assert list(outcome.problems()) == []
    assert all(of_ps in text for name, text in outcome.output.items() if name.endswith("/ps"))


def test_the_platforms_tf_config() -> None:
    """The simulation's TF_CONFIG is the one of the platform's documents, or of its SDK."""
    ips = ["ip0", "ip1", "ip2"]
    expected = {
        "cluster": {
            "master": ["ip0:2222"],
            "ps": ["ip0:2223", "ip1:2223", "ip2:2223"],
            "worker": ["ip1:2222", "ip2:2222"],
        },
        "task": {"type": "master", "index": 0},
        "environment": "cloud",
    }
    assert json.loads(uai_nodes.tf_config(ips, "trainer", 0, "master")) == expected
    tasks = {
        (kind, node, first): json.loads(uai_nodes.tf_config(ips, kind, node, first))["task"]
        for kind in ("ps", "trainer") for node in range(3) for first in ("master", "worker")
    }  # fmt: skip
    assert tasks["trainer", 1, "master"] == {"type": "worker", "index": 0}
    assert tasks["trainer", 0, "worker"] == {"type": "worker", "index": 0}
    assert tasks["trainer", 2, "worker"] == {"type": "worker", "index": 2}
    assert tasks["ps", 2, "worker"] == tasks["ps", 2, "master"] == {"type": "ps", "index": 2}
