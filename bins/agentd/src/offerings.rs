//! `agentd offerings`: what is sold.

use std::io::Read;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Subcommand;
use privatix_agent::OfferingDraft;
use privatix_api::agent::{
    CreateOffering, GetOffering, ListOfferings, ListTemplates, Offering, PopUpOffering, PublishOffering,
    RemoveOffering, ScheduleOffering,
};
use privatix_api::node::{GetOrder, OrderState, TokenUnit};
use privatix_channel::OfferingHash;
use privatix_daemon::output::{or_dash, pairs, table};
use privatix_daemon::{Context, DaemonError, Follow, WaitArgs, token_unit};

use crate::Agentd;

#[derive(Subcommand, Debug)]
pub(crate) enum OfferingsCommand {
    /// Signs an offering and keeps it as a draft; `publish` announces it
    Create {
        /// The file that says what is sold, or - for standard input
        #[arg(required_unless_present = "template_example")]
        draft: Option<PathBuf>,
        /// Prints such a file to start from, and explains it
        #[arg(long)]
        template_example: bool,
    },
    /// Announces a draft on chain and locks its stake: the least deposit for every place
    Publish {
        /// The offering
        offering: OfferingHash,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Announces an offering again, so that it counts as fresh; with `--every`, whenever its announcement is that old
    Popup {
        /// The offering
        offering: OfferingHash,
        /// Announces it again whenever its announcement is this old; `never`: only by order
        #[arg(long, value_name = "DURATION", conflicts_with = "wait")]
        every: Option<Every>,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Takes an offering off the market and gets the stake of its unused places back
    Remove {
        /// The offering
        offering: OfferingHash,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Lists our offerings, newest first
    List {
        /// At most this many
        #[arg(long, value_name = "NUMBER")]
        limit: Option<u32>,
    },
    /// Shows an offering with its terms
    Show {
        /// The offering
        offering: OfferingHash,
    },
    /// Lists the templates that an offering can be made from
    Templates,
}

impl OfferingsCommand {
    pub(crate) async fn carry_out(self, context: &Context<'_, Agentd>) -> Result<(), DaemonError> {
        let output = context.output;
        match self {
            Self::Create { template_example: true, .. } => {
                output.note(EXAMPLE_NOTES);
                output.line(EXAMPLE);
            }
            Self::Create { draft, .. } => {
                let draft = read_draft(&draft.unwrap_or_else(|| "-".into()))?;
                let offering = context.api()?.call(&CreateOffering { draft }).await?;
                output.show(&offering, |offering| {
                    format!("offering {0} is made; announce it with `offerings publish {0}`", offering.hash)
                });
            }
            Self::Publish { offering, wait } => {
                let ordered = context.api()?.call(&PublishOffering { offering, key: None }).await?;
                changed(context, &wait, ordered, "the announcement").await?;
            }
            Self::Popup { offering, every: Some(Every(every_seconds)), .. } => {
                let ordered =
                    context.api()?.call(&ScheduleOffering { offering, every_seconds, key: None }).await?;
                output.show(&ordered, |ordered| scheduled(ordered, every_seconds));
            }
            Self::Popup { offering, every: None, wait } => {
                let ordered = context.api()?.call(&PopUpOffering { offering, key: None }).await?;
                changed(context, &wait, ordered, "the new announcement").await?;
            }
            Self::Remove { offering, wait } => {
                let ordered = context.api()?.call(&RemoveOffering { offering, key: None }).await?;
                changed(context, &wait, ordered, "the removal").await?;
            }
            Self::List { limit } => {
                let api = context.api()?;
                let unit = token_unit(&api, output).await;
                output.show(&api.call(&ListOfferings { limit }).await?, |all| list(all, &unit));
            }
            Self::Show { offering } => {
                let api = context.api()?;
                let unit = token_unit(&api, output).await;
                let offering = api.call(&GetOffering { offering }).await?;
                output.show(&offering, |offering| details(offering, &unit));
            }
            Self::Templates => {
                let templates = context.api()?.call(&ListTemplates {}).await?;
                output.show(&templates, |templates| {
                    let rows = templates.iter().map(|template| {
                        [template.hash.to_string(), template.name.clone(), template.product.to_string()]
                    });
                    table(["template", "name", "product"], rows)
                });
            }
        }
        Ok(())
    }
}

fn read_draft(path: &Path) -> Result<OfferingDraft, DaemonError> {
    let failed = |source| DaemonError::File { action: "read", path: path.to_owned(), source };
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
        text
    } else {
        std::fs::read_to_string(path).map_err(failed)?
    };
    serde_json::from_str(&text).map_err(|error| DaemonError::Malformed {
        path: path.to_owned(),
        expected: "an offering draft",
        reason: format!("{error}; see `offerings create --template-example`"),
    })
}

/// How old an announcement may become: seconds, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Every(pub(crate) Option<NonZeroU32>);

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self(None));
        }
        let every = humantime::parse_duration(text).map_err(|error| format!("{error}; or `never`"))?;
        match u32::try_from(every.as_secs()).ok().and_then(NonZeroU32::new) {
            Some(seconds) => Ok(Self(Some(seconds))),
            None => Err(format!("between 1 s and {} days, or `never`", u32::MAX / 86_400)),
        }
    }
}

