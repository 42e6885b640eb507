"""TCP ports: the two that clients connect to, and free ones for what only this machine uses."""

import errno
import random
import socket

from aicp.hub.exceptions import HubError

BACKLOG = 1024
"""Connections that wait while every gateway is busy or restarting."""

_FREE_RANGE = range(20_000, 32_000)
# Below the range from which Linux takes the local ports of outgoing connections (32768 and up): a port given to a
# process that restarts cannot be taken by some connection in the meantime.


def listen(host: str, port: int, option: str) -> socket.socket:
    """A listening socket for clients, to be handed down to every gateway.

    Args:
        host: address or name to bind; a name with several addresses uses the first, IPv4 before IPv6.
        port: 1 to 65535, or 0 for a free one.
        option: the flag that sets this port, for messages.

    Raises:
        HubError: the address or port cannot be bound; says why and names the flag.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise HubError(f"host {host!r} is no address of this machine ({error}); choose another with --host") from None
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and address[0] == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise HubError(_why_not(error, host, port, option)) from None
    return listener


def _why_not(error: OSError, host: str, port: int, option: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use by another program; choose another port with {option}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"port {port} may only be opened by root; choose a port from 1024 up with {option}"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"host {host!r} is no address of this machine; choose another with --host"
    return f"port {port} on {host} cannot be opened ({error.strerror}); choose another with {option} or --host"


class FreePorts:
    """Hands out free TCP ports of 127.0.0.1, none twice."""

    def __init__(self) -> None:
        self._given: set[int] = set()

    def take(self, preferred: int | None = None) -> int:
        """A port nobody listens on: `preferred` when it is still free."""
        if preferred is not None and _is_free(preferred):
            self._given.add(preferred)
            return preferred
        for port in random.sample(_FREE_RANGE, k=200):
            if port not in self._given and _is_free(port):
                self._given.add(port)
                return port
        raise HubError(f"no free TCP port from {_FREE_RANGE.start} to {_FREE_RANGE.stop} on 127.0.0.1")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Servers bind with SO_REUSEADDR too, so connections in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
