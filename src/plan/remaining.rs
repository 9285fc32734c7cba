//! What an upgrade leaves to the operator, with the commands that do it.

use std::path::Path;

use super::Plan;
use crate::catalog::Snapshot;
use crate::pg::quote::shell_path;

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
/// `started` says that new is running already.
pub fn remaining(plan: &Plan, old: &Snapshot, started: bool) -> Vec<Task> {
    let mut tasks = vec![settings(plan)];
    if !started {
        tasks.push(start(plan));
    }
    tasks.push(statistics(plan));
    tasks.extend(extensions(plan, old));
    tasks.push(finalize(plan));
    tasks
}

fn in_new(plan: &Plan, program: &str) -> String {
    shell_path(&plan.new.bindir.join(program))
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
    Task {
        what: "carry settings and access rules over: the new cluster has those of initdb (port \
               5432, peer and scram-sha-256)"
            .to_owned(),
        commands,
    }
}

fn start(plan: &Plan) -> Task {
    Task {
        what: "start the new cluster".to_owned(),
        commands: vec![format!(
            "{} start -w -D {} -l {}",
            in_new(plan, "pg_ctl"),
            shell_path(&plan.new.data_dir),
            shell_path(&plan.new.data_dir.join("server.log"))
        )],
    }
}

/// Planner statistics are not carried: until they are made anew, plans may be bad.
fn statistics(plan: &Plan) -> Task {
    Task {
        what: "make planner statistics: none were carried over".to_owned(),
        commands: vec![format!(
            "{} --all --analyze-in-stages --username {}",
            in_new(plan, "vacuumdb"),
            crate::pg::quote::shell(&plan.install_user)
        )],
    }
}

fn extensions(plan: &Plan, old: &Snapshot) -> Option<Task> {
    let psql = in_new(plan, "psql");
    let commands: Vec<String> = old
        .connectable()
        .iter()
        .map(|name| {
            let target = format!("dbname={}", crate::pg::quote::conninfo(name));
            format!(
                "{psql} -X -d {} -c {}",
                crate::pg::quote::shell(&target),
                crate::pg::quote::shell(
                    "SELECT format('ALTER EXTENSION %I UPDATE', name) FROM \
                     pg_available_extensions WHERE installed_version <> default_version \\gexec"
                )
            )
        })
        .map(|command| command.replace(" -c ", " <<< "))
        .collect();
    (!commands.is_empty()).then(|| Task {
        what: "update extensions to the versions of the new installation, in each database"
            .to_owned(),
        commands,
    })
}

fn finalize(plan: &Plan) -> Task {
    Task {
        what: "when nobody wants the old cluster back, remove it".to_owned(),
        commands: vec![format!(
            "pg_migrator finalize -D {}",
            shell_path(&plan.new.data_dir)
        )],
    }
}
