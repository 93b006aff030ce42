//! Flags, environment, `esker.yml` and user configuration become `Settings`.
