//! A durable job processor: typed jobs, per-subject order, retries, and effects that commit with their cause.
