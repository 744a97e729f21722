"""The sections of a comparison's page, each as HTML: tables, pictures and what they mean."""

from __future__ import annotations

from html import escape

from infra.comparison import statistics
from infra.comparison.classes import CLASS_SCORES, SWAY
from infra.comparison.compare import Comparison
from infra.comparison.page.figures import (
    MOST_LINES,
    MOST_MARKS,
    Shown,
    best_so_far,
    importance_bars,
    learning_curves,
    parallel_coordinates,
    scores_by_variant,
    slices,
    trade_offs,
    varying_parameters,
    worst_drawn,
)
from infra.comparison.page.gains import gains_section
from infra.comparison.page.html import attribute, figure, table_html
from infra.comparison.page.svg import number_text
from infra.comparison.page.verdict import decision_section
from infra.comparison.statistics import BETTER, NO_DIFFERENCE, TOO_FEW, WORSE
from infra.comparison.tables import (
    COLUMNS,
    cost_text,
    duration_text,
    ordered_groupings,
    score_text,
    variant_cells,
)
from infra.comparison.trials import ComparedTrial
from infra.comparison.variants import Variant
from trainables.scores.flat import AVERAGES
from trainables.scores.metrics import SCORE_NAMES

MOST_ROWS = 300
"""Of the table of trials."""
SECTIONS = {
    "verdict": "What was decided",
    "variants": "Variants",
    "gains": "What pictures are worth",
    "classes": "Classes and averages",
    "cost": "Cost of a score",
    "parameters": "Parameters",
    "trade-offs": "Trade-offs",
    "curves": "Learning curves",
    "trials": "Trials",
    "notes": "What is compared",
}


def sections_of(comparison: Comparison, shown: Shown) -> dict[str, str]:
    """Id of each section (`SECTIONS` has their titles) -> what stands in it."""
    decided = "".join(map(decision_section, comparison.decisions))
    return {
        **({"verdict": decided} if decided else {}),
        "variants": _variants(comparison, shown),
        **({"gains": gains_section(comparison)} if comparison.gains or comparison.tested else {}),
        "classes": _classes(comparison),
        "cost": _cost(comparison, shown),
        "parameters": _parameters(comparison, shown),
        "trade-offs": _trade_offs(comparison, shown),
        "curves": _curves(comparison, shown),
        "trials": _trials(comparison, shown),
        "notes": _notes(comparison),
    }


def _variants(comparison: Comparison, shown: Shown) -> str:
    parts = []
    for grouping in ordered_groupings(comparison):
        head = [(grouping, "", False), *((c.title, c.explained, c.right) for c in COLUMNS)]
        rows = [_variant_row(variant) for variant in comparison.groups[grouping]]
        table = table_html(head, rows)
        reference = escape(comparison.references[grouping])
        if grouping == comparison.by:
            caption = (
                "Each mark is a trial. Above the marks: median, and 95 % interval "
                f"({escape(_interval_methods(comparison))})."
            )
            parts.append(figure(scores_by_variant(comparison, shown), caption))
            parts.append(f'{table}<p class="soft">Tested against {reference}.</p>')
        else:
            parts.append(f"<h3>By {grouping}, against {reference}</h3>{table}")
    return "".join(parts)


def _interval_methods(comparison: Comparison) -> str:
    used: dict[str, list[str]] = {}
    for variant in comparison.variants:
        if variant.interval is not None:
            used.setdefault(variant.interval.method, []).append(f"{variant.name}: {variant.interval.of}")
    return "; ".join(f"{method}; {', '.join(of)}" for method, of in used.items()) or "none, for want of trials"


def _variant_row(variant: Variant) -> str:
    cells = []
    for column, content in zip(COLUMNS, variant_cells(variant), strict=True):
        kind = {BETTER: "good", WORSE: "bad", TOO_FEW: "gone", NO_DIFFERENCE: "gone"}.get(content, "")
        kind = f"{kind} left".strip() if not column.right else kind
        cells.append(f"<td{attribute('class', kind)}>{escape(content)}</td>")
    return f'<tr><th scope="row" class="left">{escape(variant.name)}</th>{"".join(cells)}</tr>'


