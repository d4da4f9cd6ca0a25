//! What this process takes of its machine, in the form that Prometheus reads.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use super::process::ProcessUsage;

/// Reads the process's usage whenever somebody asks for metrics.
#[derive(Debug)]
pub(crate) struct ProcessMetrics;

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let usage = ProcessUsage::read();
        let memory = [
            ("process_resident_memory", "Memory in use by this process", usage.resident_bytes),
            (
                "process_memory_used",
                "Memory in use of what may be used: by its whole control group if that has a limit, else by itself",
                usage.memory_used_bytes,
            ),
            ("process_memory_total", "Memory that may be used", usage.memory_total_bytes),
        ];
        for (name, help, bytes) in memory {
            let Some(bytes) = bytes else { continue };
            let gauge = ConstGauge::new(bytes);
            gauge.encode(encoder.encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Gauge)?)?;
        }
        if let Ok(processors) = std::thread::available_parallelism() {
            let (name, help) = ("process_processors", "Processors that may be used");
            let gauge = ConstGauge::new(processors.get() as u64);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        if let Some(seconds) = usage.cpu_seconds {
            let (name, help) = ("process_cpu", "Processor time taken, over all processors");
            let counter = ConstCounter::new(seconds);
            counter.encode(encoder.encode_descriptor(
                name,
                help,
                Some(&Unit::Seconds),
                MetricType::Counter,
            )?)?;
        }
        Ok(())
    }
}
