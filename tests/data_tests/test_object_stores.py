"""One factory of clients: stores beside others that write to them, other schemes, forked children, pickles, the end."""

import ast
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from data import object_stores, storage
from data.errors import UserError
from data.object_stores import KINDS, Access
from support.s3_server import KEY, SECRET, s3_server, set_environment

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("weed")) as url:
        yield url


@pytest.fixture
def s3(server, monkeypatch):
    set_environment(monkeypatch, server)
    return server


@pytest.fixture
def memory(monkeypatch):
    """A third scheme: what holds for it holds for every library that fsspec knows."""
    kind = object_stores.StoreKind(
        service=lambda: "memory",
        make=object_stores.by_protocol("memory"),
        explain=KINDS["gs"].explain,
        errors=lambda: (OSError, ValueError),
        variables=(),
    )
    monkeypatch.setitem(KINDS, "memory", kind)
    storage.make_bucket("memory://store")
    yield "memory://store"
    files = object_stores.filesystem("memory://store")
    files.rm("/store", recursive=True)


def check_what_others_do(root):
    """Files that come, change and go behind the client's back, as other processes make them."""
    storage.write_bytes(f"{root}/a/first", b"1")
    assert storage.list_files(root) == {"a/first": 1}
    assert not storage.exists(f"{root}/a/second")
    versions = storage.list_versions(root)
    others = object_stores.KINDS[object_stores.scheme_of(root)].make(None)
    path = others._strip_protocol(root)
    others.pipe_file(f"{path}/a/second", b"22")
    assert storage.read_bytes(f"{root}/a/second") == b"22"
    assert storage.size(f"{root}/a/second") == 2
    assert storage.list_files(root) == {"a/first": 1, "a/second": 2}
    others.pipe_file(f"{path}/a/first", b"one")
    assert storage.list_versions(root)["a/first"] != versions["a/first"]
    with storage.open_file(f"{root}/a/first") as file:
        assert file.read() == b"one"
    with pytest.raises(FileExistsError):
        storage.write_new(f"{root}/a/second", b"mine")
    others.rm_file(f"{path}/a/first")
    assert not storage.exists(f"{root}/a/first")
    assert storage.list_files(root) == {"a/second": 2}
    with pytest.raises(FileNotFoundError, match=r"no file .*a/first"):
        storage.read_bytes(f"{root}/a/first")
    storage.delete(f"{root}/a/first")
    storage.delete(f"{root}/a/second")
    assert storage.list_files(root) == {}


@pytest.mark.slow
def test_what_others_write_and_delete_on_s3_is_seen(s3):
    check_what_others_do("s3://store/others")


def test_what_others_write_and_delete_on_another_store_is_seen(memory):
    check_what_others_do(f"{memory}/others")


def check_bytes(root):
    """Odd names, empty files, folders, parts."""
    names = ["[a]*?.txt", "empty", "below/a name with spaces", "ü#%+&.bin"]
    for number, name in enumerate(names):
        storage.write_bytes(f"{root}/{name}", b"0123456789" * number if name != "empty" else b"")
    assert storage.list_files(root) == {"[a]*?.txt": 0, "empty": 0, "below/a name with spaces": 20, "ü#%+&.bin": 30}
    for name, count in storage.list_files(root).items():
        content = storage.read_bytes(f"{root}/{name}")
        assert len(content) == count == storage.size(f"{root}/{name}")
        with storage.local_copy(f"{root}/{name}") as path:
            assert path.read_bytes() == content
        with storage.open_file(f"{root}/{name}") as file:
            assert file.read() == content
    with storage.open_file(f"{root}/ü#%+&.bin") as file:
        file.seek(13)
        assert (file.read(4), file.tell(), file.read(100), file.read()) == (b"3456", 17, b"7890123456789", b"")
    # A folder is no file, a file no folder, and one name the beginning of another.
    assert storage.size(f"{root}/below") is None
    assert storage.list_files(f"{root}/empty") == {}
    assert storage.list_files(f"{root}/bel") == {}
    with pytest.raises(FileNotFoundError, match="no file"), storage.local_copy(f"{root}/none"):
        pass


@pytest.mark.slow
def test_what_marks_a_folder_on_s3_is_no_file(s3):
    object_stores.arrow_filesystem("s3://store/marked").create_dir("store/marked/folder")
    storage.write_bytes("s3://store/marked/folder/file", b"1")
    assert storage.list_files("s3://store/marked") == {"folder/file": 1}


@pytest.mark.slow
def test_bytes_of_odd_names_come_back_from_s3(s3):
    check_bytes("s3://store/odd")


def test_bytes_of_odd_names_come_back_from_another_store(memory):
    check_bytes(f"{memory}/odd")


def test_a_missing_bucket_is_said_on_another_store(memory):
    storage.check_root(f"{memory}/data")
    with pytest.raises(UserError, match="no bucket 'nowhere' at memory"):
        storage.check_root("memory://nowhere/data")


