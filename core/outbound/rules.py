"""What a deployment lets callers' URLs lead to."""

from __future__ import annotations

import re
from dataclasses import dataclass

import httpx

from core.contract.images import MAX_URL_CHARACTERS
from core.contract.settings import Settings
from core.outbound.addresses import Address, Network, is_in, is_public, literal

_HOST_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_LOCAL_NAMES = re.compile(
    r"[^.]+|.*\.(localhost|local|localdomain|internal|intranet|lan|corp|home|private|home\.arpa)"
)
_SCHEME_PORTS = {"https": 443, "http": 80}


class Refused(ValueError):
    """A URL that is not to be followed; its text is one for callers."""


@dataclass(frozen=True)
class Rules:
    """By default: https on its own port, to public addresses."""

    http: bool = False
    """Whether plain http is allowed too."""
    networks: tuple[Network, ...] = ()
    """Those that may be reached though they are not public."""
    ports: tuple[int, ...] = ()
    """Allowed beside the scheme's own."""

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        return cls(settings.outbound_http, settings.outbound_networks, settings.outbound_ports)

    def allow(self, address: Address) -> bool:
        """Whether a connection to `address` may be made."""
        return is_public(address) or is_in(address, self.networks)

    def checked(self, url: str) -> httpx.URL:
        """`url`, if its form is allowed: scheme, port, host, no credentials. Raises Refused.

        Where its host leads to is for the moment of the connection to say: a name's addresses
        can change at any time. Only hosts that are not public whatever happens are refused here.
        """
        try:
            found = httpx.URL(url)
            host = found.raw_host.decode("ascii").lower()
        except (httpx.InvalidURL, ValueError):
            host = ""
        if not host or len(url) > MAX_URL_CHARACTERS:
            raise Refused("This is no URL that can be read.")
        if found.scheme != "https" and not (found.scheme == "http" and self.http):
            wanted = "https or http" if self.http else "https"
            raise Refused(f"Expected a URL of {wanted}.")
        if found.userinfo:
            raise Refused("A URL here may hold no user name and no password.")
        # One final dot says that a name is whole; certificates are made out without it.
        host = host.removesuffix(".")
        self._check_host(host)
        if found.port not in (None, _SCHEME_PORTS[found.scheme], *self.ports):
            raise Refused(f"Port {found.port} is not allowed in a URL here.")
        return found.copy_with(host=host, fragment=None)

    def _check_host(self, host: str) -> None:
        address = None if "%" in host else literal(host)
        if address is not None:
            refused = not self.allow(address)
        elif not _HOST_NAME.fullmatch(host):
            raise Refused("The host's name in the URL can't be read.")
        else:
            refused = not self.networks and _LOCAL_NAMES.fullmatch(host) is not None
        if refused:
            raise Refused(f"{host} has no public address.")
