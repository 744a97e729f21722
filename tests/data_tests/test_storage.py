"""Bytes on S3 as a real server speaks it, SeaweedFS."""

import os
import socket
import socketserver
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from data import object_stores, storage
from data.errors import UserError
from data.readers.contract import IngestSettings
from data.readers.ingest import ingest
from data.scenes.synth import SynthSettings, synthesise
from data.stores.chunks import open_store, read_shard, verify
from support.s3_server import KEY, SECRET, s3_server, set_environment
from support.starss23_tree import Tree

TINY = SynthSettings(
    train_clips=1, val_clips=1, test_clips=0, clip_s=3.0, train_rooms=1, val_rooms=1, test_rooms=1, clips_per_task=1
)
ALL_TO_TRAIN = IngestSettings(val_rooms=())


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("weed")) as url:
        yield url


@pytest.fixture
def s3(server, monkeypatch):
    set_environment(monkeypatch, server)
    return server


@pytest.mark.slow
def test_files_on_s3_are_written_listed_read_and_deleted(s3):
    root = "s3://store/files"
    assert storage.list_files(root) == {}
    storage.write_bytes(f"{root}/a/b", b"first")
    storage.write_bytes(f"{root}/a/b", b"second")
    storage.write_bytes(f"{root}/c", b"x" * 9_000_000)
    storage.write_bytes("s3://store/files-of-others", b"x")
    assert storage.list_files(root) == {"a/b": 6, "c": 9_000_000}
    assert storage.read_bytes(f"{root}/a/b") == b"second"
    assert storage.size(f"{root}/c") == 9_000_000
    storage.delete(f"{root}/a/b")
    assert not storage.exists(f"{root}/a/b")
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(f"{root}/a/b")


@contextmanager
def cut_before_the_body(url):
    """URL of a relay to this service through which only the heads of requests come, as from a process killed then."""
    upstream = urlsplit(url)

    class Relay(socketserver.BaseRequestHandler):
        def handle(self):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += self.request.recv(1)
            with socket.create_connection((upstream.hostname, upstream.port)) as there:
                there.sendall(head)
                there.shutdown(socket.SHUT_WR)
                while there.recv(4096):  # until the service is done with it
                    pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as relay:
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{relay.server_address[1]}"
        relay.shutdown()


@pytest.mark.slow
def test_a_write_that_ends_before_its_content_leaves_what_was_there(s3, monkeypatch):
    uri = "s3://store/records/00001.json"
    storage.write_bytes(uri, b'{"state": "complete"}')
    with cut_before_the_body(s3) as relay:
        set_environment(monkeypatch, relay)
        with pytest.raises(UserError):
            storage.write_bytes(uri, b'{"state": "complete", "more": true}')
        with pytest.raises(UserError):
            storage.write_new("s3://store/records/00002.json", b"new")
    set_environment(monkeypatch, s3)
    assert storage.read_bytes(uri) == b'{"state": "complete"}'
    assert not storage.exists("s3://store/records/00002.json")


def write_at_once(uri, writers=8):
    """What so many that write one new file at the same time are told; theirs are the contents b"0", b"1", ..."""

    def write(number):
        try:
            storage.write_new(uri, str(number).encode())
        except FileExistsError:
            return None
        return str(number).encode()

    with ThreadPoolExecutor(writers) as pool:
        return list(pool.map(write, range(writers)))


def check_new_files(root):
    for place in range(5):
        uri = f"{root}/{place}.json"
        written = [content for content in write_at_once(uri) if content is not None]
        assert written == [storage.read_bytes(uri)]
        with pytest.raises(FileExistsError):
            storage.write_new(uri, b"late")
        assert storage.read_bytes(uri) == written[0]
    assert len(storage.list_files(root)) == 5
    storage.delete(f"{root}/0.json")
    storage.write_new(f"{root}/0.json", b"again")
    assert storage.read_bytes(f"{root}/0.json") == b"again"


def test_of_many_that_write_a_new_local_file_one_does(tmp_path):
    check_new_files(str(tmp_path / "new" / "files"))


@pytest.mark.slow
def test_of_many_that_write_a_new_file_on_s3_one_does(s3):
    check_new_files("s3://store/new/files")


@pytest.mark.slow
def test_a_store_on_s3_equals_one_on_disk(s3, tmp_path):
    remote = synthesise(TINY, "s3://store/synthetic/tiny")
    assert remote.manifest.sha256 == synthesise(TINY, str(tmp_path)).manifest.sha256
    opened = open_store("s3://store/synthetic/tiny")
    assert verify(opened) == 2
    assert synthesise(TINY, "s3://store/synthetic/tiny").manifest.sha256 == remote.manifest.sha256
    shard = opened.split("val").shards[0]
    storage.delete(f"s3://store/synthetic/tiny/{shard.path}")
    with pytest.raises(UserError, match=r"part-.* is missing"):
        opened.check()


@pytest.mark.slow
def test_a_part_of_a_file_on_s3_is_read_alone(s3, tmp_path, monkeypatch):
    remote, local = (synthesise(TINY, root) for root in ("s3://store/parts", str(tmp_path)))
    (shard,) = remote.split("val").shards
    fetched = []
    read = object_stores.ObjectFile.read

    def counted(self, count=-1):
        content = read(self, count)
        fetched.append(len(content))
        return content

    monkeypatch.setattr(object_stores.ObjectFile, "read", counted)
    assert read_shard(remote, shard, ["recording", "events"]) == read_shard(local, shard, ["recording", "events"])
    assert 0 < sum(fetched) < shard.bytes
    assert len(fetched) <= 3
    content = storage.read_bytes(f"s3://store/parts/{shard.path}")
    with storage.open_file(f"s3://store/parts/{shard.path}") as file:
        file.seek(-100, os.SEEK_END)
        assert (file.read(60), file.read(), file.read()) == (content[-100:-40], content[-40:], b"")
    with pytest.raises(FileNotFoundError):
        storage.open_file("s3://store/parts/none")


