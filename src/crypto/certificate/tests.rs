use parking_lot::Mutex;
use std::collections::HashMap;
use std::process::Command;
use std::sync::LazyLock;

use super::*;

/// A certificate and its key, both in PEM, made by `openssl req` once for every kind of key and options.
pub(crate) fn made(key: &str, options: &[&str]) -> (Vec<u8>, Vec<u8>) {
    type Made = HashMap<String, (Vec<u8>, Vec<u8>)>;
    static MADE: LazyLock<Mutex<Made>> = LazyLock::new(Mutex::default);
    let mut all = MADE.lock();
    let new = || {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-newkey", key]);
        if !options.contains(&"-subj") {
            command.args(["-subj", "/O=Example/CN=exports"]);
        }
        let output = command.args(options).current_dir(&dir).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let read = |name| std::fs::read(dir.path().join(name)).unwrap();
        (read("cert.pem"), read("key.pem"))
    };
    all.entry(format!("{key} {options:?}")).or_insert_with(new).clone()
}

fn fault(pem: &[u8], now: SystemTime) -> String {
    let error = Certificate::from_pem(pem).unwrap().check(now).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().ends_with("-subj \"/O=Example/CN=exports\""), "{error}");
    error.to_string()
}

#[test]
fn a_good_certificate_tells_what_openssl_tells() {
    let options = ["-subj", "/C=DE/O=Grüße, \"Inc\"/CN= #x ", "-utf8", "-set_serial", "0xF0A1"];
    let (pem, _) = made("rsa:2048", &options);
    let certificate = Certificate::from_pem(&pem).unwrap();
    certificate.check(SystemTime::now()).unwrap();
    assert_eq!(certificate.subject(), "CN=\\ #x\\ ,O=Grüße\\, \\\"Inc\\\",C=DE");
    assert_eq!(certificate.serial(), "F0A1");
    let RecipientId::IssuerSerial { issuer, serial } = certificate.recipient_id() else { panic!() };
    assert_eq!(serial, [0, 0xF0, 0xA1]);
    assert_eq!(issuer, certificate.x509.issuer_name().to_der().unwrap());
    assert_eq!(certificate.not_after(), certificate.not_before + Duration::from_secs(30 * 24 * 60 * 60));
    let again = Certificate::from_pem(&certificate.to_pem().unwrap()).unwrap();
    let der = Certificate::from_pem(&certificate.x509.to_der().unwrap()).unwrap();
    assert_eq!((again.sha256(), der.sha256()), (certificate.sha256(), certificate.sha256()));
}

#[test]
fn what_will_not_do_is_said_by_name() {
    let now = SystemTime::now();
    let day = Duration::from_secs(24 * 60 * 60);
    let (good, _) = made("rsa:2048", &[]);
    assert!(fault(&good, now + 31 * day).contains("it expired at 2"));
    assert!(fault(&good, now - day).contains("it is not valid before 2"));
    assert!(fault(&made("rsa:1024", &[]).0, now).contains("has 1024 bits"));
    assert!(fault(&made("ec", &["-pkeyopt", "ec_paramgen_curve:P-256"]).0, now).contains("an EC key"));
    assert!(fault(&made("ed25519", &[]).0, now).contains("an Ed25519 key"));
}

#[test]
fn what_is_no_certificate_is_told_from_a_private_key() {
    let (pem, key) = made("rsa:2048", &[]);
    let refusal = |bytes: &[u8]| Certificate::from_pem(bytes).err().unwrap().to_string();
    assert!(refusal(&key).contains("this is a private key"));
    let key_der = PKey::private_key_from_pem(&key).unwrap().private_key_to_der().unwrap();
    assert!(refusal(&key_der).contains("this is a private key"));
    assert!(refusal(b"").contains("no X.509 certificate"));
    assert!(refusal(b"-----BEGIN RUBBISH-----\n").contains("no X.509 certificate"));
    assert!(refusal(&pem[..pem.len() / 2]).contains("certificate"));
    // A key before the certificate, as in many PEM files, does no harm.
    assert!(Certificate::from_pem(&[key, pem].concat()).is_ok());
}
