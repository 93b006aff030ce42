//! Verify, with real containers: the embedded runner as root and as an ordinary user, and the Docker engine.

mod docker;
mod embedded;
mod fake_jupyter;
mod layers;
mod model;
mod running;
mod tiny;
