//! Requests for access that is not ready yet: they wait, without a place for calls.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt as _;
use privatix_channel::ChannelId;
use privatix_offering::{AccessRequest, DescribedAccessRequest, SealedAccess};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use super::{connection::Caller, peers::Serving};
use crate::{CallerSession, NumberedAccess, Refusal, frame::deadline};

/// How long before the end of a call's time a request stops waiting: the service is asked once more then, or the refusal is given.
const MARGIN: Duration = Duration::from_secs(5);
/// How often the service is asked for one request at most, if it is never ready when it says so.
const MOST_TRIES: u32 = 16;

/// The answer to a request for access in clear.
pub(super) async fn access(
    caller: &Caller,
    request: AccessRequest,
    over: &CancellationToken,
    serving: &mut Option<Serving>,
) -> Result<SealedAccess, Refusal> {
    let channel = request.channel;
    let ask = || caller.call(|service| service.access(request.clone()));
    let answer = once_ready(caller, Some(channel), over, serving, ask).await?;
    caller.ticket.identify(channel);
    Ok(answer)
}

/// The answer to a request for access in a session.
pub(super) async fn access_described(
    caller: &Caller,
    session: CallerSession,
    request: DescribedAccessRequest,
    over: &CancellationToken,
    serving: &mut Option<Serving>,
) -> Result<NumberedAccess, Refusal> {
    let channel = caller.shared.service.described(&request);
    let ask = || caller.call(|service| service.access_described(session, request.clone()));
    let answer = once_ready(caller, channel, over, serving, ask).await?;
    caller.ticket.identify(answer.sealed.channel);
    Ok(answer)
}

/// The service's answer. Where access is not ready, and no reason is given that lasts, the request waits for it until the connection is
/// `over`, or the time is.
async fn once_ready<T, F: Future<Output = Result<T, Refusal>>>(
    caller: &Caller,
    channel: Option<ChannelId>,
    over: &CancellationToken,
    serving: &mut Option<Serving>,
    ask: impl Fn() -> F,
) -> Result<T, Refusal> {
    let until = deadline(caller.shared.limits.request_timeout.saturating_sub(MARGIN));
    let mut answer = ask().await;
    let Some(channel) = channel else { return answer };
    for _ in 0..MOST_TRIES {
        if !matches!(answer, Err(Refusal::NotReady { reason: None, .. })) {
            break;
        }
        // Whoever waits makes room for others: else strangers could keep all their places with requests that are never ready.
        drop(serving.take());
        // Inside the guard, because making the future may panic too.
        let ready = async { caller.shared.service.until_ready(channel).await };
        let ready = AssertUnwindSafe(ready).catch_unwind();
        let is_changed = tokio::select! {
            biased;
            () = over.cancelled() => false,
            ready = timeout_at(until, ready) => matches!(ready, Ok(Ok(true))),
        };
        *serving = caller.ticket.serve();
        if !is_changed {
            break;
        }
        answer = ask().await;
    }
    answer
}
