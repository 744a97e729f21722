"""What S3 says, or what stands in the way to it, is passed on with what to check."""

import http.server
import os
import re
import threading
from contextlib import contextmanager

import pytest
from botocore.exceptions import ClientError

from data import storage
from data.errors import Unavailable, UserError
from data.object_stores import KINDS
from support.s3_server import set_environment


def test_a_profile_that_is_not_there_is_said(monkeypatch):
    set_environment(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(UserError, match=r"profile \(nobody\) could not be found; check AWS_PROFILE"):
        storage.check_root("s3://store/data")


@contextmanager
def answered_by(handler, monkeypatch):
    """A server of the handler's in place of the S3."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as stub:
        threading.Thread(target=stub.serve_forever, daemon=True).start()
        set_environment(monkeypatch, f"http://127.0.0.1:{stub.server_port}")
        yield
        stub.shutdown()


class NoList(http.server.BaseHTTPRequestHandler):
    """An S3 whose user may not list: what is not there is refused, with the reason."""

    def do_GET(self):
        body = b"<Error><Code>AccessDenied</Code><Message>not authorized: s3:ListBucket</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_a_right_that_is_missing_is_passed_on_in_the_words_of_s3(monkeypatch):
    with answered_by(NoList, monkeypatch):
        for action in (storage.check_root, storage.read_bytes):
            with pytest.raises(UserError, match=r"\(AccessDenied: not authorized: s3:ListBucket\); check AWS_A"):
                action("s3://mine/data")


class Page(http.server.BaseHTTPRequestHandler):
    """Something else than an S3: it has a page for every question, or leads back to where it was asked."""

    status = 200

    def do_GET(self):
        self.send_response(self.status)
        self.send_header("Content-Length", "13")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"<html></html>")

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("status", [200, 301])
def test_what_answers_and_is_no_s3_is_said(monkeypatch, status):
    monkeypatch.setattr(Page, "status", status)
    with answered_by(Page, monkeypatch):
        for action in (storage.size, storage.list_files):
            with pytest.raises(UserError, match=r"answers, but not as S3 does .*; check AWS_ENDPOINT_URL"):
                action("s3://mine/data")


@pytest.mark.parametrize(
    ("code", "status", "passes"),
    [
        *[("InternalError", 500, True), ("SlowDown", 503, True), ("InsufficientStorage", 507, True), ("", 502, True)],
        *[("AccessDenied", 403, True), ("ExpiredToken", 400, True), ("TooManyRequests", 429, True)],
        *[("RequestTimeout", 408, True), ("NoSuchBucket", 404, True)],
        *[("EntityTooLarge", 400, False), ("InvalidArgument", 400, False), ("MethodNotAllowed", 405, False)],
    ],
)
def test_what_may_pass_is_waited_for_and_a_request_that_is_wrong_is_not(code, status, passes):
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    told = KINDS["s3"].explain("s3://b/key", "http://store", ClientError(answer, "PutObject"))
    assert type(told) is (Unavailable if passes else UserError)


@pytest.mark.parametrize(
    ("code", "detail", "status", "said"),
    [
        (
            "InternalError",
            "We failed.",
            500,
            "store refuses s3://b/key: InternalError We failed; look at its log, and ",
        ),
        ("ExpiredToken", "It ended.", 400, r"\(ExpiredToken: It ended\.\); check .*KEY, AWS_SESSION_TOKEN$"),
        ("AuthorizationHeaderMalformed", "expecting 'eu'", 400, r"expecting 'eu'\); check .*, AWS_REGION$"),
        ("SignatureDoesNotMatch", "It differs.", 403, r"\(SignatureDoesNotMatch: It differs\.\); .*ACCESS_KEY$"),
        ("403", "Forbidden", 403, r"\(403: Forbidden\); check .*, and what they are allowed to do there$"),
        ("SlowDown", "Fewer requests.", 503, "store refuses s3://b/key: SlowDown Fewer requests$"),
        ("AccessDenied", None, 403, r"\(AccessDenied\); check "),
        ("", "", 407, "store refuses s3://b/key: HTTP 407$"),
    ],
)
def test_what_s3_says_is_passed_on_with_what_to_check(code, detail, status, said):
    answer = {"Error": {"Code": code, "Message": detail}, "ResponseMetadata": {"HTTPStatusCode": status}}
    assert re.search(said, str(KINDS["s3"].explain("s3://b/key", "http://store", ClientError(answer, "PutObject"))))


@pytest.mark.parametrize(
    ("url", "proxy", "said"),
    [
        ("https", None, r"SSL validation failed .*; check AWS_ENDPOINT_URL and AWS_CA_BUNDLE"),
        ("http://192.0.2.1", "http://127.0.0.1:9", r"Failed to connect to proxy URL: \S+; check HTTP_PROXY"),
    ],
)
def test_what_stands_in_the_way_to_s3_is_said(monkeypatch, url, proxy, said):
    with answered_by(Page, monkeypatch):
        here = os.environ["AWS_ENDPOINT_URL"].replace("http:", "https:")
        monkeypatch.setenv("AWS_ENDPOINT_URL", here if url == "https" else url)
        if proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy)
        with pytest.raises(UserError, match=said):
            storage.check_root("s3://mine/data")
