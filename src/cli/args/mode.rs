//! How files are to get to the new cluster, as the command line says it.

use clap::Args;

use crate::plan::Mode;

/// How files get to the new cluster.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Mode")]
#[group(multiple = false)]
pub struct ModeArgs {
    /// Give files a second name: fast; no way back once new was started
    #[arg(short = 'k', long)]
    pub link: bool,
    /// Copy files: the way back stays open [default]
    #[arg(long)]
    pub copy: bool,
    /// Clone files, which share their blocks until one is written to: fast, and the way back stays
    /// open; on btrfs, and on XFS with reflink
    #[arg(long)]
    pub clone: bool,
    /// Copy files by copy_file_range(2), and by nothing else
    #[arg(long)]
    pub copy_file_range: bool,
    /// Move files: on the way back they are moved back; no way back once new was started
    #[arg(long)]
    pub swap: bool,
    /// The same by name; auto clones on file systems that can do it, and copies on the others
    #[arg(long, value_name = "MODE", value_parser = mode_named)]
    pub mode: Option<Mode>,
}

/// Any mode, as an option names it.
fn mode_named(text: &str) -> Result<Mode, String> {
    let mut all = Mode::ALL.into_iter();
    let names = Mode::ALL.map(Mode::name).join(", ");
    all.find(|mode| mode.name() == text)
        .ok_or_else(|| format!("there are {names}"))
}

impl ModeArgs {
    /// As if this mode had been asked for.
    pub fn of(mode: Mode) -> Self {
        Self {
            link: false,
            copy: false,
            clone: false,
            copy_file_range: false,
            swap: false,
            mode: Some(mode),
        }
    }

    /// The mode that was asked for, if one was.
    pub fn given(&self) -> Option<Mode> {
        let flags = [
            (self.link, Mode::Link),
            (self.copy, Mode::Copy),
            (self.clone, Mode::Clone),
            (self.copy_file_range, Mode::CopyFileRange),
            (self.swap, Mode::Swap),
        ];
        let flag = flags.into_iter().find(|(given, _)| *given);
        flag.map(|(_, mode)| mode).or(self.mode)
    }

    /// The same, or the usual one.
    pub fn mode(&self) -> Mode {
        self.given().unwrap_or(Mode::Copy)
    }
}
