"""How long service is down: from the request that stops old to new that accepts connections."""

import json
import os
import threading
import time

from bench_cases import grouped

CPUS = len(os.sched_getaffinity(0))

# A light load: short transactions of one session, as many in a second.
LOAD = 50
# How long the load runs before anything is measured, so that caches and counters are usual.
WARM_SECONDS = 3
# How pg_upgrade gets files over fastest.
PEER_MODE = {"17": "link", "18": "swap"}
# The mode of the bench in which both copy.
BY_COPY = "downtime-copy"


def ways(mode, version):
    """How pg_upgrade and pg_migrator get files over in this mode of the bench."""
    return ("copy", "copy") if mode == BY_COPY else (PEER_MODE[version], "link")


class Watch:
    """Notes when the server of each data directory changes its state, as postmaster.pid says it."""

    def __init__(self, **directories):
        self.files = {side: path / "postmaster.pid" for side, path in directories.items()}
        self.seen = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def watch(self):
        last, over = {}, False
        while not over:
            # One more look, when what is watched is over.
            over = self.over.wait(0.001)
            for side, file in self.files.items():
                state = state_of(file)
                if last.get(side) != state:
                    last[side] = state
                    self.seen.append((time.monotonic(), side, state))

    def first(self, side, states, after=0.0):
        return next(at for at, who, state in self.seen
                    if who == side and state in states and at >= after)

    def last(self, side, state):
        return max(at for at, who, what in self.seen if who == side and what == state)


