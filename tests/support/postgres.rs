//! A PostgreSQL server to test with, which `scripts/servers` has started.

use std::sync::atomic::{AtomicU32, Ordering};

use postgres::{Client, NoTls};

/// A database of its own, which goes when this is dropped.
pub struct Database {
    name: String,
}

/// Where the server is: `postgres://USER@HOST:PORT`.
pub fn server() -> String {
    std::env::var("CDDSFS_POSTGRES").expect(
        "CDDSFS_POSTGRES is not set: run scripts/test, or eval \"$(scripts/servers start DIR)\" first",
    )
}

/// What the server's certificate is signed by.
pub fn ca() -> String {
    std::env::var("CDDSFS_POSTGRES_CA").expect("CDDSFS_POSTGRES_CA is not set; see scripts/servers")
}

/// The password of the user of [`server`], from the file that `PGPASSFILE` names.
pub fn password() -> String {
    let path = std::env::var("PGPASSFILE").expect("PGPASSFILE is not set; see scripts/servers");
    let text = std::fs::read_to_string(path).unwrap();
    text.trim().rsplit(':').next().unwrap().to_string()
}

fn connect(name: &str) -> Client {
    let mut config: postgres::Config = format!("{}/{name}", server()).parse().unwrap();
    config.password(password()).connect(NoTls).unwrap()
}

impl Database {
    pub fn new() -> Database {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        connect("postgres").batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        Database { name }
    }

    pub fn url(&self) -> String {
        format!("{}/{}", server(), self.name)
    }

    /// A connection that is not ours: a foreign hand in the database.
    pub fn connect(&self) -> Client {
        connect(&self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        connect("postgres").batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).unwrap();
    }
}
