//! Interactions in the order of their start, with threads of mails and with attachments.

use std::collections::VecDeque;
use std::ops::Range;

use rusqlite::{Connection, params};

use super::people::Person;
use super::rng::Choice;
use super::words::{LANGUAGES, Language, OUTCOMES, QUEUES};
use super::{Counts, Size, contact_id, dates, id, text};

/// Mails that are kept to be answered.
const REMEMBERED: usize = 256;

const INSERT: &str = "INSERT INTO interaction (
    id, status, entitytypeid, mediatypeid, typeid, subtypeid, externalid, ownerid, contactid, parentid, startdate,
    modifieddate, enddate, threadid, timeshift, subject, text, structuredtext, structtextmimetype, thecomment,
    tenantid, threadhash, canbeparent, creatorappid, queuename, allattributes, isspam, strattribute1, intattribute1,
    stoppedreason, lang
  ) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,
    ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31)";

pub(crate) struct Interactions {
    size: Size,
    choice: Choice,
    /// Milliseconds between two starts.
    step: i64,
    /// Mails that an answer may be to, in no order.
    mails: VecDeque<Mail>,
    attachments: u64,
}

#[derive(Clone)]
struct Mail {
    id: String,
    thread: String,
    subject: String,
    contact: Option<u64>,
}

/// The columns of an interaction that depend on its type.
#[derive(Default)]
struct InteractionFields {
    media: &'static str,
    subtype: &'static str,
    is_outbound: bool,
    parent: Option<Mail>,
    subject: String,
    text: String,
    structured: String,
    mime_type: &'static str,
    comment: String,
    seconds: u64,
}

impl Interactions {
    pub(crate) fn new(size: Size) -> Interactions {
        let step = (dates::SPAN / (size.interactions as i64 + 1)).max(1);
        Interactions { size, choice: Choice::new(size.seed, 0), step, mails: VecDeque::new(), attachments: 0 }
    }

