//! Runs tests one after the other in one test cluster.

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use cluster_tests::interrupt::Interrupt;
use cluster_tests::setup::Setup;
use cluster_tests::{Ignored, Inputs, TestCluster};
use futures::future::LocalBoxFuture;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tokio::runtime::Runtime;

type RunInCluster = dyn for<'c> Fn(&'c mut TestCluster) -> LocalBoxFuture<'c, Result<()>> + Send + Sync;

/// A test of a suite.
#[derive(Clone)]
pub(crate) struct Test {
    /// Suite and name, as in `policy::caps_scale`.
    pub(crate) name: String,
    /// What runs in the cluster when the test begins.
    pub(crate) setup: Setup,
    /// Says whether the test is only meaningful after all others.
    pub(crate) needs_all_others: bool,
    /// The test itself.
    pub(crate) run: Arc<RunInCluster>,
}

impl Test {
    /// A test that is also meaningful without the others.
    pub(crate) fn new<F>(name: String, setup: Setup, run: F) -> Self
    where
        F: for<'c> Fn(&'c mut TestCluster) -> LocalBoxFuture<'c, Result<()>> + Send + Sync + 'static,
    {
        Self { name, setup, needs_all_others: false, run: Arc::new(run) }
    }
}

/// The tests of a suite: `suite!("name", SETUP, [test, other_test])`, if each test is an async function of this
/// module.
macro_rules! suite {
    ($suite:literal, $setup:expr, [$($test:ident),* $(,)?]) => {
        vec![$($crate::harness::Test::new(
            concat!($suite, "::", stringify!($test)).to_owned(),
            $setup,
            |cluster| Box::pin($test(cluster)),
        )),*]
    };
}
pub(crate) use suite;

/// The cluster that the tests share, and what is needed to run them.
struct Harness {
    runtime: Runtime,
    interrupt: Interrupt,
    cluster: Cluster,
    /// Says whether the command line selects some of the tests.
    is_filtered: bool,
    /// Name and reason of each ignored test.
    ignored: Vec<(String, String)>,
}

enum Cluster {
    NotStarted,
    Running(Box<TestCluster>),
    /// It could not be started. That takes long and would fail again, so that it is not repeated for each test.
    Failed,
}

/// Runs the tests that the command line selects. Options and output are those of `cargo test`.
pub(crate) fn run(tests: Vec<Test>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The tests share one cluster. With one thread they run on the main thread, and the processes of the cluster, which
    // end with the thread that started them, live as long as this process.
    arguments.test_threads = Some(1);
    let harness = match Harness::new(&arguments) {
        Ok(harness) => Arc::new(Mutex::new(harness)),
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let trials = tests.into_iter().map(|test| {
        let harness = harness.clone();
        Trial::ignorable_test(test.name.clone(), move || lock(&harness).run(&test))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    lock(&harness).finish();
    conclusion.exit_code()
}

/// A test that panicked leaves the harness as usable as one that failed.
fn lock(harness: &Mutex<Harness>) -> MutexGuard<'_, Harness> {
    harness.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Harness {
    fn new(arguments: &Arguments) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let interrupt = runtime.block_on(async { Interrupt::new() })?;
        let is_filtered = arguments.filter.is_some() || !arguments.skip.is_empty();
        Ok(Self { runtime, interrupt, cluster: Cluster::NotStarted, is_filtered, ignored: Vec::new() })
    }

    fn run(&mut self, test: &Test) -> Result<Completion, Failed> {
        let (cluster, is_filtered) = (&mut self.cluster, self.is_filtered);
        let interrupt = &mut self.interrupt;
        let result = self.runtime.block_on(async {
            tokio::select! {
                result = run_in(cluster, test, is_filtered) => Ok(result),
                code = interrupt.received() => Err(code),
            }
        });
        match result {
            Ok(Ok(())) => Ok(Completion::Completed),
            Ok(Err(error)) => match error.downcast_ref::<Ignored>() {
                Some(Ignored(reason)) => {
                    self.ignored.push((test.name.clone(), reason.clone()));
                    Ok(Completion::ignored_with(reason))
                }
                None => Err(self.failure(&error)),
            },
            Err(code) => {
                self.cluster = Cluster::NotStarted;
                eprintln!("\ninterrupted; the test cluster is stopped");
                std::process::exit(code.into());
            }
        }
    }

    fn failure(&self, error: &anyhow::Error) -> Failed {
        let logs = match &self.cluster {
            Cluster::Running(cluster) => cluster.log_tails(),
            Cluster::NotStarted | Cluster::Failed => String::new(),
        };
        format!("{error:#}\n{logs}").into()
    }

    /// Stops the cluster and repeats which tests were ignored, since these lines are easily overlooked among the
    /// others.
    fn finish(&mut self) {
        self.cluster = Cluster::NotStarted;
        for (name, reason) in &self.ignored {
            eprintln!("warning: {name} was ignored: {reason}");
        }
    }
}

async fn run_in(cluster: &mut Cluster, test: &Test, is_filtered: bool) -> Result<()> {
    if test.needs_all_others && is_filtered {
        bail!(Ignored("it needs the audit log of all other tests; run the tests without a filter".to_owned()));
    }
    if let Cluster::NotStarted = cluster {
        *cluster = Cluster::Failed;
        *cluster = Cluster::Running(Box::new(start().await.context("the test cluster cannot be started")?));
    }
    ensure!(!matches!(cluster, Cluster::Failed), "the test cluster could not be started; see the first failure");
    if let Cluster::Running(cluster) = cluster {
        cluster.prepare(test.setup).await.with_context(|| format!("cannot prepare {:?}", test.setup))?;
        (test.run)(cluster).await?;
    }
    Ok(())
}

async fn start() -> Result<TestCluster> {
    let begun = Instant::now();
    let inputs = Inputs::from_environment(Path::new(env!("CARGO_BIN_EXE_policy-webhook")))?;
    let cluster = TestCluster::start(inputs).await?;
    eprintln!("\nthe test cluster started in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(cluster)
}
