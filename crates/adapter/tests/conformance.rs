//! The conformance kit is only worth something if a sound adapter passes it and each kind of broken one fails it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod toy;

use std::sync::Arc;

use privatix_adapter::conformance::{self, Check};
use privatix_adapter::{Adapter, Role};

use toy::{Fault, Toy, ToyDriver};

async fn failing(fault: Option<Fault>) -> Vec<Check> {
    let role = if fault == Some(Fault::StartsWithItsSellerOnly) { Role::Client } else { Role::Agent };
    let driver = ToyDriver { role };
    match conformance::run(move || Arc::new(Toy::new(fault)) as Arc<dyn Adapter>, &driver).await {
        Ok(()) => Vec::new(),
        Err(broken) => broken.0.into_iter().map(|failure| failure.check).collect(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_sound_adapter_passes_in_either_role() {
    for role in [Role::Agent, Role::Client] {
        conformance::run(|| Arc::new(Toy::new(None)) as Arc<dyn Adapter>, &ToyDriver { role }).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn each_broken_adapter_fails_the_check_of_the_rule_that_it_breaks() {
    for (fault, check) in [
        (Fault::AcceptsUnknownChannels, Check::UnknownChannelIsRefused),
        (Fault::RefusesStopOfUnknown, Check::UnknownChannelIsRefused),
        (Fault::NewEndpointEachTime, Check::SetupIsIdempotent),
        (Fault::ProvisionResets, Check::SetupIsIdempotent),
        (Fault::PassesBeforeStart, Check::NothingPassesBeforeStart),
        (Fault::RefusesSecondStart, Check::StartedChannelIsMetered),
        (Fault::MetersTooLittle, Check::StartedChannelIsMetered),
        (Fault::MetersTooMuch, Check::StartedChannelIsMetered),
        (Fault::NeverReports, Check::StartedChannelIsMetered),
        (Fault::SuspendDoesNothing, Check::SuspendedChannelPassesNothing),
        (Fault::MetersWhileSuspended, Check::SuspendedChannelPassesNothing),
        (Fault::ResumeToggles, Check::ResumedChannelPasses),
        (Fault::StartDoesNotResume, Check::ResumedChannelPasses),
        (Fault::ReportsDeltas, Check::TotalsNeverDecrease),
        (Fault::StopOnlySuspends, Check::StopIsFinal),
        (Fault::SessionsNeverEnd, Check::StopIsFinal),
        (Fault::SuspendsAll, Check::ChannelsAreSeparate),
        (Fault::BooksToFirstChannel, Check::ChannelsAreSeparate),
        (Fault::ReusesSessionIds, Check::RestartContinues),
        (Fault::ShutdownDoesNothing, Check::ShutdownEndsAll),
        (Fault::RefusesSecondShutdown, Check::ShutdownEndsAll),
        (Fault::TakesAnyRole, Check::WrongRoleIsRefused),
        (Fault::PanicsOnResume, Check::ResumedChannelPasses),
        (Fault::IgnoresTheBoundOfAProvision, Check::BoundHoldsFromProvision),
        (Fault::StartsWithItsSellerOnly, Check::BuyerStartsAlone),
    ] {
        let failed = failing(Some(fault)).await;
        assert!(failed.contains(&check), "{fault:?} should fail {check:?} but failed {failed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_error_says_which_rules_are_broken_and_what_was_seen() {
    let driver = ToyDriver { role: Role::Agent };
    let toy = || Arc::new(Toy::new(Some(Fault::SuspendDoesNothing))) as Arc<dyn Adapter>;
    let said = conformance::run(toy, &driver).await.unwrap_err().to_string();
    assert!(said.contains("SuspendedChannelPassesNothing: a flow under way still passes"), "{said}");
}
