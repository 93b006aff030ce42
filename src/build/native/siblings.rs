//! The same package for several platforms. Nearly all of its modules are the same files at the same paths, so that what
//! was compiled for one platform is kept until those of the others are packed, which follow on the same thread.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::Error;
use super::pyc::Compiler;
use crate::oci::Digest;

/// How many bytes of byte code all threads may keep. What is over is compiled again.
#[derive(Debug)]
pub struct Room(AtomicUsize);

/// See the module's documentation.
#[derive(Debug)]
pub struct Siblings<'a> {
    /// How many are to be packed, the present one among them.
    left: Cell<usize>,
    room: &'a Room,
    /// Bytes that were taken of it.
    taken: Cell<usize>,
    kept: RefCell<HashMap<Module, Option<Vec<u8>>>>,
}

/// Where a module will be found, and the digest of its source. All siblings have one Python.
type Module = (String, Digest);

impl Room {
    /// Room for so many bytes.
    pub const fn new(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    fn take(&self, bytes: usize) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }
}

impl<'a> Siblings<'a> {
    /// `count` packages that are packed one after another, whose byte code is kept as far as there is `room`.
    pub fn new(count: usize, room: &'a Room) -> Self {
        Self { left: Cell::new(count), room, taken: Cell::default(), kept: RefCell::default() }
    }

    /// Says that the next one follows.
    pub fn next(&self) {
        self.left.set(self.left.get().saturating_sub(1));
    }

    /// [`Compiler::compile`], unless a sibling had the same source, whose digest is `digest`, at the same path.
    ///
    /// # Errors
    /// Those of the compiler.
    pub fn compile(
        &self,
        compiler: &Compiler,
        name: String,
        (source, digest): (&[u8], Digest),
    ) -> Result<Option<Vec<u8>>, Error> {
        let module = (name, digest);
        let is_last = self.left.get() <= 1;
        let known = match is_last {
            true => self.kept.borrow_mut().remove(&module),
            false => self.kept.borrow().get(&module).cloned(),
        };
        if let Some(code) = known {
            return Ok(code);
        }
        let code = compiler.compile(&module.0, source)?;
        let bytes = code.as_ref().map_or(0, Vec::len) + module.0.len();
        if !is_last && self.room.take(bytes) {
            self.taken.set(self.taken.get() + bytes);
            self.kept.borrow_mut().insert(module, code.clone());
        }
        Ok(code)
    }
}

impl Drop for Siblings<'_> {
    fn drop(&mut self) {
        self.room.0.fetch_add(self.taken.get(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::native::pyc::{How, system_python};

    /// What each of three siblings gets, and whether the compiler was asked. It is gone after the first one.
    fn compiled(room: &Room, sources: [&str; 3]) -> Option<Vec<Vec<u8>>> {
        let (program, version) = system_python()?;
        let compiler = Compiler::new(program, &version, How::ByVersion);
        let gone = Compiler::new("/nonexistent".into(), &version, How::ByVersion);
        let siblings = Siblings::new(3, room);
        let mut codes = Vec::new();
        for (number, source) in sources.into_iter().enumerate() {
            let compiler = if number == 0 { &compiler } else { &gone };
            let source = (source.as_bytes(), Digest::of(source.as_bytes()));
            codes.extend(siblings.compile(compiler, "/srv/m.py".to_owned(), source).ok().flatten());
            siblings.next();
        }
        Some(codes)
    }

    #[test]
    fn the_same_module_is_compiled_once() {
        let Some(codes) = compiled(&Room::new(1 << 20), ["x = 1\n"; 3]) else { return };
        assert!(codes.len() == 3 && codes[0] == codes[1] && codes[0] == codes[2], "{codes:?}");
    }

    #[test]
    fn another_source_is_compiled_by_itself() {
        let Some(codes) = compiled(&Room::new(1 << 20), ["x = 1\n", "x = 2\n", "x = 1\n"]) else { return };
        assert_eq!(codes.len(), 2, "the second had no compiler");
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let room = Room::new(1000);
        let long = format!("x = '{}'\n", "x".repeat(1000));
        let Some(codes) = compiled(&room, [&long; 3]) else { return };
        assert_eq!(codes.len(), 1);
        let Some(codes) = compiled(&room, ["x = 1\n"; 3]) else { return };
        assert_eq!(codes.len(), 3);
        assert_eq!(room.0.into_inner(), 1000, "what was taken is given back");
    }
}
