//! `postmaster.pid` and `postmaster.opts`: what a running server says about itself.

use std::fmt::Write;

/// The contents of `postmaster.pid`.
///
/// A server writes it line by line while it starts, so everything behind the first two lines
/// may still be missing. Mirrors `CreateLockFile` and `AddToDataDirLockFile` of
/// `src/backend/utils/init/miscinit.c`.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct PostmasterPid {
    /// The process; negative for a standalone backend (`postgres --single`).
    pub pid: i32,
    /// The data directory as the server knows it.
    pub datadir: String,
    /// When the server started, in seconds since 1970.
    pub start_time: i64,
    /// The port.
    pub port: u16,
    /// The first Unix-socket directory; empty where there is none.
    pub socket_dir: String,
    /// The first address it listens on; empty where it listens on sockets only.
    pub listen: String,
    /// The System V shared memory segment, as two numbers.
    pub shmem_key: String,
    /// `starting`, `stopping`, `ready` or `standby`; empty while it is not known.
    pub status: String,
}

impl PostmasterPid {
    /// Reads the file's text; `None` where even the process number is missing.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut next = || lines.next().unwrap_or_default().to_owned();
        let pid: i32 = next().trim().parse().ok()?;
        if pid == 0 || pid == i32::MIN {
            return None;
        }
        Some(Self {
            pid,
            datadir: next(),
            start_time: next().trim().parse().unwrap_or(0),
            port: next().trim().parse().unwrap_or(0),
            socket_dir: next(),
            listen: next(),
            shmem_key: next().trim().to_owned(),
            status: next().trim().to_owned(),
        })
    }

    /// The file's text.
    ///
    /// The status is padded, because a server rewrites that line in place.
    pub fn format(&self) -> String {
        let mut out = format!(
            "{}\n{}\n{}\n{}\n{}\n",
            self.pid, self.datadir, self.start_time, self.port, self.socket_dir
        );
        let _ = writeln!(out, "{}", self.listen);
        if !self.shmem_key.is_empty() || !self.status.is_empty() {
            let _ = writeln!(out, "{}", self.shmem_key);
        }
        if !self.status.is_empty() {
            let _ = writeln!(out, "{:<8}", self.status);
        }
        out
    }

    /// The process number, whoever wrote the file.
    pub fn process(&self) -> i32 {
        self.pid.saturating_abs()
    }

    /// Whether a standalone backend wrote it, which serves nobody.
    pub fn standalone(&self) -> bool {
        self.pid < 0
    }

    /// Whether the server accepts connections that may write.
    pub fn ready(&self) -> bool {
        self.status == "ready"
    }
}

/// The contents of `postmaster.opts`: how the server was last started.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PostmasterOpts {
    /// The server program.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
}

