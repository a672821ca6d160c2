//! A way to a server on which things go wrong.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What goes wrong. It counts for connections that are there, too.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Each way.
    pub delay: Duration,
    /// Bytes a second that each connection brings.
    pub rate: Option<u64>,
    /// So many bytes are brought by a connection before it breaks.
    pub cut_after: Option<u64>,
    /// Only every so-many-th connection is cut, or answered with 503.
    pub every: u64,
    pub is_unavailable: bool,
    /// Nothing moves.
    pub is_frozen: bool,
    /// Connections are closed as soon as they are there.
    pub is_closed: bool,
}

pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    faults: Mutex<Faults>,
    connections: AtomicU64,
    /// Bytes from the server.
    brought: AtomicU64,
}

impl Proxy {
    /// To a server that is named by a URL without a path.
    pub fn to(url: &str) -> Proxy {
        let server = url.rsplit('/').next().unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (faults, connections, brought) = Default::default();
        let shared = Arc::new(Shared { server, faults, connections, brought });
        let proxy = Proxy { address: listener.local_addr().unwrap(), shared: shared.clone() };
        thread::spawn(move || {
            for client in listener.incoming() {
                let (shared, client) = (shared.clone(), client.unwrap());
                thread::spawn(move || shared.connect(client));
            }
        });
        proxy
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set(&self, faults: Faults) {
        *self.shared.faults.lock().unwrap() = faults;
    }

    pub fn brought(&self) -> u64 {
        self.shared.brought.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn faults(&self) -> Faults {
        self.faults.lock().unwrap().clone()
    }

    fn connect(self: Arc<Shared>, mut client: TcpStream) {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        let faults = self.faults();
        let is_hit = number.is_multiple_of(faults.every.max(1));
        if faults.is_closed {
            return;
        }
        if faults.is_unavailable && is_hit {
            let _ = client.read(&mut [0; 4096]);
            let _ =
                client.write_all(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return;
        }
        let Ok(server) = TcpStream::connect(self.server) else { return };
        let (client_too, server_too) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let this = self.clone();
        thread::spawn(move || this.carry(client_too, server_too, false, false));
        self.carry(server, client, true, is_hit);
    }

    /// Carries bytes until one side ends.
    fn carry(&self, mut from: TcpStream, to: TcpStream, is_answer: bool, is_hit: bool) {
        let (sender, receiver) = sync_channel::<(Instant, Vec<u8>)>(256);
        let cut = self.faults().cut_after.filter(|_| is_answer && is_hit);
        thread::scope(|scope| {
            scope.spawn(|| self.deliver(to, receiver, is_answer, cut));
            let mut buf = vec![0; 64 << 10];
            loop {
                match from.read(&mut buf) {
                    Ok(0) => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(_) => break,
                    Ok(n) => {
                        if sender.send((Instant::now() + self.faults().delay, buf[..n].to_vec())).is_err() {
                            break;
                        }
                    }
                }
            }
            drop(sender);
        });
        let _ = from.shutdown(Shutdown::Both);
    }

    fn deliver(
        &self,
        mut to: TcpStream,
        from: Receiver<(Instant, Vec<u8>)>,
        is_answer: bool,
        cut: Option<u64>,
    ) {
        let mut left = cut.unwrap_or(u64::MAX);
        for (due, bytes) in from {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            while self.faults().is_frozen {
                thread::sleep(Duration::from_millis(20));
            }
            let faults = self.faults();
            if faults.cut_after == Some(0) && faults.every <= 1 {
                break;
            }
            let n = left.min(bytes.len() as u64);
            left -= n;
            if is_answer {
                self.brought.fetch_add(n, Ordering::Relaxed);
                if let Some(rate) = self.faults().rate {
                    thread::sleep(Duration::from_secs_f64(n as f64 / rate as f64));
                }
            }
            if to.write_all(&bytes[..n as usize]).is_err() || left == 0 {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    }
}
