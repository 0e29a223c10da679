"""What planning must know of this machine: its free ports, its GPUs, a run's id."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher import facts
from launcher.errors import HostError
from launcher.names import is_name


def test_free_ports_are_free_and_distinct() -> None:
    """As many ports come as are asked for, none twice, each one free to listen on."""
    ports = facts.read_facts(50, gpus=False).free_ports
    assert len(set(ports)) == 50
    for port in ports[:5]:
        with socket.create_server(("0.0.0.0", port)):
            assert not facts.port_is_free(port)


@pytest.mark.parametrize(
    ("family", "address"),
    [
        (socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET, "0.0.0.0"),
        (socket.AF_INET6, "::1"),
        (socket.AF_INET6, "::"),
    ],
)
def test_a_port_that_somebody_holds(family: socket.AddressFamily, address: str) -> None:
    """A port held on any address of either family is not free."""
    try:
        server = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip(f"no {address} here")
    with server:
        assert not facts.port_is_free(server.getsockname()[1])


def test_too_many_ports() -> None:
    """A machine that has not so many free ports is named as the reason."""
    with pytest.raises(HostError, match="no 20000 free ports"):
        facts.read_facts(20_000, gpus=False)


Smi = Callable[[str], None]


@pytest.fixture
def fake_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Smi:
    """Puts a fake nvidia-smi first on PATH: there is no GPU to ask here."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def make(script: str) -> None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)

    return make


@pytest.mark.parametrize(
    ("script", "ids"),
    [
        ("echo 0; echo 1", ("0", "1")),
        ("echo", ()),
        ("echo NVIDIA-SMI has failed; exit 9", ()),
        ("printf '\\377'", ()),
    ],
)
def test_gpus(fake_smi: Smi, script: str, ids: tuple[str, ...]) -> None:
    """The GPUs are those that nvidia-smi lists; where it fails there are none."""
    fake_smi(script)
    assert facts.gpu_ids() == ids


@pytest.mark.parametrize(
    ("visible", "ids"),
    [("3,1", ("3", "1")), ("", ()), ("-1", ()), ("GPU-8a6b", ("GPU-8a6b",))],
)
def test_gpus_that_the_user_may_take(
    fake_smi: Smi, monkeypatch: pytest.MonkeyPatch, visible: str, ids: tuple[str, ...]
) -> None:
    """On a shared machine $CUDA_VISIBLE_DEVICES says which GPUs are ours."""
    fake_smi("echo 0; echo 1; echo 2; echo 3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert facts.gpu_ids() == ids


def test_no_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nvidia-smi there is no GPU, whatever the environment says."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert facts.gpu_ids() == ()


def test_run_ids() -> None:
    """A run's id is a name that begins with what it was made from, and never the same twice."""
    ids = {facts.new_run_id("My Trainer!") for _ in range(20)}
    assert len(ids) > 18  # two bytes of chance
    for run_id in (*ids, facts.new_run_id("…")):
        assert is_name(run_id)
    assert all(run_id.startswith("my-trainer-") for run_id in ids)
    assert facts.new_run_id("…").startswith("run-")
