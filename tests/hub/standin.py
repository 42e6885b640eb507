"""A service that does nothing but what the supervisor sees of one. What it shall do wrong, STANDIN_<SERVICE> tells.

Only `socket` and the like are imported, so that a hub of stand-ins is ready in a fraction of a second.
"""

import os
import select
import signal
import socket
import sys
import time


def main(service: str) -> None:
    """Answer GET /ready, and as a gateway every client with one's own name."""
    fault, _, detail = os.environ.get(f"STANDIN_{service.upper()}", "").partition(":")
    if fault == "exit":
        status, _, line = detail.partition(":")
        print(line, file=sys.stderr, flush=True)
        sys.exit(int(status))
    if fault == "ignore-sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if fault == "never-ready":
        print("waiting for a thing that never comes", flush=True)
        time.sleep(600)
    if fault == "chatty":
        print("\n".join(f"line {number} of many" for number in range(int(detail))), flush=True)
    print(f'{{"message":"{os.environ["INSTANCE"]} started"}}', flush=True)
    admin = socket.create_server(("127.0.0.1", int(os.environ["ADMIN_PORT"])))
    sockets = [socket.socket(fileno=int(fd)) for fd in os.environ.get("GATEWAY_SOCKETS", "").split(",") if fd]
    for listener in sockets:
        listener.setblocking(False)
    body = os.environ["INSTANCE"].encode()
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
    while True:
        for listener in select.select([admin, *sockets], [], [])[0]:
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                continue  # another gateway was faster
            with connection:
                connection.setblocking(True)
                connection.recv(65536)
                connection.sendall(reply)
