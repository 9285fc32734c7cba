"""What prepare costs: beside an idle old server, and an application beside it."""

import re
import subprocess
import time

from bench_cases import grouped

# As many sessions as this keep two processors busy.
CLIENTS = 2
# How long pgbench runs alone, before and after.
ALONE_SECONDS = 20
PROGRESS = re.compile(r"^progress: [0-9.]+ s, ([0-9.]+) tps", re.M)

# The lines by which pg_upgrade says that it dumps and restores.
DUMPS = ["Creating dump of global objects", "Creating dump of database schemas"]
RESTORES = ["Restoring global objects", "Restoring database schemas"]


def said_when(bench, words, log):
    """Runs a program; returns what it says it does, when it began each, and the end."""
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    process = subprocess.Popen([str(word) for word in words], cwd=log.parent, env=environment,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **bench.identity)
    lines, text, at = [], "", 0.0
    while chunk := process.stdout.read1(4096).decode(errors="replace"):
        for character in chunk:
            at = at if text else time.monotonic()
            if character == "\n":
                lines.append((at, text))
                text = ""
            else:
                text += character
    if process.wait() != 0:
        raise SystemExit("bench: pg_upgrade failed:\n" + "\n".join(line for _, line in lines))
    # Names of databases and the like are indented, and what was done is "ok".
    return [line for line in lines if line[1][:1].isupper()] + [(time.monotonic(), "")]


def dump_and_restore(bench, old, new, version, directory):
    """Seconds of pg_upgrade in which it dumps and restores, of an old cluster that is stopped."""
    log = directory / "log"
    bench.run(bench.initdb_words(new.bindir, new.data), log)
    words = [new.bindir / "pg_upgrade", "-U", "postgres", "-b", old.bindir, "-B", new.bindir,
             "-d", old.data, "-D", new.data, "--link", "-j", CLIENTS, "-s", directory]
    if version == "18" and bench.options.no_statistics:
        words.append("--no-statistics")
    with bench.quiet_machine():
        lines = said_when(bench, words, log)
    taken = {}
    for (begin, line), (end, _) in zip(lines, lines[1:]):
        taken |= {name: end - begin for name in DUMPS + RESTORES if line.startswith(name)}
    return sum(taken[name] for name in DUMPS + RESTORES)


def prepare(bench, old, new, directory, *options):
    begin = time.monotonic()
    bench.run([bench.work / "pg_migrator", "prepare", "--link", *options, "-U", "postgres",
               "-b", old.bindir, "-B", new.bindir, "-d", old.data, "-D", new.data],
              directory / "log")
    return begin, time.monotonic()


class Application:
    """pgbench with as many transactions as it can; it ends with the server."""

    def __init__(self, bench, log):
        words = [bench.bin["new-17"] / "pgbench", "-h", bench.work, "-p", "5432", "-U", "postgres"]
        bench.run([*words, "-i", "-q", "-s", "20", "postgres"], log)
        self.begin = time.monotonic()
        self.log = log.with_suffix(".application")
        load = [*words, "-n", "-c", CLIENTS, "-j", "1", "-T", "86400", "-P", "1", "postgres"]
        self.process = bench.start(load, self.log)

    def rate(self, begin, end):
        """Transactions a second between two moments, by the lines of whole seconds."""
        rates = [float(rate) for rate in PROGRESS.findall(self.log.read_text(errors="replace"))]
        some = rates[int(begin - self.begin) + 1:int(end - self.begin)]
        return sum(some) / len(some)


def beside_an_application(bench, old, new, directory):
    """Rates of pgbench alone and beside `prepare --nice`, and how long that took."""
    with bench.quiet_machine():
        application = Application(bench, directory / "log")
        time.sleep(ALONE_SECONDS)
        begin, end = prepare(bench, old, new, directory, "--nice")
        time.sleep(ALONE_SECONDS)
    # Checkpoints and caches make the first seconds unlike the others.
    before = application.rate(application.begin + ALONE_SECONDS / 4, begin)
    after = application.rate(end, end + ALONE_SECONDS)
    beside = application.rate(begin, end)
    old.stop()
    application.process.wait()
    return {"alone": (before + after) / 2, "beside": beside, "nice": end - begin}


def run(bench, program, old, new, version, directory):
    if program == "pg_upgrade":
        return {"seconds": dump_and_restore(bench, old, new, version, directory)}
    old.start()
    with bench.quiet_machine():
        begin, end = prepare(bench, old, new, directory)
    bench.run([bench.work / "pg_migrator", "rollback", "-D", new.data], directory / "log")
    return {"seconds": end - begin} | beside_an_application(bench, old, new, directory)


def rows(results, median, seconds, ratio):
    """The table, from results of this kind."""
    yield ("| old cluster | to | pg_upgrade's dump and restore | prepare, old idle | ratio "
           "| pgbench alone | beside prepare --nice | kept | which took |")
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    for case, new, theirs, ours in grouped(results):
        peer = median(run["seconds"] for run in theirs)
        own = median(run["seconds"] for run in ours)
        alone = median(run["alone"] for run in ours)
        beside = median(run["beside"] for run in ours)
        yield "| " + " | ".join([
            case.title, new, seconds(peer), seconds(own), ratio(own, peer),
            f"{alone:.0f} tps", f"{beside:.0f} tps", ratio(beside, alone),
            seconds(median(run["nice"] for run in ours)),
        ]) + " |"