fn scheduled(offering: &Offering, every: Option<NonZeroU32>) -> String {
    match every {
        Some(seconds) => {
            let every = humantime::format_duration(Duration::from_secs(seconds.get().into()));
            format!("offering {} is announced again every {every}", offering.hash)
        }
        None => format!("offering {} is announced again by order only", offering.hash),
    }
}

/// Follows an order about an offering, if that is wished for, until the chain shows what it brings.
async fn changed(
    context: &Context<'_, Agentd>,
    wait: &WaitArgs,
    ordered: Offering,
    what: &str,
) -> Result<(), DaemonError> {
    let api = context.api()?;
    let offering = ordered.hash;
    let look = format!("offerings show {offering}");
    let order = ordered.order.filter(|_| wait.wait);
    let Some(order) = order else {
        context.output.show(&ordered, |ordered| {
            let waits =
                waits_for(ordered).map_or_else(String::new, |waits| format!(" (waiting for {waits})"));
            format!("{what} is under way{waits}; follow it with `{look}`")
        });
        return Ok(());
    };
    let mut follow = Follow::new(&api, context.output, wait, what, look);
    let now = follow
        .until(async |api| {
            let order = api.call(&GetOrder { order }).await?;
            let now = api.call(&GetOffering { offering }).await?;
            how_far(&order, now).map_err(|reason| DaemonError::OrderFailed { what: what.to_owned(), reason })
        })
        .await?;
    drop(follow);
    context.output.show(&now, |now| format!("offering {} is {}", now.hash, now.status.as_str()));
    Ok(())
}

/// How far an order is, by its own outcome. `now` was read later and only explains it. `Err`: why the operator has to do something first.
fn how_far(order: &OrderState, now: Offering) -> Result<Result<Offering, String>, String> {
    match (order.is_done, &order.trouble) {
        (Some(true), _) => return Ok(Ok(now)),
        (Some(false), trouble) => {
            let because = now.problem.as_ref().or(trouble.as_ref());
            return Err(because.cloned().unwrap_or_else(|| "it was given up".to_owned()));
        }
        (None, _) => {}
    }
    let needs_operator = now.progress.as_ref().is_some_and(|progress| progress.needs_operator);
    if let Some(problem) = now.problem.as_ref().filter(|_| needs_operator) {
        return Err(format!("{problem}; it then goes on by itself"));
    }
    let waits = waits_for(&now).map_or_else(String::new, |waits| format!(", waiting for {waits}"));
    Ok(Err(format!("the offering is {}{waits}", now.status.as_str())))
}

fn waits_for(offering: &Offering) -> Option<&str> {
    offering.progress.as_ref()?.waits_for.as_deref()
}

fn list(offerings: &[Offering], unit: &TokenUnit) -> String {
    let rows = offerings.iter().map(|offering| {
        let message = offering.message.as_ref();
        [
            offering.hash.to_string(),
            or_dash(message.map(|message| &message.service_name)),
            offering.status.as_str().to_owned(),
            or_dash(message.map(|message| {
                format!("{} / {}", unit.show(message.terms.unit_price), message.terms.unit.name)
            })),
            unit.show(offering.min_deposit),
            format!("{} of {}", offering.free_supply, offering.supply),
            or_dash(offering.problem.as_deref().or_else(|| waits_for(offering))),
        ]
    });
    table(["offering", "service", "status", "price", "least deposit", "free", "problem, or waits for"], rows)
}

fn details(offering: &Offering, unit: &TokenUnit) -> String {
    let mut rows = vec![
        ("offering", offering.hash.to_string()),
        ("status", offering.status.as_str().to_owned()),
        ("announced in block", or_dash(offering.announced_at)),
        ("announced address", offering.source.clone()),
        ("least deposit", unit.show(offering.min_deposit)),
        ("places", format!("{} of {} are free", offering.free_supply, offering.supply)),
        ("problem", or_dash(offering.problem.as_ref())),
    ];
    if let Some(progress) = &offering.progress {
        let every = progress.pop_up_every_seconds.map(|every| Duration::from_secs(every.into()));
        rows.push(("waits for", or_dash(progress.waits_for.as_ref())));
        rows.push((
            "announced again",
            every.map_or_else(
                || "by order".to_owned(),
                |every| format!("every {}", humantime::format_duration(every)),
            ),
        ));
    }
    let message = offering.message.as_ref().map(serde_json::to_string_pretty);
    if let Some(message) = &offering.message {
        rows.insert(1, ("service", message.service_name.clone()));
    }
    match message {
        Some(Ok(message)) => format!("{}\n\n{message}", pairs(rows)),
        _ => pairs(rows),
    }
}

