//! `reprise provider …`.

use clap::{Args as ClapArgs, Subcommand};

use super::{Format, Target};

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  reprise provider list\n  reprise provider disable openai --reason \"incident\"\n  reprise provider pin backup\n  reprise provider unpin"
)]
pub(crate) struct Provider {
    #[command(flatten)]
    pub(crate) target: Target,
    /// How to print it: for people, or for programs
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    #[command(subcommand)]
    pub(crate) command: ProviderCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProviderCommand {
    /// Models, breakers, and what operators have said
    List,
    /// Nobody asks this provider or model any more; runs that can go nowhere else wait
    Disable(NamedProvider),
    /// It may be asked again
    Enable(NamedProvider),
    /// Everything is sent to this provider or model, whatever agents and requests want
    Pin(NamedProvider),
    /// Calls go where they want to again
    Unpin(Why),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct NamedProvider {
    /// PROVIDER or PROVIDER::MODEL
    pub(crate) name: String,
    /// Why; kept with who and when
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Why {
    /// Why; for the log
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
}
