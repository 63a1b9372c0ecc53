"""Checks for loopback host names, against DNS rebinding.

In DNS rebinding, a web page from elsewhere points a name that it owns at this machine.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address is a loopback one."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def asked_by_loopback_name(host_field: str) -> bool:
    """Return whether a request's Host is a loopback name, which nobody else can own."""
    try:
        return is_loopback(urlsplit(f"//{host_field}").hostname or "")
    except ValueError:  # an unclosed bracket
        return False
