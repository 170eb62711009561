//! The checks themselves.

use privatix_channel::Usage;

use super::Check;
use super::rig::{Channel, Outcome, Rig, fresh_channel};
use crate::{AdapterError, AdapterRefusal, Allowance, Provision, Role};

pub(super) async fn make(check: Check, rig: &mut Rig<'_>) -> Outcome {
    match check {
        Check::UnknownChannelIsRefused => unknown_channel(rig).await,
        Check::SetupIsIdempotent => setup(rig).await,
        Check::NothingPassesBeforeStart => before_start(rig).await,
        Check::StartedChannelIsMetered => started(rig).await,
        Check::SuspendedChannelPassesNothing => suspended(rig).await,
        Check::ResumedChannelPasses => resumed(rig).await,
        Check::TotalsNeverDecrease => totals(rig).await,
        Check::StopIsFinal => stop(rig).await,
        Check::ChannelsAreSeparate => separate(rig).await,
        Check::RestartContinues => restart(rig).await,
        Check::ShutdownEndsAll => shutdown(rig).await,
        Check::BoundHoldsFromProvision => bounded(rig).await,
        Check::BuyerStartsAlone => starts_alone(rig).await,
        Check::WrongRoleIsRefused => wrong_role(rig).await,
    }
}

async fn unknown_channel(rig: &Rig<'_>) -> Outcome {
    let (host, channel) = (&rig.instance.host, fresh_channel());
    for (call, answer) in [
        ("start", host.start(channel).await),
        ("suspend", host.suspend(channel).await),
        ("resume", host.resume(channel).await),
    ] {
        expect_refusal(call, answer, &AdapterRefusal::UnknownChannel { channel })?;
    }
    ok("stop of an unknown channel", host.stop(channel).await)
}

async fn setup(rig: &Rig<'_>) -> Outcome {
    // `configure` is called twice for every instance.
    let first = rig.channel().await?;
    let again = rig.provision(first.id).await?;
    if first.provisioned != again.provisioned {
        return Err(format!("provisioned again: {:?} instead of {:?}", again.provisioned, first.provisioned));
    }
    // A channel that passes already does not notice either.
    start(rig, &first).await?;
    let mut flow = rig.expect_passes(&first, "after start").await?;
    rig.provision(first.id).await?;
    match flow.pass(1000).await {
        super::Attempt::Passed(_) => Ok(()),
        stuck => Err(format!("a flow under way does not survive provisioning again: {stuck:?}")),
    }
}

async fn before_start(rig: &Rig<'_>) -> Outcome {
    let channel = rig.channel().await?;
    rig.expect_cut(&channel, None, "before start").await?;
    start(rig, &channel).await?;
    rig.expect_passes(&channel, "after start").await.map(drop)
}

async fn started(rig: &Rig<'_>) -> Outcome {
    let channel = rig.channel().await?;
    start(rig, &channel).await?;
    rig.expect_passes(&channel, "after start").await?;
    start(rig, &channel).await?;
    rig.expect_passes(&channel, "after the second start").await.map(drop)
}

async fn suspended(rig: &Rig<'_>) -> Outcome {
    let channel = rig.channel().await?;
    start(rig, &channel).await?;
    let mut flow = rig.expect_passes(&channel, "after start").await?;
    ok("suspend", rig.instance.host.suspend(channel.id).await)?;
    rig.expect_cut(&channel, Some(&mut flow), "while suspended").await?;
    ok("suspend again", rig.instance.host.suspend(channel.id).await)?;
    rig.expect_cut(&channel, Some(&mut flow), "while suspended twice").await?;

    // As after a restart of a daemon with a suspended channel.
    let channel = rig.channel().await?;
    ok("suspend before start", rig.instance.host.suspend(channel.id).await)?;
    rig.expect_cut(&channel, None, "while suspended before start").await
}

async fn resumed(rig: &Rig<'_>) -> Outcome {
    let host = &rig.instance.host;
    let channel = rig.channel().await?;
    start(rig, &channel).await?;
    drop(rig.expect_passes(&channel, "after start").await?);
    ok("suspend", host.suspend(channel.id).await)?;
    ok("resume", host.resume(channel.id).await)?;
    drop(rig.expect_passes(&channel, "after resume").await?);
    ok("resume again", host.resume(channel.id).await)?;
    drop(rig.expect_passes(&channel, "after resuming twice").await?);
    // start and resume name the same state.
    ok("suspend", host.suspend(channel.id).await)?;
    ok("start", host.start(channel.id).await)?;
    drop(rig.expect_passes(&channel, "when started after a suspension").await?);

    let channel = rig.channel().await?;
    ok("resume before start", host.resume(channel.id).await)?;
    rig.expect_passes(&channel, "when resumed without a start").await.map(drop)
}

