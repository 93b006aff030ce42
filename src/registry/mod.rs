//! Talks to container registries.
