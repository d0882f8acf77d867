"""`mltwin check`: hold scenarios against committed baselines; make these and make them anew."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .arguments import assignments, check_choice
from .console import console, progress_bar, show_json, show_tables, split_words, tell
from .run_commands import say_if_cold

if TYPE_CHECKING:
    from mltwin.gate.outcome import CheckReport
    from mltwin.gate.tolerances import Tolerance

Progress = Any


def check(
    baselines: Annotated[
        list[Path] | None,
        typer.Argument(help="Baseline files, or folders of them; default: baselines/."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only these baselines, by name; * fits anything.")
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Any change of behaviour fails.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="What stays inconclusive fails (exit code 3).")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="FIELD=VALUE", help="Try the gate: run with this field changed."
        ),
    ] = None,
    max_seeds: Annotated[
        int | None, typer.Option(min=1, help="Seeds of a scenario at most; default: all it holds.")
    ] = None,
    confidence: Annotated[
        float, typer.Option(min=0.5, max=0.9999, help="Over all metrics and scenarios together.")
    ] = 0.95,
    all_: Annotated[
        bool, typer.Option("--all", help="Show metrics that are the same too.")
    ] = False,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the report for a pull request.")
    ] = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="Append it to the file $GITHUB_STEP_SUMMARY too.")
    ] = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Write all numbers as JSON.")] = None,
    format: Annotated[str, typer.Option(help="table, json or markdown.")] = "table",
    init: Annotated[
        Path | None,
        typer.Option(metavar="SCENARIO.toml", help="Make a baseline of this scenario."),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Write the baselines anew from the runs of now.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option(help="Why, with --init and --update; kept in the file.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Update although files are not committed.")
    ] = False,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="With --init: seeds that a check begins with (10).")
    ] = None,
    hold: Annotated[
        int | None, typer.Option(min=1, help="With --init: seeds stored (three times --seeds).")
    ] = None,
    metrics: Annotated[
        list[str] | None, typer.Option(help="With --init, --update: which to guard.")
    ] = None,
    tol: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[METRIC=]TOL", help="With --init, --update: 2%, p99_ttft_ms=3%, abs:5."
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; default: all cores.")] = None,
    progress_json: Annotated[
        bool, typer.Option("--progress-json", help="Progress as JSON lines on standard error.")
    ] = False,
) -> None:
    """Hold policy metrics against committed baselines.

    Exit codes: 0 passed, 1 a regression (with --exact any change), 2 wrong input, 3 inconclusive
    (with --strict), 4 a baseline is missing or stale. Of several the most severe: 2, 1, 4, 3.
    """
    check_choice("--format", format, ("table", "json", "markdown"))
    making: dict[str, Any] = {"--seeds": seeds, "--hold": hold}
    changing: dict[str, Any] = {"--reason": reason, "--metrics": metrics, "--tol": tol}
    viewing: dict[str, Any] = {
        "--markdown": markdown,
        "--junit": junit,
        "--json": json_,
        "--set": set_,
    }
    viewing |= {"--exact": exact or None, "--strict": strict or None, "--summary": summary or None}
    places = list(baselines or [])
    if init is not None and update:
        _refuse({"--update": True}, "does not go with --init")
    if init is not None:
        _refuse(viewing, "does not go with --init")
        _init(init, places, reason, seeds, hold, metrics, tol, workers, progress_json)
        return
    _refuse(making, "belongs to --init")
    if update:
        _refuse(viewing, "does not go with --update")
        _update(places, only, reason, force, metrics, tol, workers, progress_json)
        return
    _refuse(changing, "belongs to --init and --update")
    from mltwin.gate.check import check as hold_against

    say_if_cold()
    with progress_bar("checking", as_json=progress_json) as bar:
        report = hold_against(
            places or [Path("baselines")],
            only=split_words(only) or (),
            changes=assignments(set_),
            exact=exact,
            strict=strict,
            max_seeds=max_seeds,
            confidence=confidence,
            workers=workers,
            progress=lambda done, n: bar(done / n, f"{done} of {n} runs"),
            again=_again(set_),
        )
    _write(report, markdown, junit, json_, summary)
    _show(report, format, all_)
    raise typer.Exit(report.exit_code)


def _init(
    scenario: Path,
    places: list[Path],
    reason: str | None,
    seeds: int | None,
    hold: int | None,
    metrics: list[str] | None,
    tol: list[str] | None,
    workers: int | None,
    progress_json: bool,
) -> None:
    from mltwin import InputError
    from mltwin.gate.update import SEEDS, check_reason, make_baseline

    if len(places) > 1:
        raise InputError(f"{len(places)} places", where="--init", mend="give one baseline file")
    check_reason(reason)
    say_if_cold()
    with progress_bar("making a baseline", as_json=progress_json) as bar:
        made = make_baseline(
            scenario,
            places[0] if places else None,
            reason=reason or "",
            seeds=SEEDS if seeds is None else seeds,
            hold=hold,
            metrics=split_words(metrics),
            tolerances=_tolerances(tol),
            workers=workers,
            progress=lambda done, n: bar(done / n, f"{done} of {n} runs"),
        )
    tell(f"written to {made.path}: {len(made.seeds)} seeds, {', '.join(made.metrics)}")


def _update(
    places: list[Path],
    only: list[str] | None,
    reason: str | None,
    force: bool,
    metrics: list[str] | None,
    tol: list[str] | None,
    workers: int | None,
    progress_json: bool,
) -> None:
    from mltwin.gate.check import named_baselines
    from mltwin.gate.update import check_reason, refuse_dirty_tree, update_baseline

    check_reason(reason)
    found = named_baselines(places or [Path("baselines")], split_words(only) or ())
    if not force:
        refuse_dirty_tree([path for path, _ in found])
    say_if_cold()
    with progress_bar("updating", as_json=progress_json) as bar:
        for i, (path, baseline) in enumerate(found):
            start = i / len(found)
            _, changed = update_baseline(
                baseline,
                reason=reason or "",
                metrics=split_words(metrics),
                tolerances=_tolerances(tol),
                workers=workers,
                progress=lambda done, n, at=start: bar(  # type: ignore[misc]
                    at + done / n / len(found), f"{done} of {n} runs"
                ),
            )
            tell(f"{path}: {'written anew' if changed else 'as it was'}")


def _write(
    report: "CheckReport",
    markdown: Path | None,
    junit: Path | None,
    json_: Path | None,
    summary: bool,
) -> None:
    import json

    from mltwin import InputError

    step = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary and not step:
        raise InputError(
            "is not set", where="$GITHUB_STEP_SUMMARY", mend="GitHub sets it; leave out --summary"
        )
    texts: list[tuple[Path | None, str, str]] = [
        (markdown, "w", report.markdown()),
        (Path(step) if summary and step else None, "a", report.markdown()),
        (junit, "w", report.junit()),
        (json_, "w", json.dumps(report.data(), indent=1, sort_keys=True, allow_nan=False) + "\n"),
    ]
    for path, mode, text in texts:
        if path is None:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, mode, encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", where=str(path)) from None


def _show(report: "CheckReport", format: str, everything: bool) -> None:
    from rich.markup import escape

    from mltwin.gate.render import findings, hints, parts_table

    if format == "json":
        show_json(report.data())
        return
    if format == "markdown":
        print(report.markdown(), end="")
        return
    table = report.table(full=everything)
    show_tables(parts_table(report), *([table] if table.rows else []))
    out = console()
    for told, commands in findings(report):
        out.print(escape(told), soft_wrap=True)
        for command in commands:
            out.print(f"  [dim]again:[/] {escape(command)}", soft_wrap=True)
    for hint in hints(report):
        out.print(f"[dim]{escape(hint)}[/]", soft_wrap=True)
    colour = "green" if report.passed else "red"
    out.print(f"[bold {colour}]{escape(report.summary())}[/]", soft_wrap=True)


def _tolerances(texts: list[str] | None) -> dict[str, "Tolerance"]:
    """Tolerances by metric, "" for the rest."""
    from mltwin.gate.tolerances import parse_tolerance

    found = {}
    for text in split_words(texts) or []:
        name, _, size = text.rpartition("=")
        found[name.strip()] = parse_tolerance(size)
    return found


def _again(texts: list[str] | None) -> str:
    import shlex

    return " ".join(f"--set {shlex.quote(text)}" for text in texts or [])


def _refuse(options: dict[str, Any], why: str) -> None:
    from mltwin import InputError

    for name, value in options.items():
        if value is not None:
            raise InputError(why, where=name)
