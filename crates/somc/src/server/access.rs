//! Requests for access that is not ready yet: they wait, without a place for calls.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt as _;
use privatix_offering::{AccessRequest, SealedAccess};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use super::connection::Caller;
use crate::{Refusal, frame::deadline};

/// How long before the end of a call's time a request stops waiting: the service is asked once more then, or the refusal is given.
const MARGIN: Duration = Duration::from_secs(5);

/// How often the service is asked for one request at most, if it is never ready when it says so.
const MOST_TRIES: u32 = 16;

/// The answer to a request for access. Where it is not ready, and no reason is given that lasts, the request waits for it until the
/// connection is `over`, or the time is.
pub(super) async fn access(
    caller: &Caller,
    request: AccessRequest,
    over: &CancellationToken,
) -> Result<SealedAccess, Refusal> {
    let until = deadline(caller.shared.limits.request_timeout.saturating_sub(MARGIN));
    let channel = request.channel;
    let mut answer = caller.call(|service| service.access(request.clone())).await;
    for _ in 0..MOST_TRIES {
        if !matches!(answer, Err(Refusal::NotReady { reason: None, .. })) {
            break;
        }
        // Inside the guard, because making the future may panic too.
        let ready = async { caller.shared.service.until_ready(channel).await };
        let ready = AssertUnwindSafe(ready).catch_unwind();
        let is_changed = tokio::select! {
            biased;
            () = over.cancelled() => false,
            ready = timeout_at(until, ready) => matches!(ready, Ok(Ok(true))),
        };
        if !is_changed {
            break;
        }
        answer = caller.call(|service| service.access(request.clone())).await;
    }
    answer
}
