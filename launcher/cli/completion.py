"""`launch completion SHELL`: the script that makes a shell complete `launch`."""

from launcher.cli.arguments import complete_parser, parser
from launcher.errors import InputError


def main(words: list[str]) -> int:
    """Print the completion script for the shell that `words` name."""
    options = parser("completion").parse_args(words)
    try:
        import shtab
    except ImportError:
        raise InputError("completion needs: pip install 'tf-config-launch[completion]'") from None
    print(shtab.complete(complete_parser(), options.shell))
    return 0
