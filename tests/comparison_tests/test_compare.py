from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from data.errors import UserError
from infra.cli import app
from infra.comparison.classes import compare_classes
from infra.comparison.compare import Comparison, compare
from infra.comparison.cost import search_cost
from infra.comparison.report import FOLDER, load_sweeps, log_comparison, report_files, write_files
from infra.comparison.statistics import BETTER, REFERENCE, TOO_FEW, WORSE
from infra.comparison.tables import WIDTH, p_text, summary_lines, terminal_table, trials_csv, variants_csv
from infra.comparison.variants import Variant
from infra.record.folder import FINALS_NAME, SweepStore
from infra.record.trials import COMPLETE, FAILED, PRUNED, RUNNING
from infra.tracking.tracker import SWEEP_TAG
from support.planted_sweeps import sweep, trial


def variant(comparison: Comparison, name: str, grouping: str = "fusion") -> Variant:
    return next(each for each in comparison.groups[grouping] if each.name == name)


def two_fusions(better: list[float], worse: list[float]) -> Comparison:
    records = [
        trial(index, fusion, [0.9, score], lr=1e-3 + 1e-5 * index)
        for index, (fusion, score) in enumerate(
            [("gru", score) for score in better] + [("audio_only", score) for score in worse]
        )
    ]
    return compare([sweep(records)])


def test_figures_of_a_planted_difference() -> None:
    comparison = two_fusions([0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8])
    gru, audio = variant(comparison, "gru"), variant(comparison, "audio_only")
    assert (comparison.epochs, comparison.references["fusion"]) == (2, "audio_only")
    assert (gru.trials, gru.complete, gru.compared, gru.configs) == (4, 4, 4, 4)
    assert gru.median == pytest.approx(0.25)
    assert gru.test is not None
    assert gru.test.statistic == 0
    assert gru.p_holm == pytest.approx(2 / 70)
    assert (gru.verdict, audio.verdict, audio.test) == (BETTER, REFERENCE, None)
    assert gru.best is not None
    assert gru.best.label == "planted/0"
    assert [each.name for each in comparison.variants] == ["gru", "audio_only"]


def test_tiny_samples_get_no_star() -> None:
    comparison = two_fusions([0.1, 0.2], [0.7, 0.8])
    gru = variant(comparison, "gru")
    assert gru.verdict == TOO_FEW
    assert gru.interval is None
    assert "too few" in comparison_text(comparison)


def comparison_text(comparison: Comparison) -> str:
    console = Console(width=WIDTH, record=True, file=io.StringIO())
    console.print(terminal_table(comparison))
    return console.export_text()


def test_stopped_trials_are_compared_where_they_were_stopped() -> None:
    records = [
        trial(0, "gru", [0.8, 0.7, 0.6, 0.2]),
        trial(1, "gru", [0.9, 0.8, 0.75], state=PRUNED),
        trial(2, "audio_only", [0.7, 0.65, 0.5, 0.1]),
        trial(3, "audio_only", [0.9, 0.9, 0.85, 0.4], state=FAILED),
        trial(4, "audio_only", [0.3], state=PRUNED),  # before the stopper may judge: the budget's end
        trial(5, "gru", [0.3, 0.2], state=RUNNING),
        trial(6, "gru", [0.9, 0.5, 0.6], state=RUNNING),
    ]
    comparison = compare([sweep(records)])
    assert comparison.epochs == 3
    assert [each.score for each in comparison.trials] == [0.6, 0.75, 0.5, None, None, None, 0.5]
    gru, audio = variant(comparison, "gru"), variant(comparison, "audio_only")
    assert (gru.complete, gru.stopped, gru.running, gru.compared) == (1, 1, 2, 3)
    assert (audio.complete, audio.stopped, audio.failed, audio.compared) == (1, 1, 1, 1)
    assert audio.best is not None
    assert audio.best.best_score == 0.1
    assert any("4 of 7 trials" in note and "1 failed, 2 with fewer epochs" in note for note in comparison.notes)
    assert compare([sweep(records)], epochs=4).trials[0].score == 0.2
    assert compare([sweep(records)], epochs=4).trials[1].score is None
    # Without early stopping a short trial is as good a witness as a long one.
    assert compare([sweep(records, stopper="none")]).epochs == 1


