"""Slurm's own programs, run: what they say is text, a refusal is a HostError in their words."""

import subprocess
from collections.abc import Mapping, Sequence

from launcher.errors import HostError

_ANSWER_S = 60.0


class Refused(HostError):
    """A program of Slurm's ended with an error."""


class Missing(HostError):
    """There is no such program here."""


def run(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> str:
    """Return what a program prints.

    Raises:
        Refused: it says that it cannot.
        Missing: it is not there.
        HostError: it does not end.
    """
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
            errors="replace", timeout=_ANSWER_S, env=environ, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        what = "no such program here; expected a machine with Slurm's client programs"
        raise Missing(f"{argv[0]}: {what}") from None
    except OSError as error:
        raise HostError(f"{argv[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise HostError(f"{argv[0]}: no answer within {_ANSWER_S:g} s") from None
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
        raise Refused(said if said.startswith(argv[0]) else f"{argv[0]}: {said}")
    return done.stdout
