"""`data ingest` on the command line: what it tells, and its exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from data.readers.ingest import ingest
from infra.datasets.ingest_report import ingest_document, show_ingest, unusual
from support.starss23_tree import Tree


def odd_tree(root):
    tree = Tree(root)
    tree.add("fold3_room1_mix001", csv="0,0,0,10,0\n1,0,0,10,0", video=False)
    tree.add("fold3_room2_mix001", csv="0,0,0,10,0,100\n0,0,0,10,0,100\n0,0,0,10,0,100\n", video=False)
    tree.add("fold3_room3_mix001", csv="0,0,0,here,0\n", video=False)
    return tree


def test_what_is_unusual_and_what_is_bad_is_told_once(tmp_path, capsys, caplog):
    built = ingest(str(odd_tree(tmp_path / "tree").root), str(tmp_path / "out"))
    assert unusual(built.report) == {
        "recordings without video": {"recordings": 2, "times": 2},
        "csv without distances": {"recordings": 1, "times": 1},
        "csv without a last newline": {"recordings": 1, "times": 1},
        "exact duplicate rows dropped": {"recordings": 1, "times": 2},
    }
    document = ingest_document(built)
    json.dumps(document)
    show_ingest(document)
    told = capsys.readouterr().out
    assert "exact duplicate rows dropped" in told
    assert [message for message in caplog.messages if "fold3_room3_mix001.csv:1: expected numbers" in message]
    assert "expected numbers" not in told
    assert f"1 fault, named above and in {tmp_path}/out/report.json" in told


@pytest.mark.slow
def test_a_bad_recording_costs_the_exit_code_unless_it_may_be_skipped(tmp_path):
    tree = odd_tree(tmp_path / "tree")
    seldtune = Path(sys.executable).parent / "seldtune"
    environment = {**os.environ, "SELDTUNE_ROOT": str(tmp_path / "root"), "SELDTUNE_HOME": str(tmp_path / "home")}

    def run(*options):
        command = [seldtune, "data", "ingest", tree.root, *options]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    first = run("--json")
    assert first.returncode == 1, first.stderr
    assert "error: 1 recording was left out" in first.stderr
    assert [fault["recording"] for fault in json.loads(first.stdout)["faults"]] == ["fold3_room3_mix001"]
    assert (tmp_path / "root" / "data" / "starss23" / "manifest.json").exists()
    again = run("--skip-bad")
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("expected numbers") == 1
    assert "named above and in" in again.stdout
    assert run("--val-rooms", "room9").returncode == 2


BROKEN = """
from data.readers.contract import READERS, Reader
from data.readers.starss23 import find_clips

@READERS.register
class Field(Reader):
    name = "field"
    def find(self, root):
        return find_clips(root)
    def read(self, root, clip, settings):
        raise ZeroDivisionError(f"oops\\nat {clip.room}")
"""


@pytest.mark.slow
def test_what_a_plugins_reader_raises_in_a_worker_is_one_line_and_a_traceback_when_debugging(tmp_path):
    tree = Tree(tmp_path / "tree")
    tree.add("fold3_room1_mix001", video=False)
    (tmp_path / "my_parts.py").write_text(BROKEN)
    seldtune = Path(sys.executable).parent / "seldtune"
    environment = {**os.environ, "SELDTUNE_ROOT": str(tmp_path / "root"), "SELDTUNE_HOME": str(tmp_path / "home")}

    def run(*options):
        command = [seldtune, *options, "data", "ingest", tree.root, "--plugin", "my_parts.py", "--reader", "field"]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)

    error = "error: reader 'field' (my_parts.py:11) raised ZeroDivisionError: oops on fold3_room1_mix001\n"
    told = run()
    assert told.returncode == 2, told.stderr
    remark, said = told.stderr.splitlines(keepends=True)
    assert remark.endswith("no room is held out: there is no validation split, which a sweep needs\n")
    assert said == error
    debugged = run("--debug")
    assert debugged.returncode == 2
    assert debugged.stderr.endswith(error)
    assert 'File "my_parts.py", line 11, in read' in debugged.stderr
