//! A server of HTTP that answers whatever a test has it answer.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

#[derive(Debug)]
pub struct Request {
    pub method: String,
    /// With the query.
    pub path: String,
    headers: Vec<String>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter_map(|line| line.split_once(": "));
        values.find(|(of, _)| of.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The first and the last byte that are asked for.
    pub fn range(&self) -> Option<(usize, usize)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?))
    }
}

/// Writes an answer, with its head.
pub type Handler = dyn Fn(&Request, &mut TcpStream) + Send + Sync;

/// Starts a server that lives as long as the process, one request for a connection.
pub fn serve(handle: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let (listener, handle): (_, Arc<Handler>) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(handle));
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, handle) = (client.unwrap(), handle.clone());
            thread::spawn(move || {
                let lines = BufReader::new(client.try_clone().unwrap()).lines().map_while(Result::ok);
                let mut lines = lines.take_while(|line| !line.is_empty());
                let Some(first) = lines.next() else { return };
                let mut words = first.split(' ').map(str::to_owned);
                let request = Request {
                    method: words.next().unwrap_or_default(),
                    path: words.next().unwrap_or_default(),
                    headers: lines.collect(),
                };
                handle(&request, &mut client);
            });
        }
    });
    address
}

/// Writes an answer. Whoever asked may be gone.
pub fn answer(to: &mut TcpStream, status: &str, headers: &[(&str, &str)], body: &[u8]) {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let len = if headers.contains("Content-Length") {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    let _ = to.write_all(format!("HTTP/1.1 {status}\r\nConnection: close\r\n{len}{headers}\r\n").as_bytes());
    let _ = to.write_all(body);
}
