use clap::Subcommand;
use privatix_api::ApiClient;
use privatix_api::node::{EndRecovery, GetRecovery, Recovery};

use crate::DaemonError;
use crate::output::{Output, pairs, time};

/// `recovery`
#[derive(Subcommand, Debug)]
pub(crate) enum RecoveryCommand {
    /// Shows whether this database came back from a backup, and how far it has caught up
    Show,
    /// Ends the recovery before its time: channels are then ended with the vouchers that are known
    End,
}

impl RecoveryCommand {
    pub(crate) async fn carry_out(self, api: &ApiClient, output: Output) -> Result<(), DaemonError> {
        match self {
            Self::Show => {
                let recovery = api.call(&GetRecovery {}).await?;
                output.show(&recovery, |recovery| {
                    recovery.as_ref().map_or_else(|| "there is no recovery".to_owned(), shown)
                });
            }
            Self::End => {
                let ended = api.call(&EndRecovery {}).await?;
                output.show(&ended, |_| "the recovery is over".to_owned());
            }
        }
        Ok(())
    }
}

fn shown(recovery: &Recovery) -> String {
    let mut rows = vec![
        ("backup of", time(recovery.backed_up_at)),
        ("chain caught up", recovery.caught_up_at.map_or_else(|| "not yet".to_owned(), time)),
    ];
    rows.extend(recovery.until.map(|until| ("unpaid channels stay open until", time(until))));
    pairs(rows)
}
