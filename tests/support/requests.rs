//! The requests that the kernel sends to a mount, as strace(1) sees them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// Operations, by their numbers in linux/fuse.h.
const OPEN: u32 = 14;
const READ: u32 = 15;
/// Of every request, and what of a READ is behind it: the handle, the offset, the size.
const HEADER_LEN: usize = 40;
const SIZE_AT: usize = HEADER_LEN + 16;

/// Has a mount command write its requests to a file.
pub fn traced(program: &Command, trace: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args([
        "-f",
        "-qq",
        "-xx",
        "-s",
        "60",
        "-e",
        "trace=read",
        "-e",
        "signal=none",
        "-P",
        "/dev/fuse",
    ]);
    command.arg("-o").arg(trace).arg(program.get_program()).args(program.get_args()).stdin(Stdio::null());
    for (name, value) in program.get_envs() {
        command.env(name, value.unwrap());
    }
    command
}

/// What was asked of one file.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct OfFile {
    pub opens: u64,
    pub reads: u64,
    /// Asked for by reads.
    pub bytes: u64,
}

#[derive(Debug, Default)]
pub struct Requests {
    pub count: usize,
    /// By inode number, which is the node's in the protocol.
    pub files: BTreeMap<u64, OfFile>,
}

impl Requests {
    pub fn of(trace: &str) -> Requests {
        let mut requests = Requests::default();
        for request in trace.lines().filter_map(bytes_read) {
            requests.count += 1;
            let number = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
            let node = u64::from_ne_bytes(request[16..24].try_into().unwrap());
            let file = requests.files.entry(node).or_default();
            match number(4) {
                OPEN => file.opens += 1,
                READ => {
                    file.reads += 1;
                    file.bytes += u64::from(number(SIZE_AT));
                }
                _ => {}
            }
        }
        requests
    }

    /// What was asked of these nodes together.
    pub fn of_nodes(&self, nodes: impl Iterator<Item = u64>) -> OfFile {
        nodes.filter_map(|node| self.files.get(&node)).fold(OfFile::default(), |sum, file| OfFile {
            opens: sum.opens + file.opens,
            reads: sum.reads + file.reads,
            bytes: sum.bytes + file.bytes,
        })
    }
}

/// The beginning of a request in a line such as `12 read(5, "\x40\x00"..., 4096) = 64`, which can have been cut in two.
fn bytes_read(line: &str) -> Option<Vec<u8>> {
    let (_, text) = line.split_once('"')?;
    let (hex, _) = text.split_once('"')?;
    let bytes: Vec<u8> = hex.split("\\x").skip(1).map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    (bytes.len() >= HEADER_LEN).then_some(bytes)
}