@pytest.mark.slow
def test_a_tree_on_s3_is_taken_in_like_one_on_disk(s3, tmp_path):
    tree = Tree(tmp_path / "tree")
    tree.add("fold3_room1_mix001")
    tree.add("fold3_room2_mix001", csv="0,0,0,here,0\n")
    for path in tree.root.rglob("*.*"):
        storage.write_bytes(f"s3://store/tree/{path.relative_to(tree.root).as_posix()}", path.read_bytes())
    local = ingest(str(tree.root), str(tmp_path / "out"), ALL_TO_TRAIN)
    remote = ingest("s3://store/tree", "s3://store/taken", ALL_TO_TRAIN)
    assert remote.store.manifest.sha256 == local.store.manifest.sha256
    assert verify(open_store("s3://store/taken")) == 1
    (fault,) = remote.report["faults"]
    assert fault["reason"].startswith("s3://store/tree/metadata_dev/dev-train-tau/fold3_room2_mix001.csv:1: expected")


@pytest.mark.slow
def test_a_bucket_that_vanishes_is_said_and_spoils_nothing(s3, tmp_path, monkeypatch):
    monkeypatch.setattr("data.readers.ingest.SHARD_BYTES", 1)
    tree = Tree(tmp_path / "tree")
    out = str(tmp_path / "out")
    tree.add("fold3_room1_mix001", video=False)
    before = ingest(str(tree.root), out, ALL_TO_TRAIN).store
    tree.add("fold3_room2_mix001", video=False)

    def vanishing(bucket):
        def run(function, tasks):
            yield function(tasks[0])
            for path in storage.list_files(f"s3://{bucket}"):
                storage.delete(f"s3://{bucket}/{path}")
            object_stores.filesystem(f"s3://{bucket}").rmdir(bucket)
            yield from map(function, tasks[1:])

        return run

    # The place that is written to.
    storage.make_bucket("s3://vanishes")
    # SeaweedFS makes a bucket again at the next write, others refuse it: the first shard is missed, or the bucket.
    with pytest.raises(UserError, match=r"vanishes/data lost files while it was being made .*|no bucket 'vanishes'"):
        ingest(str(tree.root), "s3://vanishes/data", ALL_TO_TRAIN, run=vanishing("vanishes"))
    assert not storage.exists("s3://vanishes/data/manifest.json")
    # The place that is read from; the store on the disk stays as it was.
    storage.make_bucket("s3://fades")
    for path in tree.root.rglob("*.*"):
        storage.write_bytes(f"s3://fades/{path.relative_to(tree.root).as_posix()}", path.read_bytes())
    with pytest.raises(UserError, match=r"no (bucket|file).*fades"):
        ingest("s3://fades", out, ALL_TO_TRAIN, run=vanishing("fades"))
    assert open_store(out).manifest == before.manifest
    assert verify(open_store(out)) == 1


@pytest.mark.slow
def test_a_missing_bucket_is_named_and_not_made(s3):
    for action in (storage.check_root, open_store, lambda uri: synthesise(TINY, uri)):
        with pytest.raises(UserError, match="no bucket 'nowhere'"):
            action("s3://nowhere/data")
    with pytest.raises(UserError, match="no bucket 'nowhere'"):
        storage.check_root("s3://nowhere")


@pytest.mark.slow
def test_no_data_in_a_bucket_is_said(s3):
    with pytest.raises(UserError, match=r"no data at s3://store/empty"):
        open_store("s3://store/empty")


@pytest.mark.slow
@pytest.mark.parametrize(("key", "secret"), [(KEY, "wrong"), ("nobody", SECRET)])
def test_wrong_credentials_are_told_from_a_missing_bucket(s3, monkeypatch, key, secret):
    set_environment(monkeypatch, s3, key, secret)
    for uri in ("s3://store/data", "s3://nowhere/data"):
        with pytest.raises(UserError, match=r"refuses the credentials.*AWS_ACCESS_KEY_ID"):
            storage.check_root(uri)
    with pytest.raises(UserError, match="refuses the credentials"):
        storage.write_bytes("s3://store/data", b"x")


@pytest.mark.slow
def test_a_bucket_is_made_once(s3):
    storage.make_bucket("s3://another/with/a/path")
    storage.make_bucket("s3://another")
    storage.check_root("s3://another")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://no-such-host.invalid", "nonsense"])
def test_an_endpoint_that_does_not_answer_is_said_within_seconds(monkeypatch, url):
    set_environment(monkeypatch, url)
    started = time.monotonic()
    with pytest.raises(UserError, match=rf"{url}.*AWS_ENDPOINT_URL") as refused:
        storage.check_root("s3://store/data")
    assert "\n" not in str(refused.value)
    assert time.monotonic() - started < 15


def test_an_endpoint_that_takes_the_call_and_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(object_stores, "READ_TIMEOUT_S", 1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        set_environment(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(UserError, match="does not answer"):
            storage.check_root("s3://store/data")


def test_a_bucket_name_that_cannot_be_is_said(monkeypatch):
    set_environment(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(UserError, match="no valid S3 URI"):
        storage.check_root("s3://Not A Bucket/data")