@pytest.mark.slow
def test_what_is_too_large_for_one_put_is_written_whole(s3):
    content = os.urandom(1 << 20) * 101
    storage.write_bytes("s3://store/large", content)
    assert storage.list_files("s3://store")["large"] == len(content)
    assert storage.read_bytes("s3://store/large") == content
    with storage.local_copy("s3://store/large") as path:
        assert path.read_bytes() == content


@pytest.mark.slow
def test_nothing_is_moved_on_s3(s3):
    storage.write_bytes("s3://store/old/a", b"1")
    files = object_stores.filesystem("s3://store/old")
    for move in (files.mv, files.move, files.rename):
        with pytest.raises(NotImplementedError, match="store/old cannot be moved"):
            move("store/old", "store/new", recursive=True)
    assert storage.list_files("s3://store/old") == {"a": 1}
    assert storage.list_files("s3://store/new") == {}


@pytest.mark.slow
def test_what_is_not_there_is_deleted_without_a_word_and_a_missing_bucket_with_one(s3):
    storage.delete("s3://store/never/there")
    with pytest.raises(UserError, match="no bucket 'nowhere'"):
        storage.delete("s3://nowhere/a")


@pytest.mark.slow
def test_a_service_can_be_given_in_place_of_the_one_of_the_environment(s3, monkeypatch):
    set_environment(monkeypatch, "http://127.0.0.1:9", "nobody", "nothing")
    storage.make_bucket("s3://given", Access(s3, KEY, SECRET))
    with pytest.raises(UserError, match=f"{s3} refuses the credentials"):
        storage.make_bucket("s3://given", Access(s3, KEY, "wrong"))
    assert SECRET not in repr(Access(s3, KEY, SECRET))
    set_environment(monkeypatch, s3)
    storage.check_root("s3://given")


FORKS = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from data import storage
storage.write_bytes("s3://store/forked/a", b"parent")
child = os.fork()
if not child:
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(storage.read_bytes, ["s3://store/forked/a"] * 16)) == {b"parent"}
    storage.write_bytes("s3://store/forked/b", b"child")
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
print(storage.read_bytes("s3://store/forked/b"), storage.list_files("s3://store/forked"))
"""


@pytest.mark.slow
def test_a_forked_child_has_a_client_of_its_own_and_both_end_in_silence(s3):
    done = subprocess.run(
        [sys.executable, "-W", "default::ResourceWarning", "-c", FORKS],
        capture_output=True, text=True, cwd=ROOT, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == "b'child' {'a': 6, 'b': 5}"


@pytest.mark.slow
def test_pyarrow_writes_what_storage_reads_and_carries_no_secret(s3):
    files = object_stores.arrow_filesystem("s3://store/arrow")
    pickled = pickle.dumps(files)
    assert SECRET.encode() not in pickled
    with pickle.loads(pickled).open_output_stream("store/arrow/a") as sink:
        sink.write(b"by pyarrow")
    assert storage.read_bytes("s3://store/arrow/a") == b"by pyarrow"


def test_pyarrow_writes_to_another_store(memory):
    with object_stores.arrow_filesystem(memory).open_output_stream("store/a") as sink:
        sink.write(b"by pyarrow")
    assert storage.read_bytes(f"{memory}/a") == b"by pyarrow"


def test_a_client_that_is_pickled_carries_no_secret(monkeypatch):
    set_environment(monkeypatch, "http://127.0.0.1:9")
    files = object_stores.filesystem("s3://store")
    assert SECRET.encode() not in pickle.dumps(files)
    assert pickle.loads(pickle.dumps(files)).dircache.use_listings_cache is False


@pytest.mark.parametrize(("uri", "extra"), [("gs://bucket/a", "gcs"), ("az://container/a", "azure")])
def test_an_extra_that_is_missing_is_named(monkeypatch, uri, extra):
    for name in ("gcsfs", "adlfs"):
        monkeypatch.setitem(sys.modules, name, None)
    for action in (storage.read_bytes, storage.check_root, storage.list_files):
        with pytest.raises(UserError, match=rf"{uri} needs the extra `{extra}`: pip install 'seldtune\[{extra}\]'"):
            action(uri)


def test_a_scheme_that_is_not_known_is_said():
    with pytest.raises(UserError, match=r"unknown scheme 'ftp'; use .*s3://bucket/path, gs://bucket/path or az://"):
        storage.read_bytes("ftp://host/a")
    with pytest.raises(UserError, match=r"'gs:///a' names no bucket; write gs://bucket/path"):
        storage.read_bytes("gs:///a")


def test_clients_are_made_in_one_place():
    made_with = {"boto3", "botocore", "aiobotocore", "s3fs", "fsspec"}
    users = {}
    for package in ("data", "trainables", "search_spaces", "infra"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                if {name.split(".")[0] for name in names} & made_with:
                    users[path.name] = path
    # The benchmark's boto3 is what it compares with.
    assert set(users) == {"object_stores.py", "s3.py", "object_store.py"}
