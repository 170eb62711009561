//! `agentd`: sells a metered service.

mod config;
mod offerings;

use std::process::ExitCode;

use privatix_adapter::Role;
use privatix_agent::Agent;
use privatix_daemon::config::Loaded;
use privatix_daemon::{Announced, App, Connections, Context, DaemonError, Parts, together};
use privatix_somc::DirectListener;
use tokio_util::sync::CancellationToken;

struct Agentd;

impl App for Agentd {
    const NAME: &'static str = "agentd";
    const ABOUT: &'static str =
        "Sells a metered service: publishes offerings, meters, collects vouchers, settles";
    const ENV_PREFIX: &'static str = "PRIVATIX_AGENT_";
    const ENV_CONFIG: &'static str = "PRIVATIX_AGENT_CONFIG";
    const DEFAULTS: &'static [(&'static str, &'static str)] = &[("api.listen", "127.0.0.1:9520")];
    const ROLE: Role = Role::Agent;
    type Settings = config::Settings;
    type Command = offerings::Command;
    type Init = config::Init;

    fn config_sections(init: &config::Init) -> String {
        init.sections()
    }

    fn check(settings: &config::Settings) -> Result<(), DaemonError> {
        settings.somc.announced(settings.somc.listen).map(drop)
    }

    fn connections(settings: &config::Settings, plug_in: Connections) -> Connections {
        settings.somc.connections(plug_in)
    }

    fn announced(settings: &config::Settings) -> Vec<Announced> {
        settings.somc.reach().into_iter().collect()
    }

    async fn run(
        loaded: Loaded<config::Settings>,
        parts: Parts,
        shutdown: CancellationToken,
    ) -> Result<(), DaemonError> {
        let somc = &loaded.settings.somc;
        let listener = DirectListener::bind(somc.listen).await?;
        let address = somc.announced(listener.local_addr())?;
        tracing::info!(listen = %listener.local_addr(), announced = %address, "messaging server listens");
        let agent = Agent::new(parts.node, listener, address).await?.limits(somc.limits(parts.connections));
        let serving = parts.api.serve_agent(agent.handle(), shutdown.clone());
        together(agent.run(shutdown.clone()), serving, shutdown).await
    }

    async fn command(command: offerings::Command, context: &Context<'_, Self>) -> Result<(), DaemonError> {
        let offerings::Command::Offerings(command) = command;
        command.carry_out(context).await
    }
}

fn main() -> ExitCode {
    privatix_daemon::main::<Agentd>()
}
