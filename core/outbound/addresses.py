"""Which network addresses anyone may reach, and which are this network's own."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAT64 = IPv6Network("64:ff9b::/96")
_ALLOCATED = IPv6Network("2000::/3")
"""The global unicast addresses in use; outside are IPv4 in disguise, local and reserved ones."""

_NEVER: tuple[Network, ...] = (
    IPv4Network("168.63.129.16/32"),  # Azure's own, seen from inside only
    IPv4Network("192.0.0.0/24"),  # some Pythons take a part of it, with Oracle's, for global
    IPv4Network("192.88.99.0/24"),  # relays of 6to4, and its addresses: what they lead to is hidden
    IPv6Network("2002::/16"),
    IPv6Network("3fff::/20"),  # documentation, which older Pythons don't know
)


def is_public(address: Address) -> bool:
    """Whether an address, or the IPv4 address that it stands for, is one of the internet."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
        if address not in _ALLOCATED:
            return False
    if address.is_multicast or any(address in network for network in _NEVER):
        return False
    return address.is_global


def is_in(address: Address, networks: tuple[Network, ...]) -> bool:
    """Whether one of `networks` has an address, or the IPv4 address that is mapped into it."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return any((mapped or address) in network for network in networks)


def literal(host: str) -> Address | None:
    """The address that a host of a URL is, however it is written; None for a name.

    IPv4 addresses can be written as one number, in octal, in hexadecimal and with parts left
    out, and system calls read them all.
    """
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None
