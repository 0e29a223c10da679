"""A program run inside a container that lives, beside its task: what it prints."""

from launcher.at_once import within
from launcher.engine import Engine

_ANSWER_S = 15.0


def output(engine: Engine, container_id: str, *argv: str) -> str:
    """Return what a program prints inside a container, its errors among it.

    Raises:
        HostError: it cannot be run there, or does not end.
    """

    def run() -> bytes:
        with engine.errors("cannot run a program in a container"):
            made = engine.api.exec_create(container_id, list(argv))
            return bytes(engine.api.exec_start(made["Id"]))

    why = f"{engine.host}: a program that was started in a container does not end"
    return within(_ANSWER_S, run, why).decode(errors="replace")
