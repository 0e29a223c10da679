"""What the manifests tell the tasks of a run, tried on real ones: a fake kubelet, real training."""

from pathlib import Path

import pytest

from launcher import config, trainer
from launcher.platforms import Request
from launcher.platforms.kubernetes.manifests import manifests
from launcher.platforms.kubernetes.settings import Settings
from tests.building.test_mnist_image import Image, image
from tests.platforms.fake_kubelet import running

pytestmark = [pytest.mark.testbed, pytest.mark.tensorflow]
__all__ = ["image"]


def test_a_run_from_its_manifests(image: Image, tmp_path: Path) -> None:
    """Names, TF_CONFIG, code and disks are such that all train, and every pod ends by itself."""
    text = (
        f"image: {image.built.id}\n"
        "tasks: {chief: {}, worker: {}, ps: {}, evaluator: {}}\ncheckpoints: /shared/runs\n"
    )
    job = trainer.find("mnist_dist", ("--epochs=1", "--max_step=5"), str(tmp_path))
    request = Request(config.parse(text, elsewhere=True), job, "lab-1", str(tmp_path / "lab-1"))
    made = manifests(request, Settings(claims={"/shared": "shared/all"}, output="results"))
    api = image.engine.api
    with running(image.engine, list(made.objects), tmp_path) as containers:
        codes = {
            task: api.wait(each, timeout=120)["StatusCode"] for task, each in containers.items()
        }
        logs = {task: api.logs(each).decode() for task, each in containers.items()}
    assert codes == dict.fromkeys(("chief-0", "worker-0", "ps-0", "evaluator-0"), 0), logs
    assert "the chief announced completion" in logs["ps-0"]
    assert "evaluated step 5/5" in logs["evaluator-0"]
    assert list((tmp_path / "shared/all/runs/lab-1").glob("ckpt-5.*"))
    assert (tmp_path / "results/lab-1/chief-0/mnist.keras").is_file()
