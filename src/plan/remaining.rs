//! What an upgrade leaves to the operator, with the commands that do it.

use std::path::Path;

use super::{Origin, Plan};
use crate::catalog::{Database, Snapshot};
use crate::pg::PostmasterPid;
use crate::pg::quote::{self, shell, shell_path};

/// From so many databases on, one loop takes the place of one command each.
const MANY_DATABASES: usize = 4;

/// The extension every database is made with; it has never had another version.
const ALWAYS_THERE: &str = "plpgsql";

/// One thing that is left to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// A clause that says what and why.
    pub what: String,
    /// The commands, ready to be pasted.
    pub commands: Vec<String>,
}

/// Everything that is left after the cutover, in the order in which it should be done.
///
/// `running` is the server that serves new already, if there is one.
pub fn remaining(plan: &Plan, old: &Snapshot, running: Option<&PostmasterPid>) -> Vec<Task> {
    let mut tasks = vec![settings(plan)];
    if running.is_none() {
        tasks.push(start(plan));
    }
    let session = session(plan, running);
    tasks.push(statistics(plan, &session));
    let psql = in_new(plan, "psql");
    tasks.extend(extensions(&psql, &old.databases, &session));
    tasks.push(finalize(plan, running.is_some()));
    tasks
}

/// The command that starts new by hand.
pub fn start_command(plan: &Plan) -> String {
    format!(
        "{} start -w -D {} -l {}",
        in_new(plan, "pg_ctl"),
        shell_path(&plan.new.data_dir),
        shell_path(&plan.new.data_dir.join("server.log"))
    )
}

fn in_new(plan: &Plan, program: &str) -> String {
    shell_path(&plan.new.bindir.join(program))
}

/// Options that lead new's programs to new; where it does not run yet, nobody knows its port.
fn session(plan: &Plan, running: Option<&PostmasterPid>) -> String {
    let mut out = format!("-U {}", shell(&plan.install_user));
    if let Some(server) = running {
        if !server.socket_dir.is_empty() {
            out += &format!(" -h {}", shell(&server.socket_dir));
        }
        out += &format!(" -p {}", server.port);
    }
    out
}

fn settings(plan: &Plan) -> Task {
    let mut commands = Vec::new();
    for name in ["postgresql.conf", "pg_hba.conf", "pg_ident.conf"] {
        let place = |dir: &Path| shell_path(&dir.join(name));
        commands.push(format!(
            "diff {} {}",
            place(&plan.old.config_dir),
            place(&plan.new.data_dir)
        ));
    }
    let auto = plan.old.data_dir.join("postgresql.auto.conf");
    commands.push(format!("cat {}", shell_path(&auto)));
    let has = match plan.new.origin {
        Origin::Adopted => "those it was made with",
        Origin::Absent | Origin::Empty => {
            "those of initdb (port 5432, access by peer and scram-sha-256)"
        }
    };
    Task {
        what: format!(
            "carry settings and access rules over: unless you changed them, the new cluster has {has}"
        ),
        commands,
    }
}

fn start(plan: &Plan) -> Task {
    Task {
        what: "start the new cluster".to_owned(),
        commands: vec![start_command(plan)],
    }
}

/// Planner statistics are not carried: until they are made anew, plans may be bad.
fn statistics(plan: &Plan, session: &str) -> Task {
    Task {
        what: "make planner statistics: none were carried over, and plans may be bad without them"
            .to_owned(),
        commands: vec![format!(
            "{} {session} --all --analyze-in-stages",
            in_new(plan, "vacuumdb")
        )],
    }
}

/// Names no extension where there are many databases: the new server knows which are outdated.
fn extensions(psql: &str, databases: &[Database], session: &str) -> Option<Task> {
    let databases: Vec<(&Database, Vec<&String>)> = databases
        .iter()
        .map(|database| (database, updatable(database)))
        .filter(|(_, extensions)| !extensions.is_empty())
        .collect();
    let commands = match databases.len() {
        0 => return None,
        few if few < MANY_DATABASES => databases
            .iter()
            .map(|(database, extensions)| {
                let updates: String = extensions.iter().map(|name| update(name)).collect();
                format!("{psql} -X {session} -d {}{updates}", target(&database.name))
            })
            .collect(),
        _ => {
            let names: Vec<String> = databases
                .iter()
                .map(|(database, _)| target(&database.name))
                .collect();
            vec![format!(
                "for db in {}; do echo {} | {psql} -X {session} -d \"$db\"; done",
                names.join(" "),
                shell(OUTDATED)
            )]
        }
    };
    Some(Task {
        what: "update extensions to the versions of the new installation".to_owned(),
        commands,
    })
}

