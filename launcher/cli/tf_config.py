"""`launch tf-config [FILE|-]`: a TF_CONFIG in chief form, and each change explained."""

import json
import os
import sys
from pathlib import Path

from launcher.cli.arguments import parser
from launcher.errors import InputError, Problem, TfConfigError
from launcher.strategy import Strategy
from launcher.tf_config import TfConfig


def main(words: list[str]) -> int:
    """Print the normalised TF_CONFIG on standard output, the findings on standard error."""
    options = parser("tf-config").parse_args(words)
    text, name = _text(options.file)
    try:
        config = TfConfig.parse(text, Strategy(options.strategy))
    except TfConfigError as error:
        raise InputError(
            [Problem(f"{name} {p.where}".strip(), p.what) for p in error.problems]
        ) from None
    if options.json:
        findings = [finding._asdict() for finding in config.findings]
        value = {"tf_config": json.loads(config.to_json()), "strategy": config.strategy.value}
        print(json.dumps({**value, "findings": findings}, indent=2, ensure_ascii=False))
        return 0
    print(config.to_json())
    for finding in config.findings:
        print(finding, file=sys.stderr)
    return 0


def _text(file: str | None) -> tuple[str, str]:
    """Return the TF_CONFIG's text, and what to call the place that it came from."""
    if file is None:
        text = os.environ.get("TF_CONFIG", "")
        if not text.strip():
            raise InputError(Problem("$TF_CONFIG", "not set; expected it, a FILE or - for stdin"))
        return text, "$TF_CONFIG"
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return raw.decode(), "stdin" if file == "-" else file
    except OSError as error:
        raise InputError(Problem(file, f"cannot be read: {error.strerror}")) from None
    except UnicodeDecodeError as error:
        raise InputError(Problem(file, f"not UTF-8 text, byte {error.start}")) from None
