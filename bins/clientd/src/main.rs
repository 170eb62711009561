//! `clientd`: buys metered services.

mod config;
mod market;
mod policy;

use std::process::ExitCode;

use privatix_adapter::Role;
use privatix_client::Client;
use privatix_daemon::config::Loaded;
use privatix_daemon::{App, Context, DaemonError, Parts, together};
use tokio_util::sync::CancellationToken;

struct Clientd;

impl App for Clientd {
    const NAME: &'static str = "clientd";
    const ABOUT: &'static str = "Buys metered services: discovers offerings, opens channels, pays for use";
    const ENV_PREFIX: &'static str = "PRIVATIX_CLIENT_";
    const ENV_CONFIG: &'static str = "PRIVATIX_CLIENT_CONFIG";
    const DEFAULTS: &'static [(&'static str, &'static str)] = &[("api.listen", "127.0.0.1:9530")];
    const ROLE: Role = Role::Client;
    type Settings = config::Settings;
    type Command = market::Command;
    type Init = config::Init;

    fn config_sections(init: &config::Init) -> Result<String, DaemonError> {
        Ok(init.sections())
    }

    fn check(settings: &config::Settings) -> Result<(), DaemonError> {
        settings.check_ways()?;
        settings.client_settings().map(drop)
    }

    fn uses_tor(settings: &config::Settings) -> bool {
        settings.uses_tor()
    }

    fn without_tor(settings: &config::Settings) -> Option<&'static str> {
        settings.somc.without_tor()
    }

    async fn run(
        loaded: Loaded<config::Settings>,
        parts: Parts,
        shutdown: CancellationToken,
    ) -> Result<(), DaemonError> {
        let settings = loaded.settings.client_settings()?;
        let ways = loaded.settings.ways(parts.tor.as_ref())?;
        let client = Client::new(parts.node, ways.agents, settings).await?.fetch_over(ways.strangers);
        let serving = parts.api.serve_client(client.handle(), shutdown.clone());
        together(client.run(shutdown.clone()), serving, shutdown).await
    }

    async fn command(command: market::Command, context: &Context<'_, Self>) -> Result<(), DaemonError> {
        command.carry_out(context).await
    }
}

fn main() -> ExitCode {
    privatix_daemon::main::<Clientd>()
}
