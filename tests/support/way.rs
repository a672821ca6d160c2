//! The way to a server, which can be frozen, or cut before or behind something that is said on it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What becomes of what is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Open,
    /// It is taken, and goes no further. Both ends are there.
    Frozen,
    /// The word comes through, and then the connection is cut: no answer does.
    CutBehind(&'static [u8]),
    CutBefore(&'static [u8]),
    /// The same as behind the word, and from then on nobody gets through.
    LostBehind(&'static [u8]),
    Closed,
}

pub struct Proxy {
    pub address: SocketAddr,
    way: Arc<Mutex<Way>>,
}

impl Proxy {
    /// `server` is `HOST:PORT`.
    pub fn to(server: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, way) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Way::Open)));
        let (shared, server) = (way.clone(), server.to_string());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if *shared.lock().unwrap() == Way::Closed {
                    continue;
                }
                let there = TcpStream::connect(&server).unwrap();
                for (from, to, is_asked) in [(&client, &there, true), (&there, &client, false)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let way = shared.clone();
                    thread::spawn(move || pass(from, to, &way, is_asked));
                }
            }
        });
        Proxy { address, way }
    }

    pub fn set(&self, way: Way) {
        *self.way.lock().unwrap() = way;
    }
}

/// Passes on what comes, until an end closes.
fn pass(mut from: TcpStream, mut to: TcpStream, way: &Mutex<Way>, is_asked: bool) {
    let mut bytes = [0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut bytes) {
        while *way.lock().unwrap() == Way::Frozen {
            thread::sleep(Duration::from_millis(5));
        }
        let said = &bytes[..n];
        let has = |word: &[u8]| is_asked && said.windows(word.len()).any(|window| window == word);
        let now = *way.lock().unwrap();
        let (is_passed, next) = match now {
            Way::CutBehind(word) if has(word) => (true, Some(Way::Open)),
            Way::CutBefore(word) if has(word) => (false, Some(Way::Open)),
            Way::LostBehind(word) if has(word) => (true, Some(Way::Closed)),
            Way::Closed => (false, Some(Way::Closed)),
            _ => (true, None),
        };
        if let Some(next) = next {
            // No answer gets by.
            let _ = from.shutdown(Shutdown::Both);
            *way.lock().unwrap() = next;
        }
        if (is_passed && to.write_all(said).is_err()) || next.is_some() {
            break;
        }
    }
    // The server reads what it was sent before it sees the end.
    let _ = to.shutdown(Shutdown::Write);
}
