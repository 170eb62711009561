//! `agentd operator`: who else may act for the account.

use alloy::primitives::Address;
use clap::Subcommand;
use privatix_api::agent::{AppointOperator, GetOperator, Operator};
use privatix_daemon::output::pairs;
use privatix_daemon::{Context, DaemonError, WaitArgs, order as follow_order};

use crate::Agentd;

#[derive(Subcommand, Debug)]
pub(crate) enum OperatorCommand {
    /// Shows the account, its operator on chain, and the key that this daemon acts with
    Show,
    /// Appoints an operator, in place of the one before: a key that publishes and closes for the account, and cannot move its
    /// money. The daemon must run with the account's own key
    Appoint {
        /// The operator's address: the account of another `agentd`
        operator: Address,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Takes the operator's rights away
    Dismiss {
        #[command(flatten)]
        wait: WaitArgs,
    },
}

impl OperatorCommand {
    pub(crate) async fn carry_out(self, context: &Context<'_, Agentd>) -> Result<(), DaemonError> {
        let (output, api) = (context.output, context.api()?);
        match self {
            Self::Show => output.show(&api.call(&GetOperator {}).await?, shown),
            Self::Appoint { operator, wait } => {
                let order = api.call(&AppointOperator { operator: Some(operator) }).await?;
                follow_order(&api, output, &wait, &format!("appointment of {operator}"), order).await?;
            }
            Self::Dismiss { wait } => {
                let order = api.call(&AppointOperator { operator: None }).await?;
                follow_order(&api, output, &wait, "dismissal of the operator", order).await?;
            }
        }
        Ok(())
    }
}

fn shown(operator: &Operator) -> String {
    let on_chain = operator.operator.map_or_else(|| "none".to_owned(), |address| address.to_string());
    pairs([
        ("account", operator.account.to_string()),
        ("operator on chain", on_chain),
        ("this daemon's key", operator.sender.to_string()),
    ])
}
