"""A door in front of an HTTP service that lets everything through and remembers what was asked for."""

import re
import socket
import threading
from contextlib import contextmanager, suppress

REQUEST = re.compile(rb"(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1\.1\r\n(.*?)\r\n\r\n", re.DOTALL)
RANGE = re.compile(rb"(?im)^range: *(\S+)")


class Door:
    """Forwards bytes as they are, so that signatures over host and path stay valid."""

    def __init__(self, port):
        self._port = port
        self._lock = threading.Lock()
        self.requests = []
        """(method, path, range or None) of every request, in order."""
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def reads(self, prefix):
        """(path, range) of every GET of a file below `prefix`; listings and HEADs read nothing."""
        with self._lock:
            return [(path, part) for method, path, part in self.requests if method == "GET" and path.startswith(prefix)]

    def close(self):
        self._socket.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                threading.Thread(target=self._pump, args=(client, server, self._note()), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, lambda _: None), daemon=True).start()

    def _pump(self, source, sink, look):
        with suppress(OSError):
            while content := source.recv(1 << 16):
                look(content)
                sink.sendall(content)
        for side in (source, sink):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def _note(self):
        """Finds the heads of requests in what comes in pieces over one connection."""
        rest = b""

        def look(content):
            nonlocal rest
            rest += content
            end = 0
            for found in REQUEST.finditer(rest):
                end = found.end()
                part = RANGE.search(found[3])
                with self._lock:
                    self.requests.append((found[1].decode(), found[2].decode(), part[1].decode() if part else None))
            rest = rest[end:][-16_384:]

        return look


@contextmanager
def watched(port):
    """A door in front of a port of this machine."""
    door = Door(port)
    try:
        yield door
    finally:
        door.close()
