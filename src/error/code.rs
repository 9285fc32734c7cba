//! The one table of error codes: number, name, family, title and explanation.
//!
//! `explain`, `docs/errors.md` and the exit status all come from it. A number is never given
//! to another meaning; a code that is no longer used keeps its row.

use std::fmt;

/// Exit statuses of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// Done.
    Done,
    /// A defect of this program.
    Bug,
    /// The command line is wrong.
    Usage,
    /// A blocker, drift, or a difference found by `verify`.
    Findings,
    /// A precondition failed and nothing was changed.
    Precondition,
    /// Failed, and everything that was done has been undone.
    RolledBack,
    /// Stopped before its end: `resume` or `rollback` may follow.
    Stopped,
    /// Neither forward nor back without a person.
    NeedsPerson,
    /// Ended by SIGINT.
    Interrupted,
    /// Ended by SIGTERM.
    Terminated,
}

impl Exit {
    /// The status as the shell sees it.
    pub fn status(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Bug => 1,
            Self::Usage => 2,
            Self::Findings => 3,
            Self::Precondition => 4,
            Self::RolledBack => 5,
            Self::Stopped => 6,
            Self::NeedsPerson => 7,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

/// What kind of failure a code stands for; it decides the exit status where nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// The command line or its environment.
    Usage,
    /// The clusters, programs or the machine are not as they must be.
    Precondition,
    /// A check, a comparison or drift.
    Findings,
    /// Something failed while working.
    Work,
    /// The operator interrupted.
    Signal,
    /// This program contradicts itself.
    Bug,
}

macro_rules! codes {
    ($( $number:literal $name:ident $family:ident $title:literal $explanation:literal )*) => {
        /// A stable error code, printed as `PGM-NNNN`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $( #[doc = $title] $name, )*
        }

        impl Code {
            /// Every code, in the order of the numbers.
            pub const ALL: &'static [Code] = &[ $( Code::$name, )* ];

            /// The number in `PGM-NNNN`.
            pub fn number(self) -> u16 {
                match self { $( Code::$name => $number, )* }
            }

            /// The family the code belongs to.
            pub fn family(self) -> Family {
                match self { $( Code::$name => Family::$family, )* }
            }

            /// A short name of the failure.
            pub fn title(self) -> &'static str {
                match self { $( Code::$name => $title, )* }
            }

            /// What `explain` prints: when it happens and what can be done.
            pub fn explanation(self) -> &'static str {
                match self { $( Code::$name => $explanation, )* }
            }
        }
    };
}

