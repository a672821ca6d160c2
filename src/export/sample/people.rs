//! Contacts. Who the n-th is follows from the seed alone, so that nobody has to be kept in memory.

use super::rng::Choice;
use super::words::{LANGUAGES, Language};

pub(crate) struct Person {
    pub(crate) language: &'static Language,
    pub(crate) first_name: &'static str,
    pub(crate) last_name: &'static str,
    pub(crate) email: String,
    pub(crate) phone: String,
}

impl Person {
    pub(crate) fn new(seed: u64, number: u64) -> Person {
        let mut choice = Choice::new(seed, number + 1);
        let mut percent = choice.below(100);
        let mut language = LANGUAGES[0].1;
        for &(share, spoken) in &LANGUAGES {
            language = spoken;
            if percent < share {
                break;
            }
            percent -= share;
        }
        let first_name = choice.of(language.first_names);
        let last_name = choice.of(language.last_names);
        let domain = choice.of(&["com", "org", "net"]);
        let (plain_first, plain_last) = (plain(first_name), plain(last_name));
        let email = format!("{plain_first}.{plain_last}{number}@example.{domain}");
        let (prefix, digits) = language.phone;
        let line = choice.below(10_u64.pow(digits));
        let phone = format!("{prefix}{line:0width$}", width = digits as usize);
        Person { language, first_name, last_name, email, phone }
    }
}

/// Returns a name as it is spelled in a mail address.
fn plain(name: &str) -> String {
    let mut plain = String::new();
    for c in name.to_lowercase().chars() {
        match c {
            'a'..='z' => plain.push(c),
            'ä' | 'à' | 'á' | 'â' => plain.push('a'),
            'è' | 'é' | 'ê' | 'ë' => plain.push('e'),
            'ì' | 'í' | 'î' | 'ï' => plain.push('i'),
            'ö' | 'ó' | 'ô' => plain.push('o'),
            'ü' | 'ú' | 'û' => plain.push('u'),
            'ç' => plain.push('c'),
            'ñ' => plain.push('n'),
            'ß' => plain.push_str("ss"),
            _ => {}
        }
    }
    if plain.is_empty() { "mail".to_owned() } else { plain }
}