async fn totals(rig: &Rig<'_>) -> Outcome {
    let channel = rig.channel().await?;
    start(rig, &channel).await?;
    let mut flow = rig.expect_passes(&channel, "after start").await?;
    let mut expected = rig.instance.ledger.total(channel.id);
    for _ in 0..8 {
        match flow.pass(50_000).await {
            super::Attempt::Passed(moved) => expected = expected.saturating_add(moved),
            stuck => return Err(format!("a flow stops passing: {stuck:?}")),
        }
        // Lets the report out, so that there is a history to look at.
        rig.expect_total(channel.id, expected, "in the middle of a flow").await?;
    }
    drop(flow);
    rig.expect_passes(&channel, "after much use").await?;
    ok("stop", rig.instance.host.stop(channel.id).await)?;
    rig.instance.ledger.until(rig.driver.patience(), |ledger| all_ended(ledger, &channel)).await;
    for history in rig.instance.ledger.histories() {
        for pair in history.windows(2) {
            let [earlier, later] = pair else { continue };
            if later.total < earlier.total || later.last_usage < earlier.last_usage {
                return Err(format!("{later:?} came after {earlier:?}"));
            }
            if later.started_at != earlier.started_at || (earlier.ended_at.is_some() && later != earlier) {
                return Err(format!("a session changed: {later:?} came after {earlier:?}"));
            }
        }
    }
    Ok(())
}

async fn stop(rig: &Rig<'_>) -> Outcome {
    let host = &rig.instance.host;
    let channel = rig.channel().await?;
    start(rig, &channel).await?;
    let mut flow = rig.expect_passes(&channel, "after start").await?;
    ok("stop", host.stop(channel.id).await)?;
    rig.expect_cut(&channel, Some(&mut flow), "after stop").await?;
    ok("stop again", host.stop(channel.id).await)?;
    for (call, answer) in [
        ("start after stop", host.start(channel.id).await),
        ("resume after stop", host.resume(channel.id).await),
    ] {
        expect_refusal(call, answer, &AdapterRefusal::UnknownChannel { channel: channel.id })?;
    }
    if !rig.instance.ledger.until(rig.driver.patience(), |ledger| all_ended(ledger, &channel)).await {
        return Err("the session's end was not reported after stop".to_owned());
    }
    Ok(())
}

async fn separate(rig: &Rig<'_>) -> Outcome {
    let host = &rig.instance.host;
    let (kept, suspended, stopped) = (rig.channel().await?, rig.channel().await?, rig.channel().await?);
    for channel in [&kept, &suspended, &stopped] {
        start(rig, channel).await?;
        rig.expect_passes(channel, "after start").await?;
    }
    ok("suspend", host.suspend(suspended.id).await)?;
    ok("stop", host.stop(stopped.id).await)?;
    let (suspended_total, stopped_total) =
        (rig.instance.ledger.total(suspended.id), rig.instance.ledger.total(stopped.id));
    rig.expect_passes(&kept, "while another channel is suspended and one stopped").await?;
    rig.expect_total(suspended.id, suspended_total, "while suspended and another channel is used").await?;
    rig.expect_total(stopped.id, stopped_total, "after stop and while another channel is used").await?;
    ok("resume", host.resume(suspended.id).await)?;
    rig.expect_passes(&suspended, "after resume").await.map(drop)
}

async fn restart(rig: &mut Rig<'_>) -> Outcome {
    let channel = rig.channel().await?;
    start(rig, &channel).await?;
    drop(rig.expect_passes(&channel, "after start").await?);
    let before: Vec<_> =
        rig.instance.ledger.sessions(channel.id).iter().map(|session| session.session).collect();
    rig.restart().await?;
    let id = channel.id;
    expect_refusal(
        "start in a new instance, not provisioned there",
        rig.instance.host.start(id).await,
        &AdapterRefusal::UnknownChannel { channel: id },
    )?;
    let channel = rig.provision(id).await?;
    start(rig, &channel).await?;
    // The new ledger is empty, so this also finds a total that goes on from the old session.
    rig.expect_passes(&channel, "after a restart").await?;
    let reused =
        rig.instance.ledger.sessions(id).into_iter().find(|session| before.contains(&session.session));
    reused
        .map_or(Ok(()), |session| Err(format!("session {} was used again after a restart", session.session)))
}

