"""`launch completion SHELL`: the script that makes a shell complete `launch`."""

from launcher.cli.arguments import complete_parser, parser


def main(words: list[str]) -> int:
    """Print the completion script for the shell that `words` name."""
    import shtab

    options = parser("completion").parse_args(words)
    print(shtab.complete(complete_parser(), options.shell))
    return 0
