//! The vocabulary: parts of sentences that go together in any combination, and invented people's names.

mod chinese;
mod english;
mod french;
mod german;
mod japanese;
mod spanish;

use chinese::CHINESE;
use english::ENGLISH;
use french::FRENCH;
use german::GERMAN;
use japanese::JAPANESE;
use spanish::SPANISH;

pub struct Language {
    /// As in the column `lang`.
    pub tag: &'static str,
    pub greetings: &'static [&'static str],
    pub openings: &'static [&'static str],
    pub things: &'static [&'static str],
    pub happenings: &'static [&'static str],
    pub targets: &'static [&'static str],
    pub endings: &'static [&'static str],
    pub closings: &'static [&'static str],
    pub first_names: &'static [&'static str],
    pub last_names: &'static [&'static str],
    /// The beginnings of phone numbers that are kept free for fiction, and how many digits follow.
    pub phone: (&'static str, u32),
}

/// Languages, and how many of a hundred people speak each.
pub static LANGUAGES: [(u64, &Language); 6] =
    [(40, &ENGLISH), (25, &GERMAN), (12, &FRENCH), (11, &SPANISH), (6, &JAPANESE), (6, &CHINESE)];

pub static PRODUCTS: [&str; 24] = [
    "Alto 300",
    "Alto 500",
    "Brisk Home",
    "Brisk Pro",
    "Cantor Router",
    "Delta Mini",
    "Echo Plan M",
    "Echo Plan XL",
    "Fjord TV",
    "Gamma Kettle",
    "Helio Lamp",
    "Iris Camera",
    "Juno Card",
    "Kite Fibre",
    "Lumen Meter",
    "Meadow Box",
    "Nova Phone 8",
    "Orbit SIM",
    "Pico Speaker",
    "Quill Tablet",
    "Rondo Watch",
    "Sierra Modem",
    "Tango Bundle",
    "Vesta Boiler",
];

pub static QUEUES: [&str; 8] =
    ["Billing", "Delivery", "Technical", "Sales", "Retention", "Returns", "VIP", "General"];

pub static OUTCOMES: [&str; 8] = [
    "Resolved",
    "Follow-up",
    "Escalated",
    "No answer",
    "Wrong number",
    "Refund granted",
    "Complaint",
    "Information",
];

pub static EMOJI: [&str; 10] = ["😀", "🙏", "👍", "😡", "🎉", "📦", "🤔", "❤️", "👩‍💻", "🇪🇺"];
