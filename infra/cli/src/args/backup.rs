//! `reprise backup …`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use super::{Format, Target};

const EXAMPLES: &str = "\
Examples:
  reprise backup create                                        reprise-20261122T021000Z.tar.gz in this folder
  reprise backup create --out /mnt/backups/nightly.tar.gz
  reprise backup list --dir /mnt/backups                       the archives of a folder, whole or damaged
  reprise backup verify nightly.tar.gz                         every sum, every item; touches no deployment
  reprise backup restore nightly.tar.gz --unfinished resume    into an empty table

A backup is no snapshot: what is written while it is read is in it or not. For the table as it was at one moment, and for the last
35 days, there is DynamoDB's point-in-time recovery, which is on.
Exit codes: 0 done, 1 it failed, was refused or the archive is damaged, 2 it could not be asked.";

#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Backup {
    #[command(flatten)]
    pub(crate) target: Target,
    /// How to print it
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    #[command(subcommand)]
    pub(crate) command: BackupCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Copy the whole table, of all tenants, into one checksummed archive
    Create(CreateBackup),
    /// The archives of a folder
    List(ListBackups),
    /// Check every sum and every item of an archive
    Verify(NamedBackup),
    /// Write an archive back: verified as a whole before anything is touched, and never over something that is there
    Restore(RestoreBackup),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct CreateBackup {
    /// Where to (left out: a name with the time, in this folder)
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Parts of the table that are read side by side
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) segments: u32,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ListBackups {
    /// Which folder
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct NamedBackup {
    /// The archive
    pub(crate) file: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RestoreBackup {
    /// The archive
    pub(crate) file: PathBuf,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Also into a table that holds something, which stays as it is: to go on after an interruption
    #[arg(long)]
    pub(crate) into_non_empty: bool,
    /// What becomes of runs that had not ended; needed if there are any
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) unfinished: Option<Unfinished>,
}

/// What becomes of runs that had not ended when the backup was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Unfinished {
    /// The sweeper sends them within minutes: only if the deployment of the backup works on them no more
    Resume,
    /// They lie still until somebody puts one back (`reprise dlq retry RUN`), answers it, or cancels it; bulk actions are stopped
    Hold,
}
