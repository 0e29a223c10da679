"""The scripts that set a fresh machine up."""

import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent


def test_wrong_python_is_named(tmp_path: Path) -> None:
    """A Python for which TensorFlow has no wheels is refused, with what would do instead."""
    old = tmp_path / "python3.10"
    old.write_text('#!/bin/sh\ncase "$2" in *platform*) echo 3.10.13;; *) exit 1;; esac\n')
    old.chmod(0o755)
    (tmp_path / "pyproject.toml").touch()
    done = subprocess.run(
        ["sh", "-c", f". {REPOSITORY}/scripts/set-up.sh; set_up tensorflow"],
        cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "PYTHON": str(old)}, text=True,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode != 0
    assert "needs Python 3.11, 3.12 or 3.13" in done.stderr
    assert "3.10.13" in done.stderr
    assert not (tmp_path / ".venv").exists()
