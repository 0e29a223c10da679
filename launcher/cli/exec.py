"""`launch exec -- COMMAND`: normalise $TF_CONFIG, then become COMMAND.

It stands in front of a trainer where somebody else writes the TF_CONFIG: in a container on a
managed platform, in a batch job. With --end-together it stays with the tasks that
nobody else would end.
"""

import os
import signal
import sys

from launcher.cli.arguments import parser
from launcher.errors import InputError, Problem
from launcher.strategy import Role, Strategy
from launcher.tf_config import TfConfig


def main(words: list[str]) -> int:
    """Become the command; returns only when there is nothing to become."""
    options = parser("exec").parse_args(words)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise InputError(Problem("exec", "expected -- COMMAND"))
    environ = {**os.environ, **_given(options.env)}
    if options.alone and not environ.get("TF_CONFIG", "").strip():
        environ["TF_CONFIG"] = '{"cluster": {}}'
    config = TfConfig.from_environ(environ, _strategy(options.strategy), _is_here)
    if config is not None:
        for finding in config.findings:
            print(f"launch: {finding}", file=sys.stderr)
        if config.role is Role.NOT_NEEDED:
            return 0
        environ["TF_CONFIG"] = config.to_json()
        environ["LAUNCH_STRATEGY"] = config.strategy.value
    sys.stderr.flush()
    # Python ignores these, and what is ignored stays so in the command: `yes | head` in a shell
    # script would complain.
    for signum in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(signum, signal.SIG_DFL)
    try:
        if options.end_together and config is not None:
            from launcher import together

            if together.attends(config, environ):
                return together.attend(command, environ, config)
        os.execvpe(command[0], command, environ)  # noqa: S606 - becoming it is the purpose
    except (OSError, ValueError) as error:  # ValueError: an empty name
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(Problem(command[0] or "''", f"cannot be run: {why}")) from None


def _given(env: list[str]) -> dict[str, str]:
    """Return the variables of `--env NAME=VALUE`."""
    for each in env:
        if not each.partition("=")[0] or "=" not in each:
            raise InputError(Problem("--env", f"expected NAME=VALUE, got {each!r}"))
    return dict(each.split("=", 1) for each in env)


def _is_here(host: str) -> bool:
    """Whether a host is this machine: whether something could listen there."""
    import socket

    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return False
    for family, kind, _, _, address in found:
        try:
            with socket.socket(family, kind) as probe:
                probe.bind(address)
        except OSError:
            continue
        return True
    return False


def _strategy(given: str | None) -> Strategy:
    name = given or os.environ.get("LAUNCH_STRATEGY") or "auto"
    try:
        return Strategy(name)
    except ValueError:
        known = ", ".join(Strategy)
        raise InputError(Problem("$LAUNCH_STRATEGY", f"expected {known}, got {name!r}")) from None
