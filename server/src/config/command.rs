//! The command line: a server, or a small thing that servers need.

use super::Config;
use crate::telemetry::VERSION;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Fray: an authoritative multiplayer game server.
///
/// Without any flags it serves the arena at <http://127.0.0.1:7777>/ and needs nothing else: open the page, or let bots in
/// with `fray-bot swarm`. Every flag can be given as an environment variable, too.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "fray-server",
    version = VERSION,
    max_term_width = 110,
    args_conflicts_with_subcommands = true
)]
pub struct CommandLine {
    /// How to serve.
    #[command(flatten)]
    pub config: Config,

    /// What to do instead.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What is no serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Keys for tickets
    #[command(subcommand)]
    Keys(KeysCommand),
}

/// About keys for tickets.
#[derive(Clone, Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a new key in a folder for --ticket-keys, and say which file it is
    New {
        /// The folder; made if it is not there
        dir: PathBuf,
    },
    /// Make a Secret with a new ticket key and a new session key through the Kubernetes API, if it is not there
    Ensure {
        /// The Secret's name
        #[arg(long, value_name = "NAME")]
        secret: String,
        /// Its namespace [default: the service account's]
        #[arg(long, env = "FRAY_POD_NAMESPACE", value_name = "NAMESPACE")]
        namespace: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn a_command_is_no_server_and_a_server_needs_no_command() {
        CommandLine::command().debug_assert();
        let parsed = |flags: &[&str]| {
            CommandLine::try_parse_from(["fray-server"].iter().chain(flags))
                .map(|line| (line.config.tick_rate, line.command.is_some()))
        };
        assert!(matches!(parsed(&[]), Ok((20, false))));
        assert!(matches!(parsed(&["--tick-rate", "30"]), Ok((30, false))));
        assert!(matches!(parsed(&["keys", "new", "/tmp/keys"]), Ok((_, true))));
        assert!(parsed(&["--tick-rate", "30", "keys", "new", "/tmp/keys"]).is_err());
        assert!(matches!(parsed(&["keys", "ensure", "--secret", "fray-keys"]), Ok((_, true))));
        assert!(parsed(&["keys", "ensure"]).is_err(), "which Secret?");
    }

    #[test]
    fn flags_that_need_others_say_so() {
        let parsed = |flags: &[&str]| {
            Config::try_parse_from(["fray-server"].iter().chain(flags)).map_err(|e| e.to_string())
        };
        for (flags, named) in [
            (&["--tls-cert", "a"][..], "--tls-key"),
            (&["--tls-client-ca", "a"], "--tls-cert"),
            (&["--id-issuer", "a", "--id-audience", "b"], "--id-jwks"),
            (&["--id-jwks", "a"], "--id-issuer"),
            (&["--require-id-token"], "--id-issuer"),
            (&["--kube"], "--pod-name"),
        ] {
            let said = parsed(flags).expect_err("something is missing");
            assert!(said.contains(named), "{said}");
        }
        assert!(parsed(&["--require-id-token", "false"]).is_ok());
    }
}
