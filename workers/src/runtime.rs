//! The one place where threads and tasks are started. Everything started here is waited for by whoever started it.

use std::{future::Future, pin::Pin, thread};

use apalis_core::error::BoxDynError;
use tokio::{
    runtime::Builder,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

/// How a thread of its own runs its futures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// On the thread itself, alone.
    One,
    /// On this many further threads.
    Many(usize),
}

/// Runs `main` on a runtime of its own, in a thread named `name`, so that nothing which happens on other runtimes can
/// hold it up.
pub(crate) fn on_own_thread<F, M>(
    name: &str,
    threads: Threads,
    main: M,
) -> std::io::Result<thread::JoinHandle<()>>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = ()>,
{
    let mut builder = match threads {
        Threads::One => Builder::new_current_thread(),
        Threads::Many(workers) => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(workers);
            builder
        }
    };
    let runtime = builder.enable_all().thread_name(name).build()?;
    thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(main()))
}

/// Starts `future` on the present runtime as a member of `set`, without which the engine is not whole: if it panics,
/// `broken` is cancelled. Nobody looks at a task's end before the engine is told to stop.
pub(crate) fn start_loop<F>(set: &mut JoinSet<()>, broken: &CancellationToken, future: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let on_panic = OnPanic(broken.clone());
    set.spawn(async move {
        let _on_panic = on_panic;
        future.await;
    });
}

struct OnPanic(CancellationToken);

impl Drop for OnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.cancel();
        }
    }
}

/// What a job's service comes to.
pub(crate) type RunFuture = Pin<Box<dyn Future<Output = Result<(), BoxDynError>> + Send>>;

/// Runs one job's whole service on a task of its own; apalis awaits the handle.
#[allow(clippy::disallowed_methods)] // The worker holds the handle until the job has ended.
pub(crate) fn start_run(run: RunFuture) -> JoinHandle<Result<(), BoxDynError>> {
    tokio::spawn(run)
}
