"""The benchmark of taking in: both sides take in the same tree, and the last line says what it promises."""

import json

from infra.bench.data import ingest
from support.bench_results import check_result


def test_both_sides_take_in_the_same(tmp_path, capsys):
    tree = ["--clips", "2", "--clip-s", "3", "--profile", "easy", "--only", "sound", "--root", str(tmp_path)]
    ingest.main([*tree, "--repeats", "1"])
    outcome = json.loads(capsys.readouterr().out.splitlines()[-1])
    check_result(outcome, "ingest_sound", {ingest.PEER})
    assert outcome["peak_mb"].keys() == {"ours", ingest.PEER}
    assert all(0 < most < 1000 for most in outcome["peak_mb"].values())
    assert [path.name for path in tmp_path.iterdir()] == ["sound"]
