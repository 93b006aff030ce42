//! Root file systems that steps of a Dockerfile can run in: of this machine's programs, and one for arm64 from nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A program for arm64 that makes the directory `/made` and ends: whatever it is asked to run. The instructions are
/// `mkdirat(-100, "/made", 0755)` and `exit(0)`.
const ARM64: [u32; 8] = [
    0x9280_0c60, // mov x0, #-100
    0x1000_00e1, // adr x1, path
    0xd280_3da2, // mov x2, #0755
    0xd280_0448, // mov x8, #34
    0xd400_0001, // svc #0
    0xd280_0000, // mov x0, #0
    0xd280_0ba8, // mov x8, #93
    0xd400_0001, // svc #0
];

/// A root file system with a shell and a few programs of this machine.
pub fn of_this_machine() -> Vec<u8> {
    let mut tar = Tar::default();
    tar.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    tar.file("etc/group", 0o644, b"root:x:0:\n");
    for program in ["bash", "cat", "ls", "mkdir", "head", "tail"] {
        for (path, real) in program_and_libraries(program) {
            tar.file(path.to_str().unwrap().trim_start_matches('/'), 0o755, &fs_err::read(real).unwrap());
        }
    }
    let shell = fs_err::read(fs_err::canonicalize("/bin/bash").unwrap()).unwrap();
    tar.file("bin/sh", 0o755, &shell);
    tar.end()
}

/// A root file system for arm64 whose shell makes `/made`.
pub fn for_arm64() -> Vec<u8> {
    let mut tar = Tar::default();
    tar.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    tar.file("bin/sh", 0o755, &arm64_program());
    tar.end()
}

fn arm64_program() -> Vec<u8> {
    const START: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let mut code: Vec<u8> = ARM64.iter().flat_map(|instruction| instruction.to_le_bytes()).collect();
    code.extend(b"/made\0\0\0");
    let size = HEADERS + code.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // An executable (2) for AArch64 (183), version 1.
    elf.extend([2u16, 183].iter().flat_map(|number| number.to_le_bytes()));
    elf.extend(1u32.to_le_bytes());
    // Entry, program headers, section headers.
    elf.extend([START + HEADERS, 64, 0].iter().flat_map(|number| number.to_le_bytes()));
    elf.extend(0u32.to_le_bytes());
    elf.extend([64u16, 56, 1, 64, 0, 0].iter().flat_map(|number| number.to_le_bytes()));
    // One segment to load (1), readable and executable (5).
    elf.extend([1u32, 5].iter().flat_map(|number| number.to_le_bytes()));
    elf.extend([0, START, START, size, size, 0x1_0000].iter().flat_map(|number| number.to_le_bytes()));
    elf.extend(code);
    elf
}

fn program_and_libraries(name: &str) -> Vec<(PathBuf, PathBuf)> {
    let path = Path::new("/bin").join(name);
    let real =
        fs_err::canonicalize(if path.exists() { path.clone() } else { Path::new("/usr/bin").join(name) }).unwrap();
    let listing = String::from_utf8(Command::new("ldd").arg(&real).output().unwrap().stdout).unwrap();
    let libraries = listing.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    let real_libraries = libraries.map(|library| (library.clone(), fs_err::canonicalize(library).unwrap()));
    real_libraries.chain([(path, real)]).collect()
}

#[derive(Default)]
struct Tar {
    builder: Option<tar::Builder<Vec<u8>>>,
    seen: std::collections::BTreeSet<String>,
}

impl Tar {
    fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        if !self.seen.insert(path.to_owned()) {
            return;
        }
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mode(mode);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        let builder = self.builder.get_or_insert_with(|| tar::Builder::new(Vec::new()));
        builder.append_data(&mut header, path, content).unwrap();
    }

    fn end(self) -> Vec<u8> {
        self.builder.unwrap().into_inner().unwrap()
    }
}