impl PostmasterOpts {
    /// Reads the file's text; `None` where it is empty.
    ///
    /// The server puts every argument between double quotes and escapes nothing, so the only
    /// reading that gives back arguments with quotes in them is to split at `" "`. Mirrors
    /// `CreateOptsFile` of `src/backend/postmaster/postmaster.c`.
    pub fn parse(text: &str) -> Option<Self> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        let (program, args) = match line.split_once(" \"") {
            None => (line.trim_end(), Vec::new()),
            Some((program, rest)) => {
                let rest = rest.strip_suffix('"').unwrap_or(rest);
                (program, rest.split("\" \"").map(str::to_owned).collect())
            }
        };
        (!program.is_empty()).then(|| Self {
            program: program.to_owned(),
            args,
        })
    }

    /// The last value given to a setting, by `-c name=value` or `--name=value`.
    ///
    /// As in the server, `-` and `_` are the same in a name.
    pub fn setting(&self, name: &str) -> Option<&str> {
        let mut found = None;
        let mut after_c = false;
        for arg in &self.args {
            let pair = if after_c {
                Some(arg.as_str())
            } else {
                arg.strip_prefix("--")
                    .or_else(|| arg.strip_prefix("-c").filter(|joined| !joined.is_empty()))
            };
            after_c = !after_c && arg == "-c";
            if let Some((key, value)) = pair.and_then(|pair| pair.split_once('='))
                && key.replace('-', "_").eq_ignore_ascii_case(name)
            {
                found = Some(value);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RUNNING: &str = "4711\n/srv/pg 15\n1763721000\n5433\n/run/postgresql\nlocalhost\n  5433001     65544\nready   \n";

    #[test]
    fn a_running_server_is_read_and_written_back() {
        let pid = PostmasterPid::parse(RUNNING).unwrap();
        assert_eq!(pid.pid, 4711);
        assert_eq!(pid.datadir, "/srv/pg 15");
        assert_eq!(pid.start_time, 1_763_721_000);
        assert_eq!(pid.port, 5433);
        assert_eq!(pid.socket_dir, "/run/postgresql");
        assert_eq!(pid.listen, "localhost");
        assert_eq!(pid.shmem_key, "5433001     65544");
        assert!(pid.ready());
        assert!(!pid.standalone());
        assert_eq!(PostmasterPid::parse(&pid.format()), Some(pid));
    }

    #[test]
    fn a_server_that_is_starting_is_read() {
        let pid = PostmasterPid::parse("4711\n/srv/pg15\n1763721000\n5433\n\n").unwrap();
        assert_eq!((pid.port, pid.status.as_str()), (5433, ""));
        assert_eq!(PostmasterPid::parse(&pid.format()), Some(pid));
    }

    #[test]
    fn a_standalone_backend_is_told_apart() {
        let pid = PostmasterPid::parse("-4711\n/srv/pg15\n").unwrap();
        assert!(pid.standalone());
        assert_eq!(pid.process(), 4711);
    }

    #[test]
    fn nothing_is_made_of_a_file_without_a_process() {
        for text in [
            "",
            "\n",
            "0\n/srv\n",
            "abc\n",
            "-2147483648\n",
            "99999999999\n",
        ] {
            assert_eq!(PostmasterPid::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn arguments_are_read_back() {
        let opts = PostmasterOpts::parse(
            "/usr/lib/my pg/bin/postgres \"-D\" \"/srv/p g\" \"-c\" \"cluster_name=a \"b\" c\" \"-cport=1\" \"--max-connections=7\"\n",
        )
        .unwrap();
        assert_eq!(opts.program, "/usr/lib/my pg/bin/postgres");
        assert_eq!(
            opts.args,
            [
                "-D",
                "/srv/p g",
                "-c",
                "cluster_name=a \"b\" c",
                "-cport=1",
                "--max-connections=7"
            ]
        );
        assert_eq!(opts.setting("cluster_name"), Some("a \"b\" c"));
        assert_eq!(opts.setting("port"), Some("1"));
        assert_eq!(opts.setting("max_connections"), Some("7"));
        assert_eq!(opts.setting("work_mem"), None);
    }

    #[test]
    fn a_server_without_arguments_is_read() {
        let opts = PostmasterOpts::parse("/usr/bin/postgres\n").unwrap();
        assert!(opts.args.is_empty());
        assert_eq!(PostmasterOpts::parse(""), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in any::<String>()) {
            let _ = PostmasterPid::parse(&text);
            if let Some(opts) = PostmasterOpts::parse(&text) {
                let _ = opts.setting("port");
            }
        }

        #[test]
        fn what_was_written_is_read(pid in 1i32.., port: u16, start_time: i64, name in "[^\r\n\\s]{0,12}") {
            let written = PostmasterPid {
                pid, port, start_time,
                datadir: name.clone(), socket_dir: name.clone(), listen: name,
                shmem_key: "1 2".into(), status: "ready".into(),
            };
            prop_assert_eq!(PostmasterPid::parse(&written.format()), Some(written));
        }
    }
}
