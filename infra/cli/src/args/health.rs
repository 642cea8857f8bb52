//! `reprise health` and `reprise completions`.

use clap::Args as ClapArgs;
use clap_complete::Shell;

use super::{Format, Target};

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  reprise health\n  reprise health --detailed --format json | jq .checks\n  reprise health --profile prod --timeout 5 || page-someone\n\nExit codes: 0 healthy, 1 not, 2 it could not be asked: nothing answered, or the credentials do not allow it."
)]
pub(crate) struct Health {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Also database, queue and dead letters, one by one; less than healthy in any of them is 1
    #[arg(long)]
    pub(crate) detailed: bool,
    /// How long one probe may take
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=300))]
    pub(crate) timeout: u64,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  source <(reprise completions bash)\n  reprise completions zsh > ~/.zfunc/_reprise\n  reprise completions fish > ~/.config/fish/completions/reprise.fish"
)]
pub(crate) struct Completions {
    /// Which shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}
