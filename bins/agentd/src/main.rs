//! `agentd`: sells a metered service.

mod closing;
mod config;
mod offerings;
mod operator;

use std::process::ExitCode;

use alloy::primitives::Address;
use clap::Subcommand;
use privatix_adapter::Role;
use privatix_agent::{Agent, Messaging};
use privatix_api::node::AbandonChannel;
use privatix_channel::ChannelId;
use privatix_daemon::config::Loaded;
use privatix_daemon::{Announced, App, Connections, Context, DaemonError, DaemonTor, Parts, together};
use privatix_somc::{DirectListener, Listener, SomcAddress};
use tokio_util::sync::CancellationToken;

use config::{Onion, SomcSection};
use offerings::OfferingsCommand;
use operator::OperatorCommand;

struct Agentd;

/// Commands that only a seller has.
#[derive(Subcommand, Debug)]
enum Command {
    /// Makes offerings, announces them, lists and removes them
    #[command(subcommand)]
    Offerings(OfferingsCommand),
    /// Leaves what a channel would still bring to its client: its close requests are not answered any more. `channels close` takes
    /// that back
    Abandon {
        /// The channel
        channel: ChannelId,
    },
    /// Appoints a key that may act for the account, shows it, takes its rights away
    #[command(subcommand)]
    Operator(OperatorCommand),
}

impl App for Agentd {
    const NAME: &'static str = "agentd";
    const ABOUT: &'static str =
        "Sells a metered service: publishes offerings, meters, collects vouchers, settles";
    const ENV_PREFIX: &'static str = "PRIVATIX_AGENT_";
    const ENV_CONFIG: &'static str = "PRIVATIX_AGENT_CONFIG";
    const DEFAULTS: &'static [(&'static str, &'static str)] = &[("api.listen", "127.0.0.1:9520")];
    const ROLE: Role = Role::Agent;
    type Settings = config::Settings;
    type Command = Command;
    type Init = config::Init;

    fn config_sections(init: &config::Init) -> Result<String, DaemonError> {
        init.sections()
    }

    fn check(settings: &config::Settings) -> Result<(), DaemonError> {
        settings.somc.check(&settings.tor)?;
        settings.service.check()?;
        settings.closing.check(&settings.chain)
    }

    fn doubts(settings: &config::Settings) -> Vec<String> {
        let mut doubts = settings.somc.doubts(&settings.tor);
        doubts.extend(settings.closing.doubts());
        doubts
    }

    fn acts_for(settings: &config::Settings) -> Option<Address> {
        settings.operator.agent
    }

    fn uses_tor(settings: &config::Settings) -> bool {
        settings.tor.enabled && settings.somc.onion == Onion::Own
    }

    fn without_tor(settings: &config::Settings) -> Option<&'static str> {
        settings.somc.listen().map(|_| "clients reach this agent at its direct address only")
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
        let settings = &loaded.settings;
        let somc = &settings.somc;
        let messaging = messaging(somc, parts.tor.as_ref()).await?;
        let mut policy = settings.service.policy();
        settings.closing.apply(&mut policy);
        let batches = settings.closing.batches(&policy);
        let agent = Agent::with_policy(parts.node, messaging, policy)
            .await?
            .batches(batches)
            .limits(somc.limits(parts.connections))
            .pop_up_every(settings.offerings.pop_up_every());
        let serving = parts.api.serve_agent(agent.handle(), shutdown.clone());
        together(agent.run(shutdown.clone()), serving, shutdown).await
    }

    async fn command(command: Command, context: &Context<'_, Self>) -> Result<(), DaemonError> {
        match command {
            Command::Abandon { channel } => {
                let order = context.api()?.call(&AbandonChannel { channel, key: None }).await?;
                context
                    .output
                    .show(&order, |_| format!("what channel {channel} would bring is left to its client"));
                Ok(())
            }
            Command::Offerings(command) => command.carry_out(context).await,
            Command::Operator(command) => command.carry_out(context).await,
        }
    }
}

/// The addresses and listeners that the settings ask for, the onion service first.
async fn messaging(somc: &SomcSection, tor: Option<&DaemonTor>) -> Result<Messaging, DaemonError> {
    let mut ways: Vec<SomcAddress> = Vec::new();
    let mut listeners: Vec<Box<dyn Listener>> = Vec::new();
    if let Some(tor) = tor.filter(|_| somc.onion == Onion::Own) {
        let (address, listener) = tor.onion_service(&somc.onion_settings())?;
        tracing::info!(%address, "onion service starts");
        ways.push(address);
        listeners.push(Box::new(listener));
    }
    if let Onion::Elsewhere(address) = &somc.onion {
        ways.push(address.clone());
    }
    if let Some(listen) = somc.listen() {
        let listener = DirectListener::bind(listen).await?;
        let direct = somc.direct(listener.local_addr())?;
        let announced = direct.as_ref().map_or_else(|| "nowhere".to_owned(), ToString::to_string);
        tracing::info!(listen = %listener.local_addr(), announced, "messaging server listens");
        ways.extend(direct);
        listeners.push(Box::new(listener));
    }
    Messaging::of(ways, listeners).ok_or_else(|| DaemonError::Usage {
        what: "somc.onion".into(),
        reason: "clients have no way to this agent; set it to \"own\", or set somc.announce".into(),
    })
}

fn main() -> ExitCode {
    privatix_daemon::main::<Agentd>()
}
