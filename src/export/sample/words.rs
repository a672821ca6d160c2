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

pub(crate) struct Language {
    /// As in the column `lang`.
    pub(crate) tag: &'static str,
    pub(crate) greetings: &'static [&'static str],
    pub(crate) openings: &'static [&'static str],
    pub(crate) things: &'static [&'static str],
    pub(crate) happenings: &'static [&'static str],
    pub(crate) targets: &'static [&'static str],
    pub(crate) endings: &'static [&'static str],
    pub(crate) closings: &'static [&'static str],
    pub(crate) first_names: &'static [&'static str],
    pub(crate) last_names: &'static [&'static str],
    /// The beginnings of phone numbers that are kept free for fiction, and how many digits follow.
    pub(crate) phone: (&'static str, u32),
}

/// Languages, and how many of a hundred people speak each.
pub(crate) static LANGUAGES: [(u64, &Language); 6] =
    [(40, &ENGLISH), (25, &GERMAN), (12, &FRENCH), (11, &SPANISH), (6, &JAPANESE), (6, &CHINESE)];

pub(crate) static PRODUCTS: [&str; 24] = [
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

pub(crate) static QUEUES: [&str; 8] =
    ["Billing", "Delivery", "Technical", "Sales", "Retention", "Returns", "VIP", "General"];

pub(crate) static OUTCOMES: [&str; 8] = [
    "Resolved",
    "Follow-up",
    "Escalated",
    "No answer",
    "Wrong number",
    "Refund granted",
    "Complaint",
    "Information",
];

pub(crate) static EMOJI: [&str; 10] = ["😀", "🙏", "👍", "😡", "🎉", "📦", "🤔", "❤️", "👩‍💻", "🇪🇺"];