/// A draft that works as it is.
pub(crate) const EXAMPLE: &str = include_str!("draft.json");

const EXAMPLE_NOTES: &str = "\
# An offering draft; what the daemon knows itself (agent, chain, contract, addresses) it adds.
#   template            hash of the template; only needed when the plug-in has several (`offerings templates`)
#   country             where the service is rendered from, ISO 3166-1 alpha-2
#   ipType              residential, datacenter or mobile; may be left out
#   namesProtocol       false for an offering that clients from before version 2 of the messaging protocol take, too; may be left
#                       out (then true: nobody on the way can pretend to new clients that this agent is older)
#   supply              channels that may be open at once; the stake is the least deposit for each
#   terms.unit          what the prices count: a name, the measure (bytes, seconds, requests), its size in the measure
#   terms.billing       prepaid or postpaid
#   terms.setupPrice    owed before any service, in the token's base units (a string: JSON numbers lose digits)
#   terms.unitPrice     price of one unit
#   terms.freeUnits     units that cost nothing
#   terms.minUnits      units that the least deposit pays for
#   terms.maxUnits      units after which the channel ends; may be left out
#   terms.billingInterval     units between two payments
#   terms.maxBillingUnitLag   unpaid units borne before the service is suspended; bounds what can be lost
#   terms.maxSuspend    seconds that a channel may stay suspended
#   terms.maxInactive   seconds that a channel may stay without use
#   terms.maxFirstUse   seconds until its first use or payment, at least 900; may be left out (then as maxInactive). Clients of
#                       versions that do not know it refuse the offering
#   additional          what the template asks besides; for a proxy: its protocols";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_a_duration_or_never() {
        for (text, expected) in [
            ("never", Some(None)),
            ("24h", Some(Some(86_400))),
            ("0s", None),
            ("often", None),
            ("200y", None),
        ] {
            assert_eq!(
                text.parse::<Every>().ok(),
                expected.map(|every| Every(every.and_then(NonZeroU32::new))),
                "{text}"
            );
        }
    }

    #[test]
    fn an_order_is_followed_by_its_own_outcome() {
        let order = |is_done: Option<bool>, trouble: Option<&str>| -> OrderState {
            let order = serde_json::json!({
                "order": 1, "what": "publish", "by": "operator", "at": "2026-01-01T00:00:00Z",
                "isDone": is_done, "trouble": trouble,
            });
            serde_json::from_value(order).unwrap()
        };
        let shown = |pending: bool, needs_operator: bool, problem: Option<&str>| -> Offering {
            let offering = serde_json::json!({
                "agent": alloy::primitives::Address::ZERO, "hash": OfferingHash::default(), "status": "registering",
                "minDeposit": "1", "supply": 1, "freeSupply": 1, "source": "direct:agent.example:9500",
                "problem": problem, "createdAt": "2026-01-01T00:00:00Z",
                "progress": { "pending": pending, "needsOperator": needs_operator },
            });
            serde_json::from_value(offering).unwrap()
        };
        let says = |order: OrderState, now: Offering| match how_far(&order, now) {
            Ok(Ok(_)) => "done".to_owned(),
            Ok(Err(waits)) => format!("waits: {waits}"),
            Err(because) => format!("failed: {because}"),
        };
        let gone = Some("the transaction was cancelled");
        let stake = Some("deposit more");
        for (order, now, expected) in [
            // The offering was read a moment later than the order: what it shows is no outcome.
            (order(None, None), shown(false, false, None), "waits: the offering is registering"),
            (order(None, None), shown(true, false, stake), "waits: the offering is registering"),
            (order(None, None), shown(true, true, None), "waits: the offering is registering"),
            (order(None, None), shown(true, true, stake), "failed: deposit more; it then goes on by itself"),
            (order(Some(true), None), shown(true, false, None), "done"),
            (order(Some(false), gone), shown(false, false, None), "failed: the transaction was cancelled"),
            (order(Some(false), gone), shown(false, false, Some("reverted")), "failed: reverted"),
        ] {
            assert_eq!(says(order, now), expected);
        }
    }

    #[test]
    fn the_example_is_a_sound_draft() {
        let draft: OfferingDraft = serde_json::from_str(EXAMPLE).unwrap();
        draft.terms.validate().unwrap();
        assert_eq!(draft.additional["protocols"], serde_json::json!(["socks5", "http"]));
    }
}
