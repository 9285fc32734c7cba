"""Downtime by copy: everything was copied while old served, and some pages have changed since."""

import time

from bench_cases import grouped
from bench_downtime import Watch, down, pg_upgrade, seconds_by_step, settings, told

# A lock of a row changes its page and nothing else: one of a hundred pages, anywhere.
CHANGE = """
SELECT count(*) FROM (SELECT 1 FROM t_1 WHERE ctid = ANY (ARRAY(
    SELECT format('(%s,1)', floor(random() * (SELECT pg_relation_size('t_1') / 8192)))::tid
    FROM generate_series(1, (SELECT pg_relation_size('t_1') / 819200)))) FOR UPDATE) AS changed
"""


def psql(bench):
    return [bench.bin["new-17"] / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", bench.work,
            "-p", "5432", "-U", "postgres", "-d", "d_1"]


def pg_migrator(bench, old, new, directory, late):
    """Pages change before the cutover, or, `late`, after it has looked at all files once more."""
    log, program = directory / "log", bench.work / "pg_migrator"
    begin = time.monotonic()
    with bench.quiet_machine():
        peaks = [bench.run([program, "prepare", "--copy", "-U", "postgres", "-b", old.bindir,
                            "-B", new.bindir, "-d", old.data, "-D", new.data], log)]
    prepare = time.monotonic() - begin
    settings(bench, new.data)
    words = [program, "cutover", "--start", "-D", new.data]
    if late:
        script = directory / "change"
        command = " ".join(f"'{word}'" for word in psql(bench))
        script.write_text(f"#!/bin/sh\nexec {command} <<'END'\n{CHANGE};\nEND\n")
        words += ["--pause-command", f"sh {script}"]
    else:
        bench.run([*psql(bench), "-c", CHANGE], log)
    begin = time.monotonic()
    with bench.quiet_machine(), Watch(old=old.data, new=new.data) as watch:
        peaks.append(bench.run(words, log))
    events = told(new.data.with_name(f"{new.data.name}.migration") / "events.jsonl")
    moved = [event["detail"] for event in events
             if event["event"] == "step_finished" and event["step"] == "transfer-files"]
    return {"seconds": down(watch), "prepare": prepare, "moved": moved[-1],
            "cutover": time.monotonic() - begin,
            "megabytes": max(peak.megabytes() for peak in peaks),
            "parts": seconds_by_step(events[-1]["downtime_parts"])}


def run(bench, program, old, new, version, directory, late):
    old.start()
    old.use(fill=True)
    if program == "pg_upgrade":
        bench.run([*psql(bench), "-c", CHANGE], directory / "log")
        result = pg_upgrade(bench, old, new, version, "copy", directory)
    else:
        result = pg_migrator(bench, old, new, directory, late)
    old.load.wait()
    new.stop()
    return result


def rows(results, median, seconds, ratio):
    """The table, from results of this kind."""
    yield ("| old cluster | to | 1 % of the pages changed | pg_upgrade --copy | pg_migrator "
           "| ratio | prepare, beside the load | whole cutover | memory | after the stop |")
    yield "|---|--:|---|--:|--:|--:|--:|--:|--:|---|"
    for case, new, theirs, ours in grouped(results):
        for mode in ("first-copy", "first-copy-late"):
            own = [run for run in ours if run["mode"] == mode]
            if not own:
                continue
            peer = median(run["seconds"] for run in theirs)
            mine = median(run["seconds"] for run in own)
            when = "right before the stop" if mode.endswith("late") else "since prepare"
            yield "| " + " | ".join([
                case.title, new, when, seconds(peer), seconds(mine), ratio(mine, peer),
                seconds(median(run["prepare"] for run in own)),
                seconds(median(run["cutover"] for run in own)),
                f"{max(run['megabytes'] for run in own):.0f} MB", own[-1]["moved"]]) + " |"
