//! Where the figures come from that are held against the rules.

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;
use keepwell_workers::engine::Engine;

use crate::telemetry::Metrics;

/// What is measured.
#[async_trait]
pub trait Figures: Debug + Send + Sync {
    /// All of it, in the form that Prometheus reads.
    async fn text(&self) -> String;
}

/// What this process measures: the very text of its `/metrics`.
#[derive(Debug)]
pub(crate) struct OwnFigures {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) engine: Engine,
}

#[async_trait]
impl Figures for OwnFigures {
    async fn text(&self) -> String {
        self.metrics.text(&self.engine).await
    }
}