async fn shutdown(rig: &Rig<'_>) -> Outcome {
    let host = &rig.instance.host;
    let (active, suspended) = (rig.channel().await?, rig.channel().await?);
    start(rig, &active).await?;
    start(rig, &suspended).await?;
    let mut flow = rig.expect_passes(&active, "after start").await?;
    drop(rig.expect_passes(&suspended, "after start").await?);
    ok("suspend", host.suspend(suspended.id).await)?;
    ok("shutdown", host.shutdown().await)?;
    rig.expect_cut(&active, Some(&mut flow), "after shutdown").await?;
    for channel in [&active, &suspended] {
        if !rig.instance.ledger.until(rig.driver.patience(), |ledger| all_ended(ledger, channel)).await {
            return Err("a session's end was not reported after shutdown".to_owned());
        }
    }
    ok("shutdown again", host.shutdown().await)
}

async fn bounded(rig: &Rig<'_>) -> Outcome {
    let host = &rig.instance.host;
    let mut provision = rig.driver.provision(fresh_channel()).await;
    let Provision::Sell { used, up_to, .. } = &mut provision else { return Ok(()) };
    *up_to = *used;
    let channel = rig.provision_as(provision.clone()).await?;
    start(rig, &channel).await?;
    // Asked about another channel, as the answer would move the bound of this one.
    let other = rig.channel().await?;
    match host.allow(other.id, Usage::MAX).await {
        Ok(Allowance::Enforced) => {}
        Ok(Allowance::NotEnforced) => return Ok(()),
        Err(error) => return Err(format!("allow: {error}")),
    }
    rig.expect_cut(&channel, None, "after start, with nothing left of the provision's bound").await?;
    ok("allow", host.allow(channel.id, Usage::MAX).await.map(drop))?;
    drop(rig.expect_passes(&channel, "after it was allowed more").await?);
    // Provisioned again, it is bounded again.
    rig.provision_as(provision).await?;
    rig.expect_cut(&channel, None, "after it was provisioned again with nothing left").await
}

async fn starts_alone(rig: &Rig<'_>) -> Outcome {
    let provision = rig.driver.provision_unserved(fresh_channel()).await;
    if provision.role() == Role::Agent {
        return Ok(());
    }
    let channel = rig.provision_as(provision).await?;
    ok("start of what its seller does not serve", rig.instance.host.start(channel.id).await)
}

async fn wrong_role(rig: &Rig<'_>) -> Outcome {
    let channel = fresh_channel();
    let credentials = crate::Credentials { username: channel.to_string(), password: "secret".into() };
    let configured = rig.driver.configuration().role;
    let (other, provision) = match configured {
        Role::Agent => {
            let access = crate::Access { endpoint: serde_json::json!({}), credentials };
            (Role::Client, Provision::buy(channel, access))
        }
        Role::Client => {
            let (parameters, used, up_to) = (serde_json::json!({}), Usage::ZERO, Usage::MAX);
            (Role::Agent, Provision::Sell { channel, credentials, parameters, used, up_to })
        }
    };
    let answer = rig.instance.host.provision(provision).await.map(drop);
    expect_refusal("provision for the other role", answer, &AdapterRefusal::WrongRole { role: other })
}

async fn start(rig: &Rig<'_>, channel: &Channel) -> Outcome {
    ok("start", rig.instance.host.start(channel.id).await)
}

fn all_ended(ledger: &super::rig::Ledger, channel: &Channel) -> bool {
    ledger.sessions(channel.id).iter().all(|session| session.ended_at.is_some())
}

fn ok(call: &str, answer: Result<(), AdapterError>) -> Outcome {
    answer.map_err(|error| format!("{call}: {error}"))
}

fn expect_refusal(call: &str, answer: Result<(), AdapterError>, expected: &AdapterRefusal) -> Outcome {
    match answer {
        Err(AdapterError::Refused { refusal, .. }) if refusal == *expected => Ok(()),
        Err(other) => Err(format!("{call}: {other}, instead of being refused with `{expected}`")),
        Ok(()) => Err(format!("{call} succeeds instead of being refused with `{expected}`")),
    }
}
