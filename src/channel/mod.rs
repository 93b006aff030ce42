//! conda channels over the network: one HTTP client with mirrors, credentials and retries; repodata through rattler's
//! gateway; packages downloaded once, verified, kept.
//!
//! Mirrors change where bytes come from, never what is written down: locks keep canonical URLs.
