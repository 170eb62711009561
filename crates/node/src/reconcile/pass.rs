//! A pass over entries in chunks, within a time for all of them: [`ask_all`].

use std::time::Duration;

use tokio::time::{Instant, timeout};

/// How a pass ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended<X> {
    /// All entries were asked for.
    Complete,
    /// Its time was over. The next one goes on with the entries that were being asked for; with those after them if they took all of it.
    OutOfTime,
    /// Asking failed. The next one goes on with the entries after those, so that they do not keep the others off for ever.
    Failed(X),
}

/// Asks for entries, in their order but from `next` on, `at_once` with one call, until it fails or the time is over; sets `next` to
/// where the next pass goes on. Returns what was answered before that, too.
pub(super) async fn ask_all<E, A, X, F>(
    entries: &[E],
    next: &mut Option<E>,
    (at_once, limit): (usize, Duration),
    ask: impl Fn(Vec<E>) -> F,
) -> (Vec<(E, A)>, Ended<X>)
where
    E: Copy + Ord,
    F: Future<Output = Result<Vec<A>, X>>,
{
    let began = Instant::now();
    let mut entries = entries.to_vec();
    entries.sort_unstable();
    if let Some(next) = next.take() {
        let before = entries.partition_point(|entry| *entry < next);
        entries.rotate_left(before);
    }
    let mut answered = Vec::with_capacity(entries.len());
    let mut chunks = entries.chunks(at_once.max(1)).peekable();
    while let Some(chunk) = chunks.next() {
        let left = limit.saturating_sub(began.elapsed());
        let after = chunks.peek().and_then(|after| after.first().copied());
        match timeout(left, ask(chunk.to_vec())).await {
            Ok(Ok(answers)) => answered.extend(chunk.iter().copied().zip(answers)),
            Ok(Err(error)) => {
                *next = after;
                return (answered, Ended::Failed(error));
            }
            Err(_) => {
                // What hangs each time would keep the others off for ever.
                *next = if answered.is_empty() { after } else { chunk.first().copied() };
                return (answered, Ended::OutOfTime);
            }
        }
    }
    (answered, Ended::Complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The endpoint answers each call after 10 s, but not for an entry that hangs, and refuses one that is bad.
    async fn pass(
        next: &mut Option<u32>,
        hangs: Option<u32>,
        bad: Option<u32>,
    ) -> (Vec<u32>, Ended<&'static str>) {
        let ask = |chunk: Vec<u32>| async move {
            tokio::time::sleep(Duration::from_secs(10)).await;
            if hangs.is_some_and(|entry| chunk.contains(&entry)) {
                std::future::pending::<()>().await;
            }
            if bad.is_some_and(|entry| chunk.contains(&entry)) { Err("bad") } else { Ok(chunk) }
        };
        let (began, limit) = (Instant::now(), Duration::from_secs(35));
        let (answered, ended) = ask_all(&[5, 4, 3, 2, 1, 9, 8, 7, 6], next, (2, limit), ask).await;
        assert!(began.elapsed() <= limit + Duration::from_millis(1), "it took too long");
        assert!(answered.iter().all(|(entry, answer)| entry == answer), "{answered:?}");
        (answered.into_iter().map(|(entry, _)| entry).collect(), ended)
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_that_runs_out_of_time_goes_on_where_it_stopped() {
        let mut next = None;
        assert_eq!(pass(&mut next, None, None).await, (vec![1, 2, 3, 4, 5, 6], Ended::OutOfTime));
        assert_eq!(pass(&mut next, None, None).await, (vec![7, 8, 9, 1, 2, 3], Ended::OutOfTime));
        assert_eq!(pass(&mut next, None, None).await.0, [4, 5, 6, 7, 8, 9]);
        assert_eq!(next, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn entries_that_hang_do_not_keep_the_others_off() {
        let mut next = None;
        assert_eq!(pass(&mut next, Some(4), None).await, (vec![1, 2], Ended::OutOfTime));
        assert_eq!(pass(&mut next, Some(4), None).await, (vec![], Ended::OutOfTime));
        assert_eq!(pass(&mut next, Some(4), None).await, (vec![5, 6, 7, 8, 9, 1], Ended::OutOfTime));
        assert_eq!(next, Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn entries_that_cannot_be_asked_for_do_not_keep_the_others_off() {
        let mut next = None;
        assert_eq!(pass(&mut next, None, Some(3)).await, (vec![1, 2], Ended::Failed("bad")));
        assert_eq!(pass(&mut next, None, Some(3)).await, (vec![5, 6, 7, 8, 9, 1], Ended::OutOfTime));
        assert_eq!(pass(&mut next, None, Some(3)).await, (vec![], Ended::Failed("bad")));
        assert_eq!(next, Some(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_complete_pass_begins_again_at_the_start() {
        let mut next = Some(7);
        let asked = ask_all(&[1, 8], &mut next, (5, Duration::ZERO), async |chunk| Ok::<_, ()>(chunk)).await;
        assert_eq!((asked, next), ((vec![(8, 8), (1, 1)], Ended::Complete), None));
    }
}
