//! SHA-256 over bytes that come piece by piece.

/// A digest that is being computed.
#[derive(Clone, Default)]
pub(crate) struct Sha256(openssl::sha::Sha256);

impl Sha256 {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finish()
    }
}
