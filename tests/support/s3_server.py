"""A real S3 service for tests: SeaweedFS on free ports of the loopback, with credentials of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from data import storage
from data.errors import UserError
from infra.stack.ports import choose_ports, s3_sockets
from infra.stack.services import SERVICES

PARTS = ("master", "volume", "filer", "admin")
KEY, SECRET = "storage-test", "a-secret-of-this-test-alone"


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """URL of a running S3 service with the bucket `store`; stopped by its process id."""
    weed = Path(sys.executable).parent / "weed"
    if not weed.exists():
        pytest.skip("needs the extra `embedded`")
    ports = choose_ports(SERVICES["s3"].port_names, {}, set())
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [
                weed, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.port={ports['http']}",
                f"-s3.port.grpc={ports['grpc']}",
                *(f"-{part}.port={ports[part]}" for part in PARTS),
                *(f"-{part}.port.grpc={ports[f'{part}_grpc']}" for part in PARTS),
                "-admin.ui=false", "-webdav=false", "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
            ],
            stdout=log, stderr=log, cwd=folder,
            env={**os.environ, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET},
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{ports['http']}"
        with pytest.MonkeyPatch.context() as patch:
            set_environment(patch, url)
            deadline = time.monotonic() + 60
            while True:
                try:
                    storage.make_bucket("s3://store")
                    break
                except UserError:
                    assert process.poll() is None, (folder / "log").read_text()[-2000:]
                    assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
                    time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for path in s3_sockets(ports):
            path.unlink(missing_ok=True)


def set_environment(patch, url, key=KEY, secret=SECRET):
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        patch.delenv(name, raising=False)
    patch.setenv("AWS_ENDPOINT_URL", url)
    patch.setenv("AWS_ACCESS_KEY_ID", key)
    patch.setenv("AWS_SECRET_ACCESS_KEY", secret)