def _classes(comparison: Comparison) -> str:
    classes = comparison.classes
    if classes is None:
        return '<p class="soft">No trial has a score.</p>'
    head = [(f"best of each {comparison.by}", "", False)]
    head += [(f"{average} {name}", "", True) for average in AVERAGES for name in SCORE_NAMES]
    rows = []
    for variant, values in classes.averages.items():
        cells = "".join(f"<td>{_score(key.split('/')[1], value)}</td>" for key, value in values.items())
        rows.append(f'<tr><th scope="row" class="left">{escape(variant)}</th>{cells}</tr>')
    parts = [
        table_html(head, rows),
        '<p class="soft">The best epoch of the best trial of each; LE in degrees. Macro counts a class that validation '
        "does not hold as missed altogether, present leaves it out.</p>",
    ]
    if not classes.classes:
        parts.append('<p class="soft">These reports hold no scores of single classes.</p>')
        return "".join(parts)
    head = [("class", "", False)]
    head += [(f"{variant} {name}", "", True) for variant in classes.scores for name in CLASS_SCORES]
    if classes.without:
        head += [("first without it", "", False), ("lead without it", "", True)]
    without = {entry.name: entry for entry in classes.without}
    rows = []
    for name in classes.classes:
        cells = "".join(
            f"<td>{_score(key, scores[name][key])}</td>" for scores in classes.scores.values() for key in CLASS_SCORES
        )
        sways = ""
        if name in without:
            entry = without[name]
            cells += f'<td class="left">{escape(entry.winner)}</td><td>{entry.lead:.3f}</td>'
            sways = ' class="sways"' if entry.matters else ""
        rows.append(f'<tr{sways}><th scope="row" class="left">{escape(name)}</th>{cells}</tr>')
    parts.append(table_html(head, rows))
    parts += [f"<p>{escape(line)}</p>" for line in classes.lines()]
    if classes.runner_up:
        parts.append(
            f'<p class="soft">Lead: of {escape(classes.winner)} before {escape(classes.runner_up)}, in SELD; with all '
            f"classes {classes.lead:.3f}. Marked is a class without which another is first, or the lead changes by "
            f"more than {SWAY}. ER is one figure over all classes and stays as it is.</p>"
        )
    return "".join(parts)


def _cost(comparison: Comparison, shown: Shown) -> str:
    if comparison.tie is not None:
        return f"<p>Tied: {escape(comparison.tie)}.</p>"
    rows = []
    for name, cost in [*((v.name, v.cost) for v in comparison.variants), ("all trials", comparison.cost)]:
        reached = cost.reached
        cells = "<td>-</td><td>-</td>"
        if reached is not None:
            cells = f'<td data-v="{reached.epochs}">{reached.epochs:,}</td>'
            cells += f'<td data-v="{reached.seconds:.3f}">{duration_text(reached.seconds)}</td>'
        cells += f'<td data-v="{cost.epochs}">{cost.epochs:,}</td>'
        cells += f'<td data-v="{cost.seconds:.3f}">{duration_text(cost.seconds)}</td>'
        cells += f"<td>{score_text(cost.steps[-1].score if cost.steps else None)}</td>"
        rows.append(f'<tr><th scope="row" class="left">{escape(name)}</th>{cells}</tr>')
    head = [(comparison.by, "", False), ("epochs to reach it", "", True), ("time to reach it", "", True)]
    head += [("epochs in all", "", True), ("time in all", "", True), ("best", "", True)]
    return (
        f"<p>Spent until a trial had SELD {comparison.target:.3f} or less: {escape(cost_text(comparison.cost))}, "
        "over all trials in the order in which they reported.</p>"
        + table_html(head, rows)
        + figure(
            best_so_far(comparison, shown),
            "Time is what trials trained, so trials side by side add up; dotted: all trials. A line ends "
            "where its variant's last trial did.",
        )
    )


def _parameters(comparison: Comparison, shown: Shown) -> str:
    parts = []
    if comparison.importances:
        parts.append(
            '<p class="soft">Share of a parameter in what makes scores differ. Blue: in the spread of all scores '
            "(fANOVA). Yellow: in being among the best tenth (PED-ANOVA). Each is over the parameters that all trials "
            "of its scope have; those of one variant alone appear within that variant.</p>"
        )
        bars = [
            f"<div><h3>{escape(each.scope)}, {each.trials:,} trials</h3>{figure(importance_bars(each))}</div>"
            for each in comparison.importances
        ]
        parts.append(f'<div class="row three">{"".join(bars)}</div>')
    else:
        parts.append('<p class="soft">Too few trials or parameters for a measure of their importance.</p>')
    if not varying_parameters(shown):
        return "".join(parts)
    parts.append(
        figure(
            parallel_coordinates(comparison, shown),
            "A line for each trial, through its parameters to its best score; the best is thick."
            + _thinned(shown, MOST_LINES),
        )
    )
    parts.append(f'<div class="row three">{"".join(figure(each) for each in slices(shown))}</div>')
    return "".join(parts)


def _trade_offs(comparison: Comparison, shown: Shown) -> str:
    figures = "".join(figure(each) for each in trade_offs(comparison, shown))
    return (
        f'<p class="soft">Outlined and joined: trials that no other beats in both.{_thinned(shown, MOST_MARKS)}</p>'
        f'<div class="row two">{figures}</div>'
    )


