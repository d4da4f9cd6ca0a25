//! `keepwell config`: what is configured, where it comes from, and what it means.

use clap::Subcommand;
use keepwell_config::{Config, ConfigErrors, Purpose, explain, show, show_text};

use super::{Context, failure::Failure, say};

/// The configuration.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Shows every setting and where its value comes from; secrets are not shown
    Show,
    /// Explains a setting, or all settings of a section
    Explain {
        /// A setting such as server.listen, or a section such as server
        key: String,
    },
}

pub(super) fn run(context: &Context, command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Show => {
            let loaded = context.client_config()?;
            for warning in &loaded.warnings {
                say(&format!("warning: {warning}"));
            }
            context.print(&show(&loaded), |settings| show_text(settings));
        }
        ConfigCommand::Explain { key } => {
            // The manual is wanted most when the configuration does not load.
            let loaded: Result<_, ConfigErrors> = Config::load(&context.sources(Purpose::Client));
            let explained =
                explain(key, loaded.as_ref().ok()).map_err(|error| Failure::Usage(error.to_string()))?;
            context.print(&explained, |explained| {
                explained.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
            });
        }
    }
    Ok(())
}