def state_of(file):
    """`ready`, `stopping` and so on; `gone` where no server of its own has that directory."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return "gone"
    return lines[7].strip() if len(lines) > 7 else "gone"


class Server:
    """A server under a light load, with the socket the bench uses."""

    def __init__(self, bench, bindir, data, log):
        self.bench, self.bindir, self.data, self.log = bench, bindir, data, log
        self.pg_ctl = [bindir / "pg_ctl", "-D", data, "-w", "-t", "600"]

    def start(self):
        bench = self.bench
        options = f"-k {bench.work} -p 5432 -c listen_addresses= -c hba_file={bench.hba}"
        server_log = self.log.with_suffix(".server")
        bench.run([*self.pg_ctl, "-l", server_log, "-o", options, "start"], self.log)

    def stop(self):
        self.bench.run([*self.pg_ctl, "-m", "fast", "stop"], self.log)

    def use(self, fill=False):
        """Begins the load, which ends with the server."""
        bench = self.bench
        words = [bench.bin["new-17"] / "pgbench", "-h", bench.work, "-p", "5432", "-U", "postgres"]
        if fill:
            bench.run([*words, "-i", "-q", "postgres"], self.log)
        load = [*words, "-n", "-c", "1", "-R", str(LOAD), "-T", "86400", "postgres"]
        self.load = bench.start(load, self.log.with_suffix(".load"))
        time.sleep(WARM_SECONDS)
        if self.load.poll() is not None:
            raise SystemExit("bench: the load ended by itself")


def shortest_stop(old):
    """Seconds a stop under load takes where nothing is upgraded."""
    with Watch(old=old.data) as watch:
        old.stop()
    old.load.wait()
    asked = watch.first("old", ["stopping", "gone"])
    return watch.first("old", ["gone"], after=asked) - asked


def shortest_start(new):
    """Seconds from the request to the first connection, of the server that was upgraded."""
    asked = time.monotonic()
    with Watch(new=new.data) as watch:
        new.start()
    new.stop()
    return watch.last("new", "ready") - asked


def down(watch):
    return watch.last("new", "ready") - watch.first("old", ["stopping", "gone"])


def settings(bench, data):
    """New is reached where old was."""
    with open(data / "postgresql.conf", "a") as conf:
        conf.write(f"listen_addresses = ''\nport = 5432\nunix_socket_directories = '{bench.work}'\n"
                   f"hba_file = '{bench.hba}'\n")


def pg_upgrade(bench, old, new, version, by, directory):
    """Stops old, upgrades, starts new; the new cluster was made before."""
    log = directory / "log"
    bench.run(bench.initdb_words(new.bindir, new.data), log)
    settings(bench, new.data)
    words = [new.bindir / "pg_upgrade", "-U", "postgres", "-b", old.bindir, "-B", new.bindir,
             "-d", old.data, "-D", new.data, f"--{by}", "-j", CPUS,
             "-s", directory]
    if version == "18" and bench.options.no_statistics:
        words.append("--no-statistics")
    with bench.quiet_machine(), Watch(old=old.data, new=new.data) as watch:
        old.stop()
        bench.run(words, log)
        bench.run([*new.pg_ctl, "-l", log.with_suffix(".server"), "start"], log)
    return {"seconds": down(watch)}


def pg_migrator(bench, old, new, by, directory):
    """Prepares beside the load; the cutover stops old and starts new."""
    log, program = directory / "log", bench.work / "pg_migrator"
    checked = directory / "check"
    # What is measured beside the copying of old would be the speed of a busy disk.
    os.sync()
    bench.wait_for_disk()
    bench.run([program, "check", "--json", f"--{by}", "-U", "postgres", "-b", old.bindir,
               "-B", new.bindir, "-d", old.data, "-D", new.data], checked)
    begin = time.monotonic()
    with bench.quiet_machine():
        bench.run([program, "prepare", f"--{by}", "-U", "postgres", "-b", old.bindir,
                   "-B", new.bindir, "-d", old.data, "-D", new.data], log)
    prepare = time.monotonic() - begin
    settings(bench, new.data)
    with bench.quiet_machine(), Watch(old=old.data, new=new.data) as watch:
        bench.run([program, "cutover", "--start", "-D", new.data], log)
    record = new.data.with_name(f"{new.data.name}.migration") / "events.jsonl"
    return {"seconds": down(watch), "prepare": prepare,
            "parts": seconds_by_step(told(record)[-1]["downtime_parts"]),
            "estimated": estimates(told(record), by)[0], "checked": estimates(told(checked), by)[0]}


def told(record):
    """The events in a file; what else is in it is not for us."""
    lines = record.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def estimates(events, by):
    """What the program thought the downtime in this mode would go into."""
    return [seconds_by_step(event["parts"]) for event in events
            if event["event"] == "downtime_estimated" and event["mode"] == by]


def seconds_by_step(parts):
    return {part["what"]: part["seconds"] for part in parts}


def run(bench, program, old, new, version, mode, directory):
    """One downtime, and what no program can do without: a stop and a start of the same servers."""
    old.start()
    old.use(fill=True)
    result = {"stop": shortest_stop(old)}
    old.start()
    old.use()
    theirs, ours = ways(mode, version)
    if program == "pg_upgrade":
        result |= pg_upgrade(bench, old, new, version, theirs, directory)
    else:
        result |= pg_migrator(bench, old, new, ours, directory)
    old.load.wait()
    new.stop()
    return result | {"start": shortest_start(new)}


def rows(results, median, seconds, ratio):
    """The table, from results of this kind."""
    yield ("| old cluster | to | pg_upgrade | pg_migrator | so many times shorter "
           "| stop + start alone | times that | parts of pg_migrator's downtime "
           "| prepare, beside the load | estimated by check | off | by prepare | off |")
    yield "|---|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|--:|"
    for case, new, theirs, ours in grouped(results):
        peer = median(run["seconds"] for run in theirs)
        own = median(run["seconds"] for run in ours)
        # A stop that meets a checkpoint is no floor.
        least = min(run["stop"] + run["start"] for run in theirs + ours)
        names = dict.fromkeys(name for run in ours for name in run["parts"])
        medians = ((name, median(run["parts"].get(name, 0.0) for run in ours)) for name in names)
        named = ", ".join(f"{name} {part:.2f}" for name, part in medians if part >= 0.01)
        yield "| " + " | ".join([
            case.title, f"{new} ({ways(results[0]['mode'], new)[0]})", seconds(peer), seconds(own),
            ratio(peer, own), seconds(least), ratio(own, least), named,
            seconds(median(run["prepare"] for run in ours)),
            *estimated(ours, "checked", own, median, seconds, ratio),
            *estimated(ours, "estimated", own, median, seconds, ratio),
        ]) + " |"


def estimated(runs, by, measured, median, seconds, ratio):
    """The time that was estimated, and how many times the true one it was."""
    sums = [sum(run[by].values()) for run in runs if by in run]
    return seconds(median(sums)), ratio(median(sums), measured)
