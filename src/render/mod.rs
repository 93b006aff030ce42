//! Templates: `ImageSpec` and `Lock` to files.
