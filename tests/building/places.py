"""Where things lie for these tests."""

from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent
BUSYBOX = "launch-testbed/busybox:1"
TENSORFLOW = "launch-testbed/tensorflow:cpu"
