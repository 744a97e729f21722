#!/usr/bin/env bash
# s3fs 2026.9.0, against moto 5.1.4 as a store on loopback
# Guess:    a listing may be some seconds old; a key that is asked for by its name is looked up in the store.
# Seen:     once a folder has been listed, a key that another client adds there is not there by name either: `exists` is
#           False, `info`, `cat` and `open` raise FileNotFoundError, without a request and without an end. A key that
#           another client replaces keeps its old size, and `open` refuses it as expired, while `cat` reads the new
#           bytes.
# Matters:  a driver that looks into a folder and waits for what its workers write there waits for ever.
# Instead:  S3FileSystem(use_listings_cache=False), or `invalidate_cache()` before each look.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check "moto[s3,server]==5.1.4" boto3==1.43.117 botocore==1.43.117 s3fs==2026.9.0
venv/bin/python - <<'PY'
import logging
import os

os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
import boto3
import s3fs
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
server.start()
url = "http://{}:{}".format(*server.get_host_and_port())
other = boto3.client("s3", endpoint_url=url)
other.create_bucket(Bucket="sweeps")


def put(name: str, body: bytes) -> None:
    other.put_object(Bucket="sweeps", Key=f"run/{name}", Body=body)


def told(call, *args) -> object:
    try:
        return call(*args)
    except OSError as error:
        return type(error).__name__


seen = {}
for cached in (True, False):
    put("one", b"1")
    store = s3fs.S3FileSystem(endpoint_url=url, use_listings_cache=cached, skip_instance_cache=True)
    store.ls("sweeps/run")
    put(f"two-{cached}", b"2")
    put("one", b"12345")
    new = f"sweeps/run/two-{cached}"
    by_name = told(store.exists, new), told(store.cat, new)
    seen[cached] = *by_name, told(store.size, "sweeps/run/one"), told(store.cat, "sweeps/run/one")
    print(f"listings cached {cached}: exists, cat of a new key, size, cat of a replaced one: {seen[cached]}")
server.stop()
print("guessed: (True, b'2', 5, b'12345') for both")
assert seen[True] == (False, "FileNotFoundError", 1, b"12345"), f"changed: {seen}"
assert seen[False] == (True, b"2", 5, b"12345"), f"changed: {seen}"
PY