    pub(crate) fn insert(
        &mut self,
        connection: &Connection,
        numbers: Range<u64>,
        made: &mut Counts,
    ) -> rusqlite::Result<()> {
        let mut interaction = connection.prepare(INSERT)?;
        let mut attachment =
            connection.prepare("INSERT INTO attachment VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
        for number in numbers {
            let choice = &mut self.choice;
            let entity = match choice.below(100) {
                0..30 => 0,
                30..52 => 1,
                52..70 => 2,
                70..90 => 3,
                90..94 => 5,
                94..96 => 6,
                _ => 7,
            };
            let start = dates::END - dates::SPAN + number as i64 * self.step;
            let start = (start + choice.below(self.step as u64) as i64).min(dates::END - 1);
            let answers = if entity == 1 { 85 } else { 30 };
            let parent = if entity < 2 && !self.mails.is_empty() && choice.chance(answers) {
                let place = choice.below(self.mails.len() as u64) as usize;
                self.mails.swap_remove_back(place)
            } else {
                None
            };
            let contacts = self.size.contacts;
            let contact = match &parent {
                Some(mail) => mail.contact,
                None => (contacts > 0 && choice.chance(97)).then(|| choice.below(contacts)),
            };
            // An interaction without a contact is of somebody else.
            let person = Person::new(self.size.seed, contact.unwrap_or(u64::MAX >> 2));
            let language = person.language;
            let content = content(choice, entity, &person, parent, start);
            let id = id("00027a", number * 41 + choice.below(41));
            let thread = content.parent.as_ref().map_or_else(|| id.clone(), |mail| mail.thread.clone());
            let is_open = choice.chance(3);
            let end = (!is_open).then(|| dates::text(start + 1000 * content.seconds as i64));
            let shift = [0, 60, 60, 120, 540, -300][choice.below(6) as usize];
            let attached = choice.chance(20).then(|| choice.bytes(24));
            let spam = (entity == 0).then(|| i64::from(choice.chance(2)));
            interaction.execute(params![
                id,
                if is_open { 2 } else { 3 },
                entity,
                content.media,
                if content.is_outbound { "Outbound" } else { "Inbound" },
                content.subtype,
                format!("{:016X}", choice.below(u64::MAX)),
                choice.chance(92).then(|| 2900 + choice.below(40) as i64),
                contact.map(contact_id),
                content.parent.as_ref().map(|mail| &mail.id),
                dates::text(start),
                end,
                end,
                thread,
                shift,
                content.subject,
                content.text,
                content.structured,
                content.mime_type,
                content.comment,
                101,
                (entity < 2).then(|| choice.below(1 << 31) as i64),
                i64::from(entity < 2),
                460,
                choice.of(&QUEUES),
                attached,
                spam,
                choice.chance(30).then(|| choice.of(&OUTCOMES)),
                choice.chance(10).then(|| choice.below(11) as i64),
                (!is_open).then_some("Normal"),
                language.tag,
            ])?;
            made.interactions += 1;
            if entity < 2 && choice.chance(35) {
                for _ in 0..1 + choice.below(3) {
                    let file = text::attachment(choice, language);
                    let document = super::id("0003Da", self.attachments * 17);
                    let description = choice.chance(20).then(|| text::subject(choice, language));
                    let len = file.content.len() as i64;
                    attachment.execute(params![
                        document,
                        id,
                        file.name,
                        file.mime_type,
                        len,
                        description,
                        file.content
                    ])?;
                    self.attachments += 1;
                    made.attachments += 1;
                }
            }
            if entity < 2 {
                self.mails.push_back(Mail { id, thread, subject: content.subject, contact });
                if self.mails.len() > REMEMBERED {
                    self.mails.pop_front();
                }
            }
        }
        Ok(())
    }
}

fn content(
    choice: &mut Choice,
    entity: i64,
    person: &Person,
    parent: Option<Mail>,
    start: i64,
) -> InteractionFields {
    let language = person.language;
    let agent = choice.of(LANGUAGES[0].1.first_names);
    match entity {
        0 | 1 => mail(choice, entity == 1, person, agent, parent),
        2 => {
            let (structured, seconds) = text::transcript(choice, person, agent, start);
            InteractionFields {
                media: "chat",
                subtype: "InboundNew",
                subject: if choice.chance(50) { text::subject(choice, language) } else { String::new() },
                structured,
                mime_type: "text/xml",
                comment: some_note(choice, language, 30),
                seconds,
                ..InteractionFields::default()
            }
        }
        3 => {
            let is_outbound = choice.chance(25);
            InteractionFields {
                media: "voice",
                subtype: if is_outbound { "OutboundNew" } else { "InboundNew" },
                is_outbound,
                subject: person.phone.clone(),
                comment: some_note(choice, language, 85),
                seconds: 10 + choice.below(1500),
                ..InteractionFields::default()
            }
        }
        5 => InteractionFields {
            media: "callback",
            subtype: "InboundNew",
            subject: person.phone.clone(),
            comment: some_note(choice, language, 60),
            seconds: 60 + choice.below(90_000),
            ..InteractionFields::default()
        },
        6 => InteractionFields {
            media: "cobrowse",
            subtype: "InboundNew",
            text: format!("https://shop.example.com/{}/{}", language.tag, choice.below(10_000)),
            comment: some_note(choice, language, 40),
            seconds: 30 + choice.below(1200),
            ..InteractionFields::default()
        },
        _ => {
            let mut text = String::new();
            text::sentence(choice, language, &mut text);
            InteractionFields {
                media: choice.of(&["facebook", "twitter", "smssession", "workitem"]),
                subtype: "InboundNew",
                text,
                seconds: 20 + choice.below(40_000),
                ..InteractionFields::default()
            }
        }
    }
}

fn mail(
    choice: &mut Choice,
    is_outbound: bool,
    person: &Person,
    agent: &str,
    parent: Option<Mail>,
) -> InteractionFields {
    let language = person.language;
    let subject = match &parent {
        Some(mail) if mail.subject.starts_with("Re: ") => mail.subject.clone(),
        Some(mail) => format!("Re: {}", mail.subject),
        None => text::subject(choice, language),
    };
    let from = if is_outbound {
        format!("{agent}\nservice@example.com")
    } else {
        format!("{} {}\n{}", person.first_name, person.last_name, person.email)
    };
    let text = text::letter(choice, language, &from);
    let structured = if choice.chance(55) { text::html(&text) } else { String::new() };
    let mime_type = if structured.is_empty() { "" } else { "text/html; charset=utf-8" };
    let subtype = match (is_outbound, parent.is_some()) {
        (false, false) => "InboundNew",
        (false, true) => "InboundCustomerReply",
        (true, false) => "OutboundNew",
        (true, true) => "OutboundReply",
    };
    let comment = if is_outbound { some_note(choice, language, 15) } else { String::new() };
    let seconds = 60 + choice.below(50_000);
    InteractionFields {
        media: "email",
        subtype,
        is_outbound,
        parent,
        subject,
        text,
        structured,
        mime_type,
        comment,
        seconds,
    }
}

fn some_note(choice: &mut Choice, language: &Language, percent: u64) -> String {
    if choice.chance(percent) { text::note(choice, language) } else { String::new() }
}
