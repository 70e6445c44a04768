//! `leasehold completions`: the scripts were written when leasehold was, and take no time until they are asked for.

use clap::ValueEnum;

use super::Context;
use crate::exit::Failure;

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
To have them from now on:
  bash   leasehold completions bash > ~/.local/share/bash-completion/completions/leasehold
  zsh    leasehold completions zsh > /usr/local/share/zsh/site-functions/_leasehold
  fish   leasehold completions fish > ~/.config/fish/completions/leasehold.fish
In this shell only:
  source <(leasehold completions bash)")]
pub(crate) struct Completions {
    /// Whose script: bash, zsh or fish
    #[arg(value_name = "SHELL", value_enum, hide_possible_values = true)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(crate) fn completions(context: &Context, args: &Completions) -> Result<u8, Failure> {
    let script = match args.shell {
        Shell::Bash => include_str!("../../completions/leasehold.bash"),
        Shell::Zsh => include_str!("../../completions/_leasehold"),
        Shell::Fish => include_str!("../../completions/leasehold.fish"),
    };
    context.output.line(script.trim_end())?;
    Ok(0)
}
