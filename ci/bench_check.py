"""How long `pg_migrator check` takes beside `pg_upgrade --check`, old stopped before and after."""

from bench_cases import grouped


def words(bench, program, old, version, mode, directory, fresh):
    """The command line; pg_upgrade needs a new cluster, pg_migrator looks where it would be."""
    bindir = bench.bin[f"new-{version}"]
    clusters = ["--link", "-U", "postgres", "-b", bench.bin[old], "-B", bindir,
                "-d", directory / "old", "-D", fresh]
    if program == "pg_upgrade":
        return [bindir / "pg_upgrade", "--check", *clusters, "-j", bench.options.peer_jobs,
                "-s", directory]
    rehearsed = ["--rehearse"] if mode == "rehearse" else []
    return [bench.work / "pg_migrator", "check", *rehearsed, *clusters]


def rows(results, median, seconds, ratio):
    """The table, from results of this kind."""
    rehearsed = " --rehearse" if results[0]["mode"] == "rehearse" else ""
    yield f"| old cluster | to | pg_upgrade --check | pg_migrator check{rehearsed} | ratio | memory |"
    yield "|---|--:|--:|--:|--:|--:|"
    for case, new, theirs, ours in grouped(results):
        peer = median(run["seconds"] for run in theirs)
        own = median(run["seconds"] for run in ours)
        memory = max((run["megabytes"] for run in ours), default=0)
        yield "| " + " | ".join([
            case.title, new, seconds(peer), seconds(own), ratio(own, peer),
            f"{memory:.0f} MB" if ours else "",
        ]) + " |"
