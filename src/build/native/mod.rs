//! Packages straight to OCI layers, with no daemon and no emulation.
