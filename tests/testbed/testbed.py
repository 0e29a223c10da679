"""A testbed: N hosts on one switch, a client key for them, and an engine of this machine's own."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tests.testbed import packages
from tests.testbed.commands import TestbedError, run
from tests.testbed.engine import Engine, Holdings
from tests.testbed.host import Host
from tests.testbed.local import Local
from tests.testbed.machine import Machine
from tests.testbed.network import make_switch
from tests.testbed.site import Lock, Site, Subnet, free_subnet
from tests.testbed.sweep import sweep
from tests.testbed.templates import seed, template

_DEFAULT_IMAGES = ("busybox",)
T = TypeVar("T")
R = TypeVar("R")


class Spec(NamedTuple):
    """What a testbed is made of; `disk_bytes` and `fake_gpus` say so of single hosts by number."""

    hosts: int
    images: tuple[str, ...]
    disk_bytes: dict[int, int]
    fake_gpus: dict[int, int]
    second: int  # of the subnet's address
    stays: bool  # nobody takes it down but `down`


class Testbed:
    """Hosts that run. Make one with `up`; take it down with `down`.

    hosts: h1, h2, …; local: the launching machine's engine.
    client_key: opens root, ml (may use Docker) and outsider (may not) on every host.
    known_hosts, ssh_config: files in OpenSSH's forms that name every host.
    """

    __test__ = False

    def __init__(self, site: Site, spec: Spec, lock: Lock) -> None:
        self.site = site
        self.spec = spec
        self._lock = lock
        subnet = Subnet(spec.second)
        self.subnet = subnet
        self.hosts = tuple(
            Host(site, subnet, i, images=spec.images, disk_bytes=spec.disk_bytes.get(i, 0),
                 fake_gpus=spec.fake_gpus.get(i, 0))
            for i in range(1, spec.hosts + 1)
        )  # fmt: skip
        self.local = Local(site)
        self.folder = site.folder / "client"
        self.client_key = self.folder / "id_ed25519"
        self.known_hosts = self.folder / "known_hosts"
        self.ssh_config = self.folder / "config"

    @classmethod
    def up(cls, n: int, *, images: Sequence[str] = _DEFAULT_IMAGES,
           disk_bytes: dict[int, int] | None = None, fake_gpus: dict[int, int] | int = 0,
           stays: bool = False) -> "Testbed":  # fmt: skip
        """Return a testbed of `n` hosts whose sshd and Docker answer.

        What an earlier one left is removed first. `images`: of "busybox" and "tensorflow".
        `disk_bytes`: {2: 64 << 20} gives h2 a small disk; `fake_gpus`: of every host, or {1: 4}.

        Raises:
            Unavailable: this machine cannot have one.
            TestbedError: one of this name lives, or this one did not come up (and is gone again).
        """
        packages.require()
        site = Site.here()
        lock = _lock(site)
        if _stays(site):
            lock.release()
            raise TestbedError("a testbed is up; take it down with: python -m tests.testbed down")
        sweep(site)
        gpus = (
            dict.fromkeys(range(1, n + 1), fake_gpus) if isinstance(fake_gpus, int) else fake_gpus
        )
        try:
            subnet = _make_network(site)
            spec = Spec(n, tuple(images), disk_bytes or {}, gpus, subnet.second, stays)
            bed = cls(site, spec, lock)
            bed._make()
        except BaseException:
            sweep(site)
            lock.release()
            raise
        return bed

    @classmethod
    def attach(cls) -> "Testbed | None":
        """Return the testbed that `python -m tests.testbed up` made, or None.

        Raises:
            TestbedError: another process uses it.
        """
        site = Site.here()
        if not _stays(site):
            return None
        return cls(site, _read_spec(site), _lock(site))

    @classmethod
    def peek(cls) -> "Testbed | None":
        """Return the testbed that stays, without a claim on it, or None."""
        site = Site.here()
        return cls(site, _read_spec(site), Lock("none")) if _stays(site) else None

    @staticmethod
    def sweep_left() -> None:
        """Remove what a killed testbed of this name left. Raises TestbedError where one lives."""
        site = Site.here()
        lock = _lock(site)
        try:
            sweep(site)
        finally:
            lock.release()

    def down(self) -> None:
        """Remove the testbed wholly, and let another one be made."""
        try:
            sweep(self.site)
        finally:
            self._lock.release()

    def leave(self) -> None:
        """Let others use this testbed, or make another where this one was not to stay."""
        self._lock.release()

    @property
    def engines(self) -> tuple[Engine, ...]:
        """Every Docker Engine: the local one, then the hosts'."""
        return (self.local, *(host.engine for host in self.hosts))

    def holdings(self) -> tuple[Holdings, ...]:
        """Return what each engine holds."""
        return tuple(_together(Engine.holdings, self.engines))

    def recover(self) -> None:
        """Undo every fault on every host, and wait until all answer."""
        _together(Host.recover, self.hosts)
        if not self.local.answers:
            if not self.local.machine.is_up:
                self.local.machine.boot()
            self.local.start()
            self.local.await_ready()

    def clear(self, before: tuple[Holdings, ...]) -> tuple[str, ...]:
        """Remove what has come to the engines since `before`; return its names, for a person."""
        pairs = tuple(
            zip(("here", *(h.name for h in self.hosts)), self.engines, before, strict=True)
        )
        removed = _together(lambda pair: pair[1].remove_since(pair[2]), pairs)
        return tuple(
            f"{pair[0]}: {what}" for pair, w in zip(pairs, removed, strict=True) for what in w
        )

    def give_image(self, image: str) -> None:
        """Give every host and the local engine an image (`tensorflow`) that they lack.

        Restarts their engines: containers on them end.
        """
        if image in self.spec.images:
            return
        images = (*self.spec.images, image)
        template(images)
        _together(lambda host: _reseed(host.engine, host.data_root, images), self.hosts)
        _reseed(self.local, self.local.data_root, images)
        self.spec = self.spec._replace(images=images)
        self._write_spec()

    def environ(self, home: Path) -> dict[str, str]:
        """Return the environment of a launcher whose user's home is `home`.

        There `ssh h1` would work as user ml, and DOCKER_HOST is the local engine. It has no agent.
        """
        ssh = home / ".ssh"
        ssh.mkdir(mode=0o700, parents=True, exist_ok=True)
        for source in (self.client_key, self.client_key.with_suffix(".pub"), self.known_hosts):
            shutil.copy(source, ssh / source.name)
        (ssh / self.client_key.name).chmod(0o600)
        text = self.ssh_config.read_text().replace(f"{self.folder}/", f"{ssh}/")
        (ssh / "config").write_text(text)
        drop = ("SSH_AUTH_SOCK", "DOCKER_CONTEXT", "DOCKER_CONFIG", "TF_CONFIG")
        kept = {key: value for key, value in os.environ.items() if key not in drop}
        return {**kept, "HOME": str(home), "DOCKER_HOST": self.local.docker_host}

    def _make(self) -> None:
        if self.spec.images:
            template(self.spec.images)  # once, before several hosts want it
        self.folder.mkdir(parents=True)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "testbed", "-f", self.client_key)
        _together(lambda make: make(), [self._make_local, *map(self._making, self.hosts)])
        self._write_client_files()
        for engine in self.engines:
            engine.await_ready()
        self._write_spec()

    def _making(self, host: Host) -> Callable[[], None]:
        def make() -> None:
            host.make(self.client_key)
            host.boot()

        return make

    def _make_local(self) -> None:
        self.local.make(self.spec.images)
        self.local.boot()

    def _write_client_files(self) -> None:
        known, config = [], []
        for host in self.hosts:
            key = (host.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()
            known.append(f"{host.address},{host.address6} {key[0]} {key[1]}\n")
            config.append(
                f"Host {host.name}\n  HostName {host.address}\n  User ml\n"
                f"  IdentityFile {self.client_key}\n  UserKnownHostsFile {self.known_hosts}\n"
            )
        self.known_hosts.write_text("".join(known))
        self.ssh_config.write_text("".join(config))

    def _write_spec(self) -> None:
        (self.site.folder / "testbed.json").write_text(json.dumps(self.spec._asdict()))


def _make_network(site: Site) -> Subnet:
    """Make the site's switch in a network that is free; return that."""
    routes = Lock("routes")  # of two testbeds that come up at once, one chooses first
    routes.take(wait=True)
    try:
        subnet = free_subnet()
        make_switch(site, subnet)
    finally:
        routes.release()
    return subnet


def _together(work: Callable[[T], R], over: Sequence[T]) -> list[R]:
    with ThreadPoolExecutor(max(1, len(over))) as pool:
        return list(pool.map(work, over))


def _reseed(engine: Engine, data_root: Path, images: tuple[str, ...]) -> None:
    """Give a stopped engine the images anew; what else it held in images is forgotten."""
    engine.stop()
    for name in ("image", "overlay2"):
        shutil.rmtree(data_root / name)
    shutil.rmtree(data_root / "containers", ignore_errors=True)
    seed(data_root, images)
    engine.start()
    engine.await_ready()


def _lock(site: Site) -> Lock:
    lock = Lock(f"{site.prefix}testbed")
    if not lock.take():
        owner = lock.owner()
        lock.release()
        raise TestbedError(
            f"process {owner} uses the testbed {site.name!r}; "
            "wait for it, or give yours a name of its own: LAUNCH_TESTBED=abc"
        )
    return lock


def _stays(site: Site) -> bool:
    """Whether a testbed that is to stay is up."""
    try:
        spec = _read_spec(site)
    except FileNotFoundError:
        return False
    return spec.stays and Machine("local", site.folder / "local").is_up


def _read_spec(site: Site) -> Spec:
    value: dict[str, Any] = json.loads((site.folder / "testbed.json").read_text())
    for name in ("disk_bytes", "fake_gpus"):
        value[name] = {int(k): v for k, v in value[name].items()}
    return Spec(**{**value, "images": tuple(value["images"])})
