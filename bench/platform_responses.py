"""10,000 answers as no platform should give them, read: tracebacks and keys that come of it.

    python -m bench.platform_responses [EXAMPLES]

What is generated, and what counts as wrong, is tests/platforms/garbled_uai.py.
"""

import sys
import warnings
from collections import Counter

from hypothesis import HealthCheck, Phase, given, settings

from bench.measure import say
from tests.platforms.garbled_uai import KEYS, faults, texts

EXAMPLES = 10_000


def main() -> int:
    """Read so many answers, print the figures and return the exit code."""
    examples = int(sys.argv[1]) if len(sys.argv) > 1 else EXAMPLES
    found: Counter[str] = Counter()

    @settings(
        max_examples=examples, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(texts)
    def read(text: str) -> None:
        found["answers"] += 1
        found["with a key"] += any(key in text for key in KEYS)
        for fault in faults(text):
            found[fault.partition(":")[0]] += 1
            print(fault, file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read()
    of = f"of {found['answers']}"
    enough = found["answers"] >= examples and found["with a key"] > examples / 20
    say("answers read, of which with a key", f"{found['answers']}, {found['with a key']}",
        f">= {examples}", enough)  # fmt: skip
    say("tracebacks", f"{found['traceback']} {of}", "0", not found["traceback"])
    say("keys shown", f"{found['leak']} {of}", "0", not found["leak"])
    return 0 if enough and not found["traceback"] and not found["leak"] else 1


if __name__ == "__main__":
    sys.exit(main())
