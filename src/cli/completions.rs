//! `keepwell completions`: what a shell needs to complete our commands.

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use super::{Cli, write_stdout};

/// For which shell.
#[derive(Debug, Args)]
#[command(after_help = "For bash: keepwell completions bash > /etc/bash_completion.d/keepwell")]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) {
    write_stdout(&script(args.shell));
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "keepwell", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_learns_our_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let script = script(shell);
            for word in [
                "trigger",
                "completions",
                "rebuild",
                "pause",
                "resume",
                "clear",
                "cancel",
                "all-matching",
                "crisis",
            ] {
                assert!(script.contains(word), "{word} for {shell}");
            }
        }
    }
}