def test_seeds_of_a_config_are_one_config_and_make_the_interval() -> None:
    scores = {"gru": [0.30, 0.31, 0.29, 0.32, 0.28, 0.33], "audio_only": [0.40, 0.42, 0.41, 0.44, 0.39, 0.46]}
    sweeps = [
        sweep([trial(0, fusion, [values[seed]], seed=seed) for fusion, values in scores.items()], f"s{seed}", seed=seed)
        for seed in range(6)
    ]
    comparison = compare(sweeps)
    gru = variant(comparison, "gru")
    assert (gru.trials, gru.configs) == (6, 1)
    assert gru.interval is not None
    assert (gru.interval.method, gru.interval.of) == ("Student's t", "mean of 6 seeds")
    assert gru.test is not None
    assert (gru.test.method, gru.test.n) == ("Wilcoxon signed rank", 6)
    assert gru.p_holm == pytest.approx(2 / 64)
    assert gru.verdict == BETTER
    three = variant(compare(sweeps[:3]), "gru")
    assert three.test is not None
    assert (three.test.method, three.verdict) == ("Mann-Whitney U", TOO_FEW)
    assert any("The sweeps differ in seed" in note for note in comparison.notes)


def test_groupings_have_their_own_reference() -> None:
    records = [
        trial(n, ["audio_only", "gru"][n % 2], [0.5 + n / 100], schedule=schedule, lr=1e-3 + n / 1e6)
        for n, schedule in enumerate(["one_cycle"] * 3 + ["warmup_cosine"] * 5)
    ]
    comparison = compare([sweep(records)], by="schedule", reference="one_cycle")
    assert set(comparison.groups) == {"fusion", "visual", "schedule"}
    assert comparison.references == {"fusion": "audio_only", "visual": "none", "schedule": "one_cycle"}
    assert variant(comparison, "warmup_cosine", "schedule").verdict == WORSE


def test_refusals_say_what_differs() -> None:
    one = sweep([trial(0, "gru", [0.5])], "one")
    for other, told in (
        (sweep([trial(0, "gru", [0.5])], "two", data="f00d"), "differ in their data .*f00d"),
        (sweep([trial(0, "gru", [0.5])], "two", objective="macro/SELD"), "objective .*present/SELD and macro/SELD"),
        (one, "named twice"),
    ):
        with pytest.raises(UserError, match=told):
            compare([one, other])
    with pytest.raises(UserError, match="--by 'colour'"):
        compare([one], by="colour")
    with pytest.raises(UserError, match=r"--reference 'cmaf': .* gru"):
        compare([one], reference="cmaf")
    with pytest.raises(UserError, match="--epochs 0"):
        compare([one], epochs=0)
    with pytest.raises(UserError, match="no trial of one has 9 epochs"):
        compare([one], epochs=9)
    with pytest.raises(UserError, match="no trial"):
        compare([sweep([trial(0, "gru", [], state=FAILED)])])


def test_cost_until_a_score_counts_what_all_trials_trained() -> None:
    records = [trial(0, "gru", [0.9, 0.6]), trial(1, "cmaf", [0.7, 0.4, 0.3])]
    cost = search_cost([(record, 1001.0) for record in records], 0.4)
    assert (cost.epochs, cost.seconds) == (5, 10.0)
    assert [(step.epochs, step.score) for step in cost.steps] == [(1, 0.9), (2, 0.6), (4, 0.4), (5, 0.3)]
    assert cost.reached is not None
    assert (cost.reached.epochs, cost.reached.seconds) == (4, 8.0)
    assert search_cost([(record, 0.0) for record in records], 0.1).reached is None
    for report in records[1].reports:
        report["at"] -= 1500.0  # before the other trial
    assert search_cost([(record, 0.0) for record in records], 0.4).reached.epochs == 2  # type: ignore[union-attr]


