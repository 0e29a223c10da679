"""What launcher.address promises: exactly TensorFlow's host:port is read, and told apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.address import Address, host_problem, is_loopback, is_public, is_wildcard


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("h:1", "h", 1),
        ("10.0.0.11:2222", "10.0.0.11", 2222),
        ("gpu-1.lab_a.example:65535", "gpu-1.lab_a.example", 65535),
        ("[::1]:2222", "::1", 2222),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", 80),
    ],
)
def test_host_and_port_are_read(text: str, host: str, port: int) -> None:
    """A name, an IPv4 or a bracketed IPv6 address with a port is read and written back alike."""
    address = Address.parse(text)
    assert address == Address(host, port)
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("h", "expected host:port, got 'h' without a port"),
        ("h:", "expected host:port, got 'h:' without a port"),
        ("", "expected a host name or address, got nothing in ''"),
        (":2222", "expected a host name or address, got nothing in ':2222'"),
        ("h:0", "expected a port in 1..65535, got '0' in 'h:0'"),
        ("h:65536", "expected a port in 1..65535, got '65536' in 'h:65536'"),
        ("h:0000655359", "expected a port in 1..65535, got '0000655359' in 'h:0000655359'"),
        ("h:-1", "expected a port in 1..65535, got '-1' in 'h:-1'"),
        ("h:http", "expected a port in 1..65535, got 'http' in 'h:http'"),
        ("h:٢٢", "expected a port in 1..65535, got '٢٢' in 'h:٢٢'"),
        ("::1:2222", "expected [::1:2222]:port, got '::1:2222'"),
        ("a:b:2222", "expected host:port, got 'a:b:2222'"),
        ("[::1]", "expected host:port, got '[::1]' without a port"),
        ("[::1:2222", "expected [IPv6 address]:port, got '[::1:2222'"),
        ("[h]:2222", "expected [IPv6 address]:port, got '[h]:2222'"),
        ("http://h:80", "expected host:port, got 'http://h:80'"),
        (
            "my host:80",
            "expected a host name or address, got the character ' ' in 'my host:80'",
        ),
    ],
)
def test_a_wrong_address_is_named(text: str, problem: str) -> None:
    """What is no address says what was expected instead."""
    with pytest.raises(ValueError) as raised:
        Address.parse(text)
    assert str(raised.value) == problem


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes reading fail otherwise, and what is read is a valid address."""
    try:
        address = Address.parse(text)
    except ValueError:
        return
    assert 1 <= address.port <= 65535
    assert host_problem(address.host) == ""


@given(st.one_of(st.ip_addresses().map(str), st.just("gpu-1")), st.integers(1, 65535))
def test_a_written_address_is_read_again(host: str, port: int) -> None:
    """Every address reads back from its own text."""
    assert Address.parse(str(Address(host, port))) == Address(host, port)


@pytest.mark.parametrize(
    ("host", "loopback", "wildcard", "public"),
    [
        ("localhost", True, False, False),
        ("127.0.1.1", True, False, False),
        ("::1", True, False, False),
        ("0.0.0.0", False, True, False),
        ("::", False, True, False),
        ("10.0.0.1", False, False, False),
        ("192.168.1.1", False, False, False),
        ("100.64.0.1", False, False, False),
        ("fe80::1", False, False, False),
        ("8.8.8.8", False, False, True),
        ("2001:4860:4860::8888", False, False, True),
        ("gpu1.example.org", False, False, False),
    ],
)
def test_kinds_of_hosts(host: str, loopback: bool, wildcard: bool, public: bool) -> None:
    """Loopback, wildcard and public addresses are told from private ones and from names."""
    assert (is_loopback(host), is_wildcard(host), is_public(host)) == (loopback, wildcard, public)


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        ("gpu1", ""),
        ("fe80::1", ""),
        ("1:2", "expected an IPv6 address, got '1:2'"),
        ("", "expected a host name or address, got nothing"),
        ("a/b", "expected a host name or address, got the character '/'"),
    ],
)
def test_wrong_hosts(host: str, problem: str) -> None:
    """A host alone is checked like one with a port."""
    assert host_problem(host) == problem