def _curves(comparison: Comparison, shown: Shown) -> str:
    by_epoch, by_time = learning_curves(comparison, shown)
    return (
        '<p class="soft">Dashed: the epoch at which trials are compared; the best trial is thick. Scores '
        f"above {worst_drawn(shown):.2f}, of first epochs, lie on the upper edge."
        f'{_thinned(shown, MOST_LINES)}</p><div class="row two">{figure(by_epoch)}{figure(by_time)}</div>'
    )


def _trials(comparison: Comparison, shown: Shown) -> str:
    listed = shown.trials[:MOST_ROWS]
    groupings = ordered_groupings(comparison)
    names = [name for name in dict.fromkeys(n for t in listed for n in t.record.params) if name not in groupings]
    head = [("trial", "", False), *((name, "", False) for name in groupings), *((name, "", True) for name in names)]
    head += [("state", "", False), ("epochs", "", True), (f"after {comparison.epochs}", "", True), ("best", "", True)]
    stopped = any(trial.outlook for trial in listed)
    head += [("would end at", "", True)] if stopped else []
    head += [("F", "", True), ("LE", "", True), ("LR", "", True), ("parameters", "", True), ("time", "", True)]
    several = len(comparison.sweeps) > 1
    rows = [_trial_row(trial, shown.number(trial), groupings, names, several, stopped) for trial in listed]
    more = len(comparison.trials) - len(listed)
    rest = f" The best {len(listed):,}; trials.csv holds the other {more:,} too." if more else ""
    outlook = (
        " Where a trial that was stopped early would have ended is forecast from its curve, with an interval of 90 %."
        if stopped
        else ""
    )
    table = table_html(head, rows, wide=False)
    return (
        f'<p class="soft">A heading sorts. F, LE and LR over the classes present, at the best epoch.{outlook}{rest}</p>'
        f'<div class="tall" tabindex="0" role="region" aria-label="All trials">{table}</div>'
    )


def _trial_row(
    trial: ComparedTrial, number: int, groupings: list[str], names: list[str], several: bool, stopped: bool
) -> str:
    record = trial.record
    best = record.best
    assert best is not None
    label = trial.label if several else str(record.number)
    cells = "".join(f'<td class="left">{escape(trial.variants[name])}</td>' for name in groupings)
    cells += "".join(_parameter_cell(record.params.get(name)) for name in names)
    cells += f'<td class="left">{record.state}</td><td>{len(record.reports)}</td><td>{score_text(trial.score)}</td>'
    cells += f"<td>{score_text(trial.best_score)}</td>"
    if stopped:
        cells += _outlook_cell(trial)
    cells += "".join(f"<td>{_score(name, best[f'present/{name}'])}</td>" for name in ("F", "LE", "LR"))
    cells += f'<td data-v="{trial.parameters}">{trial.parameters:,}</td>'
    cells += f'<td data-v="{trial.seconds:.3f}">{duration_text(trial.seconds)}</td>'
    return (
        f'<tr data-t="{number}" tabindex="0"><td class="left" data-v="{escape(label)}">{escape(label)}</td>{cells}</tr>'
    )


def _outlook_cell(trial: ComparedTrial) -> str:
    if trial.outlook is None:
        return "<td>-</td>"
    low, median, high = trial.outlook
    return f'<td data-v="{median:.6f}">{score_text(median)} ({score_text(low)} - {score_text(high)})</td>'


def _parameter_cell(value: object) -> str:
    if value is None:
        return "<td>-</td>"
    if isinstance(value, float):
        return f'<td data-v="{value!r}">{number_text(float(f"{value:.3g}"))}</td>'
    return f"<td>{escape(str(value))}</td>"


def _notes(comparison: Comparison) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes)
    columns = "".join(f"<li><b>{escape(c.title)}</b>: {escape(c.explained)}</li>" for c in COLUMNS)
    return (
        f'<div class="notes"><ul>{items}</ul></div><h3>Columns</h3><ul class="soft">{columns}</ul>'
        f'<p class="soft">Tests are on ranks and two-sided (Mann-Whitney over configs or seeds; Wilcoxon where '
        f"{statistics.pairs_needed()} or more seeds pair up). Seeds of a config that ran with fewer than "
        f"{statistics.FEWEST} enter as their mean. Where no outcome could have been significant at the sizes there "
        "are, no verdict is given. All figures unrounded: comparison.json, variants.csv, trials.csv.</p>"
    )


def _thinned(shown: Shown, most: int) -> str:
    total = len(shown.trials)
    drawn = len(shown.thinned(most))
    return f" {drawn:,} of {total:,} trials are drawn, evenly from best to worst." if drawn < total else ""


def _score(name: str, value: float) -> str:
    return f"{value:.1f}" if name == "LE" else f"{value:.3f}"