codes! {
    1001 BadArguments Usage "the command line is wrong"
        "An option is missing, contradicts another one, or has a value that cannot be used. Nothing was read and nothing was changed. Run the command with --help."
    1002 UnknownCode Usage "no such error code or check"
        "explain knows the codes of docs/errors.md (PGM-1203 or 1203) and the names of the checks."
    1101 ProgramMissing Precondition "a PostgreSQL program is missing or cannot be run"
        "The directory given with -b or -B must hold the programs of the installation. Of the old installation only postgres and pg_ctl are needed; of the new one initdb, postgres, pg_ctl, pg_dump, pg_dumpall, pg_restore, psql and pg_resetwal. The programs are run once with --version, as the user who owns the old data directory."
    1102 ProgramVersion Precondition "a PostgreSQL program has the wrong version"
        "All programs of one installation must come from the same major version, and the version must fit the data directory it is used for."
    1103 VersionPair Precondition "this pair of versions cannot be upgraded"
        "Old may be PostgreSQL 10 to 17, new 15 to 18, and new must be a newer major version than old. A minor release of the same major version needs no upgrade: install it and restart the server."
    1104 OtherMake Precondition "programs of another make of PostgreSQL"
        "EnterpriseDB's Advanced Server is made from PostgreSQL and has catalogs, types, packages and synonyms of its own, in its Oracle mode and out of it. None of that is known here, neither as old nor as new, so nothing is tried: its maker's own pg_upgrade upgrades it. EnterpriseDB's packages of PostgreSQL itself are PostgreSQL."
    1105 ProgramSilent Precondition "a PostgreSQL program does not answer"
        "A program of the directory given with -b or -B was run with --version, has not ended within a minute, and was killed. It may lie on a disk that does not answer, or something else lies in its place. Run it by hand and see what it waits for."
    1201 NotADataDirectory Precondition "not a PostgreSQL data directory"
        "A data directory holds PG_VERSION, global/pg_control, base, and the folders its version demands. A configuration directory (with postgresql.conf that sets data_directory) may be given instead."
    1202 DataDirectoryLayout Precondition "the data directory is not laid out as its version demands"
        "A folder is missing, a tablespace link leads nowhere, or a file says that the directory is a standby, a base backup or in the middle of a recovery (standby.signal, recovery.signal, recovery.conf, backup_label, tablespace_map). Such a directory must be recovered or promoted by its own server first."
    1203 OldServerRunning Precondition "the old server is still running"
        "verify and finalize need the old server to be stopped: stop it with its own pg_ctl or by its service manager. check, prepare, cutover and upgrade work beside a running server, but not beside a standalone backend (postgres --single): end that session. Then run the command again."
    1204 NewServerRunning Precondition "a server is running in the new data directory"
        "The new cluster must not be in use while it is built or handed over, nor while its files or pages are looked at. Stop that server."
    1205 NewNotFresh Precondition "the new data directory holds something else than a fresh cluster"
        "The new data directory must be absent, empty, or hold a cluster made by initdb that has no objects of a user. Give another directory, or remove what is in it."
    1206 SameDirectory Precondition "old and new overlap"
        "The old data directory, the new data directory and the state directory must be three different directories, none inside another one."
    1207 WrongOwner Precondition "a directory belongs to another user"
        "PostgreSQL works only in a data directory that belongs to the user it runs as. The program works as the owner of the old data directory; all directories it writes to must be writable by that user."
    1208 OwnedByRoot Precondition "the old data directory belongs to root"
        "PostgreSQL never runs as root, so a data directory owned by root cannot be served. Give it back to the user the server runs as."
    1209 NotReadable Precondition "a file of a cluster cannot be read"
        "The file named in the facts could not be opened as the owner of the data directory."
    1210 NewWithoutControl Precondition "the new cluster is not in a state this command can use"
        "The new data directory does not hold what the state directory says it should: its control file is gone or is that of another cluster, or it was started before it was complete, where it has no files of old. The old cluster is not touched by that: the message names the way on."
    1211 WrongUser Precondition "not the install user"
        "The program connects as the superuser that initdb made, the one with OID 10: it owns the system catalogs, and initdb gives its name to the same user of the new cluster. Its name is the operating-system user's unless it is given with --username."
    1212 OldServerNotReady Precondition "the old server does not accept sessions that write"
        "A server is running in the old data directory, but it is starting, being stopped, a standby, or reached by no socket and no address. A command that reads the old cluster works beside a server that accepts sessions, or starts one itself where none is running."
    1213 OldServerBusy Precondition "sessions are at work in the old server"
        "With --wait-idle the cutover waits until nobody is in the middle of a transaction or of a base backup, because a stop rolls back whatever is not committed and ends every backup. The time it was given is over; the old server was not stopped. The sessions are named in the facts. Of a backup that was begun by pg_backup_start no server tells: whoever takes one must be asked. Without --wait-idle the cutover does not wait for anybody."
    1301 ControlFile Precondition "pg_control cannot be read"
        "global/pg_control is missing, too short, of a version this program does not know, or its CRC does not match its contents. A damaged control file must be repaired from a backup before any upgrade."
    1302 ControlMismatch Precondition "the control files of old and new do not agree"
        "Block sizes, alignment, segment sizes, WAL segment size, large-object chunk size and data checksums are fixed by initdb or by the build. Both clusters must have the same; only checksums may be off in old and on in new, where --copy --enable-checksums writes them."
    1303 NotShutDown Precondition "the old cluster was not shut down cleanly"
        "A stopped old cluster must have ended with a shutdown checkpoint, because WAL is never carried over. Start it with its own programs; then leave it running, or stop it in fast or smart mode."
    1304 NoChecksums Precondition "the cluster has no data checksums"
        "verify --checksums computes the checksum of every page and compares it with the one the page bears. A cluster made without data checksums has none to compare with, so nothing in its pages tells whether they are as they were written."
    1401 NoSpace Precondition "too little space"
        "The file system named in the facts has less free space or fewer free inodes than this mode needs, with a margin."
    1402 FileSystems Precondition "the file systems do not allow this mode"
        "What a mode needs of the file systems is tried between the very directories, tablespaces included, before anything is built; the facts name both and the reason. Hard links and renames cannot cross file systems, nor leave what is mounted in one place: by link and by swap the new data directory must lie on the file system of the old one. Swap also needs a file system that keeps the numbers of its files, which FUSE and CIFS do not, and others are not known to. Clones need a file system that can share blocks, btrfs or XFS made with reflink, and the same attributes of both directories. --mode auto clones what can be cloned and copies the rest; --copy always works."
    1403 NotWritable Precondition "a directory cannot be written to"
        "The program works as the owner of the old data directory. That user must be able to create the new data directory and the state directory."
    1404 SocketPath Precondition "the socket path is too long"
        "The path of a Unix-domain socket is limited to 107 bytes. Give a shorter directory with --socketdir."
    1405 LockTable Precondition "the lock table of the running old server is too small"
        "A dump locks every table of a database at once. Where the lock table of a running server has no room for that, the dump fails, and so do its users. Raise max_locks_per_transaction and restart it, or stop it: a stopped cluster is dumped by a private server that is given a table large enough."
    2001 StateMissing Precondition "there is no migration here"
        "The state directory does not exist or holds no journal. The default is the new data directory with .migration behind it; another one is named with --state-dir. Where it has gone while a command was at work, that command has undone what it could; its standing says what both data directories are now, and docs/recovery.md what can be done by hand."
    2002 StateLocked Precondition "another run is at work on this migration"
        "Only one command at a time may work in a state directory; the lock is held by the process named in the facts and is freed when it ends."
    2003 StateForeign Precondition "the state directory belongs to another migration"
        "The journal names another old cluster or another new data directory than the command line. Give the right --state-dir, or finish that migration first."
    2004 StateFormat Precondition "the state directory has an unknown format"
        "A file of it has a format number that this release does not know, or cannot be parsed. Where a newer release wrote it, finish or roll back with that release; the first line of journal.jsonl names it. Where a file is damaged: as long as the journal has no line about stop-old-server, the old cluster is as it was, and the new data directory and the state directory may be removed and prepare begun anew. After that line the order of the steps in the journal says what was done to both clusters."
    2005 JournalDamaged Precondition "the journal is damaged"
        "A line in the middle of the journal does not have the checksum it was written with. A torn last line is normal after a crash and is dropped; damage before it is not, and no decision can rest on it. The other lines are JSON and tell how far the migration went: as long as none is about stop-old-server, the old cluster is as it was, and the new data directory and the state directory may be removed and prepare begun anew. After that line start neither cluster before a person has looked at both."
    2006 WrongStanding Precondition "this command is not possible now"
        "What may be done next depends on what has been done; `status` prints it."
    2007 NotConfirmed Precondition "not confirmed"
        "The command asks before it does something that cannot be taken back. Answer yes, or give --yes where nobody can answer."
    2008 WayBackGone Precondition "the way back is closed"
        "By link old and new share their files, and by swap new has them. Once new has been started normally it has written to them, and old must not be started any more. In the other modes rows written to new since then would be lost: say --discard-new-writes if that is what you want. Where new was started while a way back stood still before it had taken anything, resume --keep-new ends the cutover after all."
    2009 NewNeverStarted Precondition "the new cluster has never run"
        "finalize removes the old cluster. It refuses to do so before the new one has been started normally at least once."
    2010 OldChanged Precondition "the old cluster was used while it must not be"
        "The old cluster's pg_control is not what it was when this program left it: somebody started it in the middle of the cutover, and what was written to it then would be missing in the new cluster. The cutover was undone. Run it again when nobody else starts the old server: it looks anew at what changed."
    2011 NewStartedEarly Precondition "the new cluster was started before it was complete"
        "By link the new cluster shares files with the old one before it is complete, and by swap it has them. It was started by somebody in that time, so it may have written to files of the old cluster, and no command of this program can tell what. Start neither cluster. The log of the new server says when it was started and what it did; if it wrote to tables of users, the old cluster has to come from a backup."
    3001 ServerStart Work "a server did not start"
        "The program starts servers of its own on a private socket to read an old cluster that is stopped and to build the new one; and it starts the operator's server again where it had stopped it. The reason is in the server's log, whose last lines are in the facts."
    3002 ServerStop Work "a server did not stop"
        "The server was asked to stop in fast mode and did not do so in time. It is never stopped in immediate mode and never killed."
    3003 Connection Work "could not connect to a server"
        "The server is running but a session could not be opened. A private server lets this program in by rules of its own; the operator's running server applies its pg_hba.conf, and PGPASSWORD, PGPASSFILE and ~/.pgpass are used where it asks for a password."
    3004 Query Work "a query failed"
        "The server refused a statement this program sent; its message and SQLSTATE are in the facts."
    3005 ProgramFailed Work "a PostgreSQL program failed"
        "A program of the PostgreSQL installation ended with an error. Its last lines are in the facts, all of them in the file named there."
    3006 HookFailed Work "a command of the operator failed"
        "A command given with --pause-command, --resume-command, --stop-old-command, --start-old-command or --start-new-command ended with an error, did not end in time, or did not do what it is for. It was run with sh -c as the owner of the old data directory. Its output is in the log named in the facts."
    3007 ProgramHangs Work "a PostgreSQL program did not end"
        "A program that has little to do (pg_resetwal, pg_ctl that waits for a server, postgres that is asked for a setting) has not ended within a time that is long for it, and was killed; a server that pg_ctl had started by then goes on. It may have waited for a disk that does not answer, or something else lies in its place. In the cutover what was done is undone where no server runs in new, so that old can serve again; run the command again when the reason is gone. Programs whose work grows with the cluster (initdb, pg_dump, pg_restore, psql) are waited for as long as they take: Ctrl-C ends them."
    4001 DumpFailed Work "the schema of the old cluster could not be dumped"
        "pg_dump or pg_dumpall of the new installation failed on the old cluster. Its messages are in the facts."
    4002 RestoreFailed Work "the schema could not be restored in the new cluster"
        "An object of the old cluster cannot be created by the new version. Each one that fails is a finding with the server's message; change or drop it in the old cluster and prepare again. check --rehearse finds the same without building anything."
    4003 InitdbFailed Work "the new cluster could not be created"
        "initdb of the new installation failed. Often a locale of the old cluster does not exist on this machine, or the new installation was built without ICU."
    4004 CatalogPairing Work "old and new do not hold the same relations"
        "After the restore every relation of the old cluster that has files must have its partner in the new one. This one has none, so the files cannot be placed. What had been done is undone, or rollback undoes it; keep the logs, and report it if it happens twice."
    4005 NotFrozen Work "a catalog row of the new cluster is not frozen"
        "The new cluster's own transaction status is replaced by the old cluster's, so every row in its catalogs must be frozen first. A row that is not would become invisible or come back to life. What had been done is undone, or rollback undoes it; keep the logs, and report it if it happens twice."
    4006 HorizonWrong Work "a transaction horizon of the new cluster is wrong"
        "relfrozenxid, relminmxid, datfrozenxid or datminmxid of the new cluster does not cover the rows of the old one. What had been done is undone, or rollback undoes it; keep the logs, and report it if it happens twice."
    5001 DiskOperation Work "a file operation failed"
        "The operating system refused a change to a file. The facts name the file and the reason. The operation is not repeated: after a failed write or fsync nothing about the file may be believed."
    5002 OutsideArea Bug "a path leads outside the directory it belongs to"
        "Every change to a file is confined to the directories of this migration. A path tried to leave them, by a symbolic link or by its name."
    5003 TransferFailed Work "a relation file could not be moved"
        "Linking or copying a file of the old cluster to its place in the new one failed. The facts name the file and the reason; put that right, or roll back."
    5004 FileVanished Work "a file of the old cluster is not where it was"
        "A relation of the old cluster has no file, or one that was there is gone. The old cluster was changed while it must not have been: roll back, and prepare again when nobody but its server writes to it. By swap, files of old that had been moved may have gone with the new cluster: bring it back, or restore old from a backup."
    6001 Drift Findings "the old cluster changed"
        "Its schema is not what was dumped, or it is another cluster or an earlier state of itself, as after a restore from a backup. In prepare: run it again when nobody changes the schema. In the cutover: the cutover was undone, and the old server is in service again if it was; prepare again, which keeps the databases whose schema is what it was. Where it is another cluster or an earlier state, roll back first."
    6002 Blocked Findings "something blocks the upgrade"
        "At least one check found something that would make the upgrade fail. Each finding names its remedy."
    6003 Differences Findings "new is not what was to be made of old"
        "verify compared the files that came from the old cluster, and looked for relation files in the new one that nothing explains. A difference has a path and what is wrong with it: contents or lengths that differ; a file that belongs to no relation; a missing file of a catalog; forks or segments that no catalog has. The old cluster is not touched by it. New must not go into service: rollback, and prepare again, is safe while the way back is open; delete nothing by hand before the reason is known."
    6004 CheckNotMade Findings "a check could not be made"
        "What could not be checked counts as a finding, because nobody knows what it would have found."
    6005 WrongPages Findings "pages are not as they were written"
        "verify --checksums has found pages whose checksum is that of other contents, or files that end within a page, as pg_checksums --check finds them: a disk, a controller, memory or a program that wrote past the server has changed them. An upgrade would carry them over. Each of the first 10,000 is named with its file and block; the table or index it belongs to is found by SELECT pg_filenode_relation(tablespace, file number) in its database. An index can be built anew (REINDEX); rows come from a backup."
    6006 OldDiffers Findings "the old cluster is not what it was before the cutover"
        "cutover --manifest wrote down the SHA-256 of every file of the old cluster when its server had stopped. After everything was undone, and before old was started again, they were compared, or verify --manifest has done so: the files named are gone, are others, or were not there. The undoing itself has ended, and the old server is in service again if it was. The cutover changes no contents of old's files, and what it moves or renames it gives back, so look for who else wrote there; the manifest in the state directory names each file, and sha256sum --check reads it, as long as old has not been started since."
    7001 Interrupted Signal "interrupted"
        "The program was asked to stop and did so at the next safe place. Nothing is lost; the last lines name the commands that may follow."
    7002 Terminated Signal "terminated"
        "The program was asked to stop by SIGTERM and did so at the next safe place. Nothing is lost; the last lines name the commands that may follow."
    9001 Internal Bug "this program contradicts itself"
        "A condition that must always hold does not. Keep the state directory and report it."
}

