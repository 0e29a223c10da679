"""The files of a host: a root folder of its own, with this machine's /usr in it, read-only.

Nothing else of this machine is seen from a host: no home, no /tmp, no checkout.
"""

import os
import shutil
from pathlib import Path

from tests.testbed.commands import run

# What programs of /usr need of /etc.
_FROM_ETC = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "nsswitch.conf",
             "protocols", "services", "ssl", "debian_version", "os-release", "bash.bashrc",
             "profile", "localtime")  # fmt: skip
_FOLDERS = ("dev", "etc/ssh", "etc/docker", "home", "mnt", "opt", "proc", "root", "run", "srv",
            "sys", "tmp", "usr", "var/lib/docker", "var/log", "var/tmp", "var/cache", "var/spool",
            "data")  # fmt: skip
DOCKER_GID = 992
USERS = {"ml": 1001, "outsider": 1002}  # ml may use Docker, outsider may not

_SSHD_CONFIG = """\
HostKey /etc/ssh/ssh_host_ed25519_key
HostKey /etc/ssh/ssh_host_ecdsa_key
PidFile /run/sshd.pid
LogLevel VERBOSE
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
"""


def make_root(root: Path, name: str, client_key: Path) -> None:
    """Make a host's root folder, with its users; `client_key` opens all of their accounts."""
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for folder in ("tmp", "var/tmp"):
        (root / folder).chmod(0o1777)
    for link in ("bin", "sbin", "lib", "lib64", "lib32", "libx32"):
        if Path("/", link).is_symlink():
            (root / link).symlink_to(os.readlink(f"/{link}"))
    (root / "var/run").symlink_to("/run")
    (root.parent / "usr.local").mkdir()
    for folder in ("bin", "sbin", "lib", "share"):
        (root.parent / "usr.local" / folder).mkdir()
    _make_etc(root / "etc", name)
    _make_homes(root, client_key.with_suffix(".pub").read_text())


def _make_etc(etc: Path, name: str) -> None:
    for entry in _FROM_ETC:
        source = Path("/etc", entry)
        if source.exists():
            run("cp", "-a", source, etc / entry)
    users = "".join(f"{u}:x:{i}:{i}::/home/{u}:/bin/bash\n" for u, i in USERS.items())
    groups = "".join(f"{u}:x:{i}:\n" for u, i in USERS.items())
    nobody = "nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n"
    files = {
        "passwd": "root:x:0:0:root:/root:/bin/bash\n"
        "sshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n" + nobody + users,
        "group": "root:x:0:\ntty:x:5:\nshadow:x:42:\nnogroup:x:65534:\n"
        f"docker:x:{DOCKER_GID}:ml\n" + groups,
        "shadow": "".join(f"{u}:*:20000:0:99999:7:::\n" for u in ("root", "sshd", *USERS)),
        "hostname": f"{name}\n",
        "hosts": f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 {name}\n",
        "resolv.conf": "",
        "ssh/sshd_config": _SSHD_CONFIG,
    }
    for file, text in files.items():
        (etc / file).write_text(text)
    (etc / "shadow").chmod(0o640)
    for kind in ("ed25519", "ecdsa"):
        key = etc / f"ssh/ssh_host_{kind}_key"
        run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", key)


def _make_homes(root: Path, public_key: str) -> None:
    for user, uid in {"root": 0, **USERS}.items():
        home = root / ("root" if user == "root" else f"home/{user}")
        (home / ".ssh").mkdir(parents=True)
        (home / ".ssh/authorized_keys").write_text(public_key)
        for path in (home, home / ".ssh", home / ".ssh/authorized_keys"):
            shutil.chown(path, uid, uid)
            path.chmod(0o600 if path.is_file() else 0o700)
