"""The wires of a testbed: a bridge in a namespace of its own, the switch, and a link a host.

The bridge is kept out of this machine's own namespace, whose firewall (Docker sets FORWARD to
DROP) would otherwise stand between the hosts.
"""

import json
from pathlib import Path

from tests.testbed.commands import TestbedError, run
from tests.testbed.site import LAUNCHER, Site, Subnet

_BRIDGE = "bridge"
INTERFACE = "eth0"


def make_switch(site: Site, subnet: Subnet) -> None:
    """Make the switch, and the wire from this machine into it."""
    _netns(site.switch)
    _ip(site.switch, f"link add {_BRIDGE} type bridge stp_state 0 mcast_snooping 0")
    _ip(site.switch, f"link set {_BRIDGE} up")
    run("ip", "link", "add", site.wire, "type", "veth", "peer", "name", "up0",
        "netns", site.switch)  # fmt: skip
    _plug(site, "up0")
    run("ip", "link", "set", site.wire, "up")
    run("ip", "address", "add", f"{subnet.address(LAUNCHER)}/24", "dev", site.wire)
    run("ip", "address", "add", f"{subnet.address6(LAUNCHER)}/64", "dev", site.wire, "nodad")


def make_link(site: Site, subnet: Subnet, host: str, number: int) -> None:
    """Make a host's network namespace and plug it into the switch."""
    netns = site.netns(host)
    _netns(netns)
    run("ip", "link", "add", host, "netns", site.switch, "type", "veth", "peer", "name",
        INTERFACE, "netns", netns)  # fmt: skip
    _plug(site, host)
    _ip(netns, f"link set {INTERFACE} up")
    _ip(netns, f"address add {subnet.address(number)}/24 dev {INTERFACE}")
    _ip(netns, f"address add {subnet.address6(number)}/64 dev {INTERFACE} nodad")


def set_link(site: Site, host: str, *, up: bool) -> None:
    """Plug a host's cable in, or pull it out of the switch."""
    _ip(site.switch, f"link set {host} {'up' if up else 'down'}")


def delay(site: Site, host: str, delay_ms: int) -> None:
    """Delay by so much what goes to a host, and again what comes from it.

    Raises:
        TestbedError: this kernel has no netem.
    """
    _shape(site, host, "netem", "delay", f"{delay_ms}ms")


def limit_rate(site: Site, host: str, rate: str) -> None:
    """Let no more than `rate` (as tc writes it: 10mbit) through in each direction."""
    _shape(site, host, "tbf", "rate", rate, "burst", "64kb", "latency", "400ms")


def lose(site: Site, host: str, percent: float) -> None:
    """Lose that part of the packets in each direction.

    By the firewall, which every kernel with Docker has, not by netem. Its table is used by nothing
    else on a host.
    """
    chance = f"{percent / 100:.4f}"
    for chain, way in (("PREROUTING", "-i"), ("POSTROUTING", "-o")):
        _firewall(site, host, "-w", "-t", "mangle", "-A", chain, way, INTERFACE, "-m", "statistic",
                  "--mode", "random", "--probability", chance, "-j", "DROP")  # fmt: skip


def speed_up(site: Site, host: str) -> None:
    """Undo `delay`, `limit_rate` and `lose`."""
    for netns, interface in ((site.switch, host), (site.netns(host), INTERFACE)):
        run("tc", "-n", netns, "qdisc", "del", "dev", interface, "root", check=False)
    _firewall(site, host, "-w", "-t", "mangle", "-F")


def _shape(site: Site, host: str, *discipline: str) -> None:
    for netns, interface in ((site.switch, host), (site.netns(host), INTERFACE)):
        try:
            run("tc", "-n", netns, "qdisc", "replace", "dev", interface, "root", *discipline)
        except TestbedError as error:
            what = discipline[0]
            raise TestbedError(f"this kernel cannot slow a link: no {what}: {error}") from None


def _firewall(site: Site, host: str, *rule: str) -> None:
    for program in ("iptables", "ip6tables"):
        run("nsenter", f"--net=/run/netns/{site.netns(host)}", program, *rule)


def bytes_on_wire(site: Site, host: str) -> int:
    """Return how many bytes have gone to and from a host since it was plugged in."""
    shown = run("ip", "-n", site.switch, "-s", "-j", "link", "show", host).stdout
    (link,) = json.loads(shown)
    return int(link["stats64"]["rx"]["bytes"]) + int(link["stats64"]["tx"]["bytes"])


def namespaces(site: Site) -> tuple[str, ...]:
    """Return the network namespaces that bear this site's names."""
    try:
        names = sorted(path.name for path in Path("/run/netns").iterdir())
    except FileNotFoundError:
        return ()
    hosts = (n for n in names if n.startswith(site.prefix) and n[len(site.prefix) :][1:].isdigit())
    return (*hosts, *(n for n in names if n == site.switch))


def processes_in(netns: str) -> tuple[int, ...]:
    """Return the processes whose network namespace it is."""
    return tuple(map(int, run("ip", "netns", "pids", netns, check=False).stdout.split()))


def remove(site: Site) -> None:
    """Remove every namespace and interface of the site; a link goes with its namespace."""
    for netns in namespaces(site):
        run("ip", "netns", "delete", netns)
    run("ip", "link", "delete", site.wire, check=False)


def _netns(name: str) -> None:
    run("ip", "netns", "add", name)
    _ip(name, "link set lo up")


def _plug(site: Site, interface: str) -> None:
    _ip(site.switch, f"link set {interface} master {_BRIDGE} up")


def _ip(netns: str, line: str) -> None:
    run("ip", "-n", netns, *line.split())