impl Code {
    /// The code with this number.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.number() == number)
    }

    /// Reads `PGM-1203`, `pgm-1203` or `1203`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text
            .trim()
            .trim_start_matches(|c: char| !c.is_ascii_digit());
        let prefix = &text.trim()[..text.trim().len() - digits.len()];
        let known = prefix.is_empty() || prefix.eq_ignore_ascii_case("PGM-");
        known
            .then(|| digits.parse().ok().and_then(Self::from_number))
            .flatten()
    }

    /// The exit status where the failure happened before anything was changed.
    pub fn exit_unchanged(self) -> Exit {
        match (self, self.family()) {
            (Self::JournalDamaged | Self::NewStartedEarly, _) => Exit::NeedsPerson,
            (_, Family::Usage) => Exit::Usage,
            (_, Family::Findings) => Exit::Findings,
            (_, Family::Precondition | Family::Work) => Exit::Precondition,
            (Self::Terminated, Family::Signal) => Exit::Terminated,
            (_, Family::Signal) => Exit::Interrupted,
            (_, Family::Bug) => Exit::Bug,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PGM-{:04}", self.number())
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("unknown code {text}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_grow_and_none_is_given_twice() {
        let numbers: Vec<_> = Code::ALL.iter().map(|code| code.number()).collect();
        assert!(
            numbers.windows(2).all(|pair| pair[0] < pair[1]),
            "{numbers:?}"
        );
    }

    #[test]
    fn a_code_is_read_as_it_is_printed() {
        for code in Code::ALL {
            assert_eq!(Code::parse(&code.to_string()), Some(*code));
            assert_eq!(Code::parse(&code.number().to_string()), Some(*code));
        }
        assert_eq!(Code::parse("XYZ-1203"), None);
        assert_eq!(Code::parse("PGM-"), None);
    }
}
