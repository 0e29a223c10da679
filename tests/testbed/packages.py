"""What a testbed needs of this machine, and how it gets what is missing."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.testbed.commands import Unavailable, run
from tests.testbed.machine import PATH
from tests.testbed.site import Lock

# program: the Debian package it is in
_PROGRAMS = {
    "dockerd": "docker.io", "docker": "docker.io", "sshd": "openssh-server",
    "ssh-keygen": "openssh-client", "ip": "iproute2", "ss": "iproute2", "tc": "iproute2",
    "iptables": "iptables", "debootstrap": "debootstrap", "busybox": "busybox-static",
    "tini-static": "tini", "nsenter": "util-linux", "unshare": "util-linux",
    "setsid": "util-linux", "pivot_root": "util-linux", "pkill": "procps", "pgrep": "procps",
    "docker-registry": "docker-registry",
}  # fmt: skip
_POLICY = Path("/usr/sbin/policy-rc.d")
_INSTALL_S = 600.0


def require(programs: Mapping[str, str] = _PROGRAMS) -> None:
    """Return when this machine can have a testbed; installs the Debian packages it lacks.

    programs: what is needed, each with the package it is in.

    Raises:
        Unavailable: it cannot, and why.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise Unavailable("the testbed needs Linux and root")
    if _missing(programs):
        lock = Lock("packages")
        lock.take(wait=True)
        try:
            if missing := _missing(programs):  # nobody else has installed them meanwhile
                _install(sorted({programs[program] for program in missing}))
        finally:
            lock.release()
    still = _missing(programs)
    if still:
        raise Unavailable(f"the testbed needs these programs: {', '.join(still)}")
    filesystems = Path("/proc/filesystems").read_text().split()
    if "overlay" not in filesystems and run("modprobe", "overlay", check=False).returncode:
        raise Unavailable("the testbed needs the kernel's overlay file system")
    if run("unshare", "--net", "--mount", "--pid", "--fork", "true", check=False).returncode:
        raise Unavailable("the testbed needs to make network, mount and PID namespaces")


def _missing(programs: Mapping[str, str]) -> list[str]:
    return [program for program in programs if shutil.which(program, path=PATH) is None]


def _install(packages: list[str]) -> None:
    if shutil.which("apt-get") is None:
        raise Unavailable(f"the testbed needs {', '.join(packages)} (Debian's names)")
    # Debian starts a service on installation unless this program says no.
    guard = not _POLICY.exists()
    if guard:
        _POLICY.write_text("#!/bin/sh\nexit 101\n")
        _POLICY.chmod(0o755)
    try:
        run("apt-get", "update", "-qq", deadline_s=_INSTALL_S)
        run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq",
            "--no-install-recommends", *packages, deadline_s=_INSTALL_S)  # fmt: skip
    finally:
        if guard:
            _POLICY.unlink()
