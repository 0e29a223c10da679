"""known_hosts, read as OpenSSH does."""

import base64
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launcher.ssh import host_keys
from launcher.ssh.host_keys import HostKey, Trust

ED = HostKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes(32))
ED2 = HostKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes([1] * 32))
RSA = HostKey("ssh-rsa", b"rsa")


def line(names: str, key: HostKey, marker: str = "") -> str:
    return f"{marker}{names} {key.type} {base64.b64encode(key.blob).decode()} a comment\n"


@pytest.mark.parametrize(
    ("names", "known_as", "matches"),
    [
        ("gpu1", "gpu1", True),
        ("GPU1", "gpu1", True),
        ("gpu1,10.0.0.1", "10.0.0.1", True),
        ("gpu?.lab", "gpu1.lab", True),
        ("*.lab,!gpu1.lab", "gpu1.lab", False),
        ("*.lab,!gpu1.lab", "gpu2.lab", True),
        ("[gpu1]:2222", "[gpu1]:2222", True),
        ("[*]:2222", "[gpu1]:2222", True),
        ("gpu1", "[gpu1]:2222", False),
        ("[fe80::1]:2222", "[fe80::1]:2222", True),
        ("fe80::1", "fe80::1", True),
    ],
)
def test_names(tmp_path: Path, names: str, known_as: str, matches: bool) -> None:
    """Names, patterns, negation and ports match as sshd(8) says."""
    file = tmp_path / "known_hosts"
    file.write_text(f"# {line(names, ED)}\n{line(names, ED)}")
    found = host_keys.entries([str(file)], known_as)
    assert [entry.line for entry in found] == ([3] if matches else [])


def test_hashed_by_openssh(tmp_path: Path) -> None:
    """What ssh-keygen has hashed is found, and what we hash ssh-keygen finds."""
    file = tmp_path / "known_hosts"
    file.write_text(line("[gpu1]:2222", ED))
    subprocess.run(["ssh-keygen", "-H", "-f", str(file)], check=True, capture_output=True)
    assert "gpu1" not in file.read_text()
    assert host_keys.entries([str(file)], "[gpu1]:2222")
    assert not host_keys.entries([str(file)], "gpu1")
    host_keys.add(str(file), "gpu9", ED, hashed=True)
    found = subprocess.run(
        ["ssh-keygen", "-F", "gpu9", "-f", str(file)], check=True, capture_output=True, text=True
    )
    assert "found: line 2" in found.stdout
    assert "gpu9" not in file.read_text()


def test_judgement(tmp_path: Path) -> None:
    """Known, changed, unknown and revoked keys are told apart, and what cannot be read skipped."""
    file = tmp_path / "known_hosts"
    file.write_text(f"nonsense\n@cert-authority {line('*', RSA)}h ssh-ed25519 !!!\n")
    file.write_text(file.read_text() + line("h", ED))
    known = host_keys.entries([str(tmp_path / "none"), str(file)], "h")
    assert host_keys.judge(known, ED) is Trust.KNOWN
    assert host_keys.judge(known, ED2) is Trust.CHANGED
    assert host_keys.judge(known, RSA) is Trust.UNKNOWN
    file.write_text(line("h", ED) + line("*", ED, "@revoked "))
    assert host_keys.judge(host_keys.entries([str(file)], "h"), ED) is Trust.REVOKED


def test_preferred_algorithms(tmp_path: Path) -> None:
    """The types that are known come first, RSA by its present signatures."""
    file = tmp_path / "known_hosts"
    file.write_text(line("h", RSA) + line("h", ED))
    known = host_keys.entries([str(file)], "h")
    assert host_keys.key_types(known) == ("rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519")


def test_refusal_names_the_stale_line(tmp_path: Path) -> None:
    """A changed key is refused with both fingerprints, the line, and how to forget it."""
    file = tmp_path / "known_hosts"
    file.write_text("\n" + line("[h]:22000", ED))
    text = host_keys.refusal(host_keys.entries([str(file)], "[h]:22000"), ED2, "gpu1", "[h]:22000")
    assert f"{file}:2 holds {ED.fingerprint}" in text
    assert ED2.fingerprint in text
    assert f"ssh-keygen -f {file} -R '[h]:22000'" in text


def test_add_is_atomic_and_private(tmp_path: Path) -> None:
    """Many writers at once leave whole lines, in a file that only the user can read."""
    file = tmp_path / ".ssh" / "known_hosts"
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda i: host_keys.add(str(file), f"h{i}", ED, hashed=False), range(100)))
    assert all(host_keys.entries([str(file)], f"h{i}") for i in range(100))
    assert len(file.read_text().splitlines()) == 100
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_add_after_a_last_line_without_an_end(tmp_path: Path) -> None:
    """A last line without a newline is not spoilt."""
    file = tmp_path / "known_hosts"
    file.write_text(line("a", ED).strip())
    host_keys.add(str(file), "b", ED2, hashed=False)
    assert host_keys.entries([str(file)], "a")
    assert host_keys.entries([str(file)], "b")


def test_fingerprint_is_openssh_s(tmp_path: Path) -> None:
    """The fingerprint is the one that ssh-keygen shows."""
    file = tmp_path / "key.pub"
    file.write_text(line("", ED).strip())
    shown = subprocess.run(["ssh-keygen", "-lf", str(file)], check=True, capture_output=True)
    assert ED.fingerprint in shown.stdout.decode()