def test_target_is_what_a_tenth_reached() -> None:
    comparison = two_fusions([0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8])
    assert comparison.target == pytest.approx(np.quantile([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], 0.1))
    assert compare([sweep([trial(0, "gru", [0.4])])], target=0.2).cost.reached is None


def test_pareto_fronts_weigh_score_against_size_and_time() -> None:
    records = [
        trial(0, "audio_only", [0.5], epoch_s=1.0),  # the smallest and the quickest
        trial(1, "gru", [0.3], epoch_s=9.0),  # larger, better
        trial(2, "gru", [0.4], epoch_s=2.0),  # as large and worse, but quicker
        trial(3, "gru", [0.6], epoch_s=3.0),  # beaten in everything
    ]
    fronts = {name: [each.label for each in front] for name, front in compare([sweep(records)]).fronts.items()}
    assert fronts == {
        "parameters": ["planted/0", "planted/1"],
        "seconds": ["planted/0", "planted/2", "planted/1"],
    }


def classes_of(**each: tuple[float, float, float]) -> dict[str, float]:
    record = trial(0, "gru", [0.5], classes=each)
    return record.reports[0]


def test_a_rare_class_that_decides_is_called_out() -> None:
    best = {
        "gru": classes_of(male=(0.6, 20.0, 0.7), bell=(0.9, 9.0, 0.9)),
        "cmaf": classes_of(male=(0.7, 20.0, 0.8), bell=(0.1, 90.0, 0.1)),
    }
    found = compare_classes(best)
    assert found is not None
    assert (found.winner, found.runner_up, found.classes) == ("gru", "cmaf", ("male", "bell"))
    # (ER + 1 - F + LE / 180 + 1 - LR) / 4 with ER 0.5 for both.
    gru = (0.5 + 1 - 0.75 + 14.5 / 180 + 1 - 0.8) / 4
    cmaf = (0.5 + 1 - 0.4 + 55 / 180 + 1 - 0.45) / 4
    assert found.lead == pytest.approx(cmaf - gru)
    without = {entry.name: entry for entry in found.without}
    assert without["bell"].scores["gru"] == pytest.approx((0.5 + 0.4 + 20 / 180 + 0.3) / 4)
    assert without["bell"].winner == "cmaf"
    assert without["bell"].matters
    assert any("Without bell, cmaf would be first instead of gru" in line for line in found.lines())


def test_classes_that_decide_nothing_are_said_to() -> None:
    same = classes_of(male=(0.6, 20.0, 0.7), bell=(0.6, 20.0, 0.7))
    worse = classes_of(male=(0.5, 20.0, 0.7), bell=(0.5, 20.0, 0.7))
    found = compare_classes({"gru": same, "cmaf": worse})
    assert found is not None
    assert found.deciding == []
    assert found.lines()[0].startswith("No single class decides")
    older = compare_classes({"gru": classes_of(), "cmaf": classes_of()})
    assert older is not None
    assert (older.classes, older.lines()) == ((), [])


def test_terminal_table_fits_and_csv_holds_all() -> None:
    records = [
        trial(n, ["av_conformer", "audio_only"][n % 2], [0.9, 0.5 + n / 100], lr=1e-3 + n / 1e6) for n in range(9)
    ]
    comparison = compare([sweep(records)])
    text = comparison_text(comparison)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "no difference" in text
    rows = trials_csv(comparison).splitlines()
    assert len(rows) == 10
    assert rows[0].startswith("sweep,trial,state,fusion")
    assert "class" not in rows[0]
    assert len(variants_csv(comparison).splitlines()) == 1 + 2 + 2
    assert any(line.startswith("to reach") for line in summary_lines(comparison))
    assert json.loads(json.dumps(comparison.as_json()))["groups"]["fusion"]["reference"] == "audio_only"


