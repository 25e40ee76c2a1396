//! The queue: which server is reconciled when.
//!
//! kube's scheduler keeps the times, and waits for the end of a burst of changes. kube's `applier`, which goes on from there, is not
//! used: it takes the objects from a `Store` of its own, whose objects have a whole `ObjectMeta` and whose keys have four
//! texts. docs/performance.md has the numbers.

use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::time::Duration;

use futures::channel::mpsc;
use futures::stream::{self, FuturesUnordered};
use futures::{Stream, StreamExt};
use kube::runtime::scheduler::{ScheduleRequest, debounced_scheduler};
use tokio::time::Instant;

use crate::observe::server_key::ServerKey;

/// How long a server must stay unchanged before it is reconciled: long enough for the operator to write its own conditions
/// first, short enough for people who wait.
const DEBOUNCE: Duration = Duration::from_secs(1);

/// Servers that are reconciled at the same time.
const CONCURRENCY: usize = 8;

/// Reconciles the servers of `changes`, each once it has not changed for a second, until `stop` completes; then it finishes what is under
/// way. `reconcile` returns after which time the server is reconciled again. A server is never reconciled twice at the same time.
pub(crate) async fn reconcile_all<R: Future<Output = Option<Duration>>>(
    changes: impl Stream<Item = ServerKey>,
    stop: impl Future<Output = ()>,
    reconcile: impl Fn(ServerKey) -> R,
) {
    let request = |server, after| ScheduleRequest { message: server, run_at: Instant::now() + after };
    let (again, due_again) = mpsc::unbounded();
    let requests = stream::select(changes.map(|server| request(server, Duration::ZERO)), due_again);
    let mut scheduler = pin!(debounced_scheduler(requests.take_until(stop), DEBOUNCE));
    let mut under_way = HashSet::with_capacity(CONCURRENCY);
    let mut reconciles = FuturesUnordered::new();
    loop {
        // The scheduler is polled while all places are taken, too: it reads the watches.
        let due = poll_fn(|context| match under_way.len() < CONCURRENCY {
            true => {
                Pin::new(&mut scheduler.as_mut().hold_unless(|server| !under_way.contains(server))).poll_next(context)
            }
            false => Pin::new(&mut scheduler.as_mut().hold()).poll_next(context),
        });
        tokio::select! {
            Some((server, after)) = reconciles.next() => {
                under_way.remove(&server);
                if let Some(after) = after {
                    // It cannot fail: the scheduler has the other end.
                    let _ = again.unbounded_send(request(server, after));
                }
            }
            server = due => {
                let Some(server) = server else { break };
                under_way.insert(server);
                let reconcile = reconcile(server);
                reconciles.push(async move { (server, reconcile.await) });
            }
        }
    }
    while reconciles.next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::pending;
    use std::time::Duration;

    use futures::{StreamExt, stream};
    use tokio::time::{Instant, sleep};

    use super::{CONCURRENCY, reconcile_all};
    use crate::observe::server_key::ServerKey;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(index: usize) -> ServerKey {
        ServerKey::of("default", &format!("server-{index}"))
    }

    #[tokio::test(start_paused = true)]
    async fn reconciles_once_after_a_burst_and_again_when_asked() {
        let start = Instant::now();
        let changes = stream::iter([0, 500, 800]).then(|at| async move {
            tokio::time::sleep_until(start + Duration::from_millis(at)).await;
            key(0)
        });
        let times = RefCell::new(Vec::new());
        let reconcile = |_| {
            times.borrow_mut().push(start.elapsed().as_secs_f64().round());
            let again = (times.borrow().len() < 2).then_some(SECOND * 10);
            async move { again }
        };
        reconcile_all(changes.chain(stream::pending()), sleep(SECOND * 60), reconcile).await;
        assert_eq!(*times.borrow(), [2.0, 13.0]);
    }

    #[tokio::test(start_paused = true)]
    async fn reconciles_a_server_once_at_a_time_and_few_of_them_at_the_same_time() {
        let changes = stream::iter((0..3).flat_map(|_| 0..20)).then(|index| async move {
            sleep(SECOND / 10).await;
            key(index)
        });
        let (under_way, all) = (RefCell::new(Vec::new()), Cell::new(0));
        let reconcile = |server| {
            let (under_way, all) = (&under_way, &all);
            async move {
                assert!(!under_way.borrow().contains(&server), "twice at the same time");
                under_way.borrow_mut().push(server);
                assert!(under_way.borrow().len() <= CONCURRENCY);
                sleep(SECOND * 3).await;
                under_way.borrow_mut().retain(|it| *it != server);
                all.set(all.get() + 1);
                None
            }
        };
        reconcile_all(changes.chain(stream::pending()), sleep(SECOND * 60), reconcile).await;
        assert!((20..=60).contains(&all.get()), "{}", all.get());
    }

    #[tokio::test(start_paused = true)]
    async fn finishes_what_is_under_way_when_it_is_stopped() {
        let finished = Cell::new(0);
        let reconcile = |_| async {
            sleep(SECOND * 5).await;
            finished.set(finished.get() + 1);
            Some(SECOND)
        };
        let changes = stream::iter([key(0), key(1)]).chain(stream::pending());
        reconcile_all(changes, sleep(SECOND * 3), reconcile).await;
        assert_eq!(finished.get(), 2);
        // Without anything under way it ends at once, also if the changes never end.
        reconcile_all(stream::pending(), async {}, |_| pending()).await;
    }
}
