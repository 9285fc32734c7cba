//! Keeping statements out of the log of a private server.

use crate::pg::MajorVersion;

/// With these no statement gets into the log, whether it fails, is slow, is picked as a sample, or is
/// written down by an extension.
///
/// What is restored holds passwords: those of subscriptions, user mappings and roles. They are
/// given on the command line, and by each session once more, since a role or a database may have
/// settings of its own. Mirrors `check_log_statement` and `check_log_duration` of
/// `src/backend/tcop/postgres.c` and `check_log_of_query` of `src/backend/utils/error/elog.c`.
pub(super) fn log_settings(
    major: MajorVersion,
) -> impl Iterator<Item = (&'static str, &'static str)> {
    let settings = [
        ("log_statement", "none", 10),
        ("log_min_duration_statement", "-1", 10),
        ("log_min_error_statement", "panic", 10),
        ("debug_print_parse", "off", 10),
        ("debug_print_rewritten", "off", 10),
        ("debug_print_plan", "off", 10),
        ("log_transaction_sample_rate", "0", 12),
        ("log_min_duration_sample", "-1", 13),
        // Of libraries that are preloaded, because objects of users may need it. Every release of
        // theirs knows these names, and a server without them takes them for anybody's.
        ("auto_explain.log_min_duration", "-1", 10),
        ("pgaudit.log", "none", 10),
        ("pgaudit.role", "", 10),
        ("pg_stat_statements.track", "none", 10),
    ];
    let known = settings
        .into_iter()
        .filter(move |(_, _, since)| major >= MajorVersion(*since));
    known.map(|(name, value, _)| (name, value))
}