def test_p_values_are_never_zero_and_never_finer_than_they_are() -> None:
    assert [p_text(p) for p in (0.00001, 0.0476, 0.4567, 1.0)] == ["<0.001", "0.048", "0.46", "1.00"]


def test_a_sweep_on_storage_becomes_a_folder_of_files(tmp_path: Path) -> None:
    store = SweepStore(str(tmp_path), "stored")
    store.create(dict(sweep([]).settings))
    for number in range(3):
        store.write(trial(number, "gru", [0.5 - number / 10], state=COMPLETE))
    loaded = load_sweeps(str(tmp_path), ["stored"])
    comparison = compare(loaded)
    page = Path(write_files(report_files(comparison), str(tmp_path / "out")))
    assert sorted(path.name for path in page.parent.iterdir()) == [
        "comparison.html",
        "comparison.json",
        "comparison.md",
        "trials.csv",
        "variants.csv",
    ]
    before = page.read_bytes()
    write_files(report_files(compare(loaded)), str(tmp_path / "out"))
    assert page.read_bytes() == before
    with pytest.raises(UserError, match="no sweep 'absent'"):
        load_sweeps(str(tmp_path), ["absent"])


@pytest.mark.parametrize(("finals", "told"), [({}, 0), ({"gains": [{"fusion": "gru"}]}, 1)])
def test_finals_of_an_earlier_version_tell_of_no_controls(tmp_path: Path, finals: dict[str, Any], told: int) -> None:
    store = SweepStore(str(tmp_path), "tested")
    store.create(dict(sweep([]).settings))
    Path(store.uri, FINALS_NAME).write_text(json.dumps(finals))
    (loaded,) = load_sweeps(str(tmp_path), ["tested"])
    assert len(loaded.tested) == told


@pytest.mark.slow
def test_the_report_is_kept_with_its_sweeps_run_and_replaced_there(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment("sweeps", artifact_location=str(tmp_path / "artifacts"))
    tags = {SWEEP_TAG: "planted", "seldtune.kind": "sweep"}
    run = client.create_run(experiment, tags=tags)
    client.set_terminated(run.info.run_id)
    comparison = two_fusions([0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8])
    files = report_files(comparison)
    for _ in range(2):
        (where,) = log_comparison(comparison, files, uri)
    assert where.endswith(f"runs/{run.info.run_id}/artifacts")
    kept = {Path(entry.path).name for entry in client.list_artifacts(run.info.run_id, FOLDER)}
    assert kept == set(files)
    metrics = client.get_run(run.info.run_id).data.metrics
    assert metrics["comparison/gru/median"] == pytest.approx(0.25)
    assert metrics["comparison/gru/p_holm"] == pytest.approx(2 / 70)
    assert client.get_run(run.info.run_id).info.status == "FINISHED"


def test_without_mlflow_a_line_says_so(caplog: pytest.LogCaptureFixture) -> None:
    comparison = two_fusions([0.1], [0.5])
    for uri in (None, "http://127.0.0.1:9"):
        assert log_comparison(comparison, {}, uri) == []
    assert caplog.text.count("not kept there") == 2


def test_the_command_prints_one_document_and_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ROOT", tmp_path), ("HOME", tmp_path / "home")):
        monkeypatch.setenv(f"SELDTUNE_{name}", str(value))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    store = SweepStore(str(tmp_path), "stored")
    store.create(dict(sweep([]).settings))
    for number in range(4):
        store.write(trial(number, ["gru", "cmaf"][number % 2], [0.5 - number / 10]))
    out = tmp_path / "report"
    found = CliRunner().invoke(app, ["compare", "stored", "--by", "fusion", "--json", "--out", str(out)])
    assert found.exit_code == 0
    document = json.loads(found.stdout)
    assert document["page"] == str(out / "comparison.html")
    assert [each["verdict"] for each in document["groups"]["fusion"]["variants"]] == [REFERENCE, TOO_FEW]
    assert "stored: fusion compared" in (out / "comparison.html").read_text()
