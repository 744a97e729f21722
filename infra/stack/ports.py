"""The ports that the embedded stack's services listen on, and what SeaweedFS names after them."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping
from pathlib import Path

# Below the range from which the kernel takes ports for outgoing connections, so that a port is still free at a restart.
PORT_RANGE = range(20_000, 32_000)
GRPC_OFFSET = 10_000
"""SeaweedFS's own workers look for its admin server's gRPC port here."""


def port_is_free(port: int) -> bool:
    """Whether a server of ours can listen on this port of every local address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def choose_ports(names: tuple[str, ...], wanted: Mapping[str, int], taken: set[int]) -> dict[str, int]:
    """Ports for these names: the wanted ones when all of them are free, otherwise new ones, none of them in `taken`."""
    if all(name in wanted and port_is_free(wanted[name]) for name in names):
        return {name: wanted[name] for name in names}
    ports: dict[str, int] = {}
    candidates = random.SystemRandom().sample(PORT_RANGE, len(PORT_RANGE))
    for name in names:
        if name == "admin_grpc":
            continue
        used = taken | set(ports.values())
        for port in candidates:
            pair = (port, port + GRPC_OFFSET) if name == "admin" else (port,)
            if all(one in PORT_RANGE and one not in used and port_is_free(one) for one in pair):
                ports[name] = port
                break
        else:
            raise RuntimeError(f"no free port between {PORT_RANGE.start} and {PORT_RANGE.stop}")
    if "admin_grpc" in names:
        ports["admin_grpc"] = ports["admin"] + GRPC_OFFSET
    return ports


def s3_sockets(ports: Mapping[str, int]) -> list[Path]:
    """The sockets that SeaweedFS makes in /tmp for these of its ports, and leaves there when it is ended."""
    names = {"s3": "http", "s3-grpc": "grpc"}
    names |= {f"{part}-grpc": f"{part}_grpc" for part in ("filer", "master", "volume", "admin")}
    return [Path(f"/tmp/seaweedfs-{part}-{ports[name]}.sock") for part, name in names.items() if name in ports]
