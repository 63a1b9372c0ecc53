"""Names of this machine: a page elsewhere may point a name of its own at it (DNS rebinding)."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine for itself only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def asked_by_loopback_name(host_field: str) -> bool:
    """Whether a request's Host names this machine, and not by a name that anybody may own."""
    try:
        return is_loopback(urlsplit(f"//{host_field}").hostname or "")
    except ValueError:  # a bracket without its other half
        return False