const OUTDATED: &str = "SELECT format($$ALTER EXTENSION %I UPDATE$$, name) FROM \
    pg_available_extensions WHERE installed_version <> default_version \\gexec";

fn updatable(database: &Database) -> Vec<&String> {
    database
        .extensions
        .iter()
        .filter(|name| *name != ALWAYS_THERE)
        .collect()
}

fn update(extension: &str) -> String {
    let statement = format!("ALTER EXTENSION {} UPDATE", quote::ident(extension));
    format!(" -c {}", shell(&statement))
}

/// A database as one word for `psql -d`, which takes some names for connection strings.
fn target(database: &str) -> String {
    let looks_like_more = database.contains('=')
        || database.starts_with("postgres://")
        || database.starts_with("postgresql://");
    if looks_like_more {
        shell(&format!("dbname={}", quote::conninfo(database)))
    } else {
        shell(database)
    }
}

/// Once new runs on files of both, there is nothing left that old is kept for.
fn finalize(plan: &Plan, started: bool) -> Task {
    let what = if started && plan.mode.shares_files() {
        "remove the old cluster when you are content: there is no way back to it any more"
    } else {
        "when nobody wants the old cluster back, remove it"
    };
    Task {
        what: what.to_owned(),
        commands: vec![format!("pg_migrator finalize {}", plan.named())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(name: &str, extensions: &[&str]) -> Database {
        serde_json::from_value(serde_json::json!({
            "oid": 5, "name": name, "tablespace": 1663, "encoding": "UTF8",
            "allow_connections": true, "connection_limit": -1, "is_template": false,
            "frozen_xid": 700, "min_multi": 1, "relations": {"names": [], "rows": []},
            "tables": 0, "pages": 0, "large_objects": 0, "large_objects_digest": "",
            "extensions": extensions,
        }))
        .unwrap()
    }

    fn commands(databases: &[Database]) -> Option<Vec<String>> {
        extensions("psql", databases, "-U postgres").map(|task| task.commands)
    }

    #[test]
    fn what_every_database_has_is_not_updated() {
        assert_eq!(commands(&[]), None);
        assert_eq!(commands(&[database("shop", &["plpgsql"])]), None);
    }

    #[test]
    fn a_database_has_a_command_that_names_its_extensions() {
        let databases = [
            database("postgres", &["plpgsql"]),
            database("shop", &["hstore", "plpgsql", "uuid-ossp"]),
            database("a=b", &["cube"]),
        ];
        assert_eq!(
            commands(&databases).unwrap(),
            [
                "psql -X -U postgres -d shop -c 'ALTER EXTENSION \"hstore\" UPDATE' \
                 -c 'ALTER EXTENSION \"uuid-ossp\" UPDATE'",
                "psql -X -U postgres -d 'dbname='\\''a=b'\\''' \
                 -c 'ALTER EXTENSION \"cube\" UPDATE'",
            ]
        );
    }

    /// Run by a shell, with a function in psql's place that says what it was given.
    #[test]
    fn many_databases_have_one_command() {
        let names = ["shop", "two words", "it's", "$HOME"];
        let databases = names.map(|name| database(name, &["hstore"]));
        let all = commands(&databases).unwrap();
        let [command] = all.as_slice() else {
            panic!("{all:?}");
        };
        let script = format!("psql() {{ echo \"<$5>\"; cat; }}; {command}");
        for shell in ["sh", "bash"] {
            let mut run = std::process::Command::new(shell);
            let output = run.args(["-c", &script]).output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            let expected: String = names
                .iter()
                .map(|name| format!("<{name}>\n{OUTDATED}\n"))
                .collect();
            assert_eq!(said, expected, "{shell}");
        }
    }
}
