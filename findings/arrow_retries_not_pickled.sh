#!/usr/bin/env bash
# pyarrow 25.0.1
# Guess:    an S3FileSystem that is pickled is the same one when it is read back: endpoint, timeouts and retries.
# Seen:     all but `retry_strategy`, which is the default again: told to try once, it asks once, and three times when it
#           is read back.
# Matters:  Ray hands a file system to its workers pickled, so that retries chosen with it hold in the driver alone; and
#           two file systems that try differently are equal.
# Instead:  make the file system where it is used, or try again around it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pyarrow==25.0.1
export AWS_ACCESS_KEY_ID=finding AWS_SECRET_ACCESS_KEY=a-key-of-this-run AWS_EC2_METADATA_DISABLED=true
venv/bin/python - <<'PY'
import pickle
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

asked = []


class Overloaded(BaseHTTPRequestHandler):
    def do_HEAD(self):
        asked.append(self.path)
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Overloaded)
threading.Thread(target=server.serve_forever, daemon=True).start()


def requests(files):
    asked.clear()
    try:
        files.get_file_info("bucket/key")
    except OSError:
        return len(asked)
    raise SystemExit("it was found")


once = S3FileSystem(
    endpoint_override=f"127.0.0.1:{server.server_port}",
    scheme="http",
    region="us-east-1",
    request_timeout=7,
    retry_strategy=AwsStandardS3RetryStrategy(max_attempts=1),
)
again = pickle.loads(pickle.dumps(once))
settings = once.__reduce__()[1][0]
seen = (requests(once), requests(again), once == again, "retry_strategy" in settings, settings["request_timeout"])
print("requests, after pickling, equal, kept retries, kept timeout:", *seen)
assert seen[0] < seen[1] and seen[2:] == (True, False, 7.0), seen
PY
