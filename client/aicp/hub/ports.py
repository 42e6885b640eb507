"""TCP ports: the two that clients connect to, and free ones for what only this machine uses."""

import errno
import random
import socket

from aicp.hub.exceptions import HubError

BACKLOG = 1024
"""Connections that wait while every gateway is busy or restarting."""

_FREE_RANGE = range(20_000, 32_000)
# Below 32768, from where Linux takes the local ports of outgoing connections: none of those is in the way.


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
        # Gateways share it: the slower one of two must not hang in accept().
        listener.setblocking(False)
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
    """Hands out free TCP ports of 127.0.0.1 and keeps them reserved, so that a process that restarts finds its own.

    A reservation is a socket that is bound but does not listen: Linux lets another socket listen on its port when both
    have SO_REUSEADDR (NATS, Redis and Python's servers do), but gives the port to nobody who asks for a free one.
    """

    def __init__(self) -> None:
        self._reserved: list[socket.socket] = []

    def take(self, preferred: int | None = None) -> int:
        """A port nobody uses: `preferred` when nobody listens there.

        Raises:
            HubError: none is free.
        """
        # Connections of the last run may linger on the preferred port; they do not matter.
        if preferred is not None and self._reserve(preferred, despite_old_connections=True):
            return preferred
        for port in random.sample(_FREE_RANGE, k=200):
            if self._reserve(port, despite_old_connections=False):
                return port
        raise HubError(f"no free TCP port from {_FREE_RANGE.start} to {_FREE_RANGE.stop} on 127.0.0.1")

    def close(self) -> None:
        """Give all ports back."""
        for reserved in self._reserved:
            reserved.close()
        self._reserved.clear()

    def _reserve(self, port: int, *, despite_old_connections: bool) -> bool:
        candidate = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if despite_old_connections:
                candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Without that option, a port that another hub has reserved is refused.
            candidate.bind(("127.0.0.1", port))
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        except OSError:
            candidate.close()
            return False
        self._reserved.append(candidate)
        return True
