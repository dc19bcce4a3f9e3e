//! Work that no caller waits for, but shutdown does.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Counts running pieces of work: one for each stream that has ended and is
/// still judged or recorded (a connection can end several meanwhile), and one
/// for each change of a rollout.
#[derive(Debug, Default)]
pub(super) struct Background {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    running: AtomicUsize,
    idle: Notify,
}

struct Running(Arc<State>);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

impl Background {
    /// Runs `work` on the runtime. Outside of one, which is where a stream is
    /// dropped when the runtime itself goes away, it is not run.
    pub(super) fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        self.state.running.fetch_add(1, Ordering::AcqRel);
        let running = Running(self.state.clone());
        runtime.spawn(async move {
            work.await;
            drop(running);
        });
    }

    /// Waits until nothing runs.
    pub(super) async fn idle(&self) {
        loop {
            let idle = self.state.idle.notified();
            if self.state.running.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }
}
