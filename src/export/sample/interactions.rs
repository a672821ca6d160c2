//! Interactions in the order of their start, with threads of mails and with attachments.

use std::collections::VecDeque;

use super::people::Person;
use super::rng::Choice;
use super::sink::{Sink, Target};
use super::words::{LANGUAGES, Language, OUTCOMES, QUEUES};
use super::{Counts, Size, contact_id, dates, id, text};
use crate::error::Result;

/// How many mails can still be answered.
const REMEMBERED: usize = 256;

static INTERACTION: Target = Target {
    table: "interaction",
    columns: &[
        "id",
        "status",
        "entitytypeid",
        "mediatypeid",
        "typeid",
        "subtypeid",
        "externalid",
        "ownerid",
        "contactid",
        "parentid",
        "startdate",
        "modifieddate",
        "enddate",
        "threadid",
        "timeshift",
        "subject",
        "text",
        "structuredtext",
        "structtextmimetype",
        "thecomment",
        "tenantid",
        "threadhash",
        "canbeparent",
        "creatorappid",
        "queuename",
        "allattributes",
        "isspam",
        "strattribute1",
        "intattribute1",
        "stoppedreason",
        "lang",
    ],
};

static ATTACHMENT: Target = Target {
    table: "attachment",
    columns: &["documentid", "entityid", "thename", "mimetype", "thesize", "description", "content"],
};

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

/// What an interaction is, in the columns that differ by its type.
#[derive(Default)]
struct Content {
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

    pub(crate) fn insert(&mut self, rows: &mut dyn Sink, number: u64, made: &mut Counts) -> Result<()> {
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
        // Somebody who is no contact.
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
        rows.insert(
            &INTERACTION,
            &[
                (&id).into(),
                (if is_open { 2 } else { 3 }).into(),
                entity.into(),
                content.media.into(),
                (if content.is_outbound { "Outbound" } else { "Inbound" }).into(),
                content.subtype.into(),
                (&format!("{:016X}", choice.below(u64::MAX))).into(),
                choice.chance(92).then(|| 2900 + choice.below(40) as i64).into(),
                contact.map(contact_id).as_ref().into(),
                content.parent.as_ref().map(|mail| &mail.id).into(),
                (&dates::text(start)).into(),
                end.as_ref().into(),
                end.as_ref().into(),
                (&thread).into(),
                shift.into(),
                (&content.subject).into(),
                (&content.text).into(),
                (&content.structured).into(),
                content.mime_type.into(),
                (&content.comment).into(),
                101.into(),
                (entity < 2).then(|| choice.below(1 << 31) as i64).into(),
                i64::from(entity < 2).into(),
                460.into(),
                choice.of(&QUEUES).into(),
                attached.as_ref().into(),
                spam.into(),
                choice.chance(30).then(|| choice.of(&OUTCOMES)).into(),
                choice.chance(10).then(|| choice.below(11) as i64).into(),
                (!is_open).then_some("Normal").into(),
                language.tag.into(),
            ],
        )?;
        made.interactions += 1;
        if entity < 2 && choice.chance(35) {
            for _ in 0..1 + choice.below(3) {
                let file = text::attachment(choice, language);
                let document = super::id("0003Da", self.attachments * 17);
                let description = choice.chance(20).then(|| text::subject(choice, language));
                let len = file.content.len() as i64;
                rows.insert(
                    &ATTACHMENT,
                    &[
                        (&document).into(),
                        (&id).into(),
                        (&file.name).into(),
                        file.mime_type.into(),
                        len.into(),
                        description.as_ref().into(),
                        (&file.content).into(),
                    ],
                )?;
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
        Ok(())
    }
}

fn content(choice: &mut Choice, entity: i64, person: &Person, parent: Option<Mail>, start: i64) -> Content {
    let language = person.language;
    let agent = choice.of(LANGUAGES[0].1.first_names);
    match entity {
        0 | 1 => mail(choice, entity == 1, person, agent, parent),
        2 => {
            let (structured, seconds) = text::transcript(choice, person, agent, start);
            Content {
                media: "chat",
                subtype: "InboundNew",
                subject: if choice.chance(50) { text::subject(choice, language) } else { String::new() },
                structured,
                mime_type: "text/xml",
                comment: some_note(choice, language, 30),
                seconds,
                ..Content::default()
            }
        }
        3 => {
            let is_outbound = choice.chance(25);
            Content {
                media: "voice",
                subtype: if is_outbound { "OutboundNew" } else { "InboundNew" },
                is_outbound,
                subject: person.phone.clone(),
                comment: some_note(choice, language, 85),
                seconds: 10 + choice.below(1500),
                ..Content::default()
            }
        }
        5 => Content {
            media: "callback",
            subtype: "InboundNew",
            subject: person.phone.clone(),
            comment: some_note(choice, language, 60),
            seconds: 60 + choice.below(90_000),
            ..Content::default()
        },
        6 => Content {
            media: "cobrowse",
            subtype: "InboundNew",
            text: format!("https://shop.example.com/{}/{}", language.tag, choice.below(10_000)),
            comment: some_note(choice, language, 40),
            seconds: 30 + choice.below(1200),
            ..Content::default()
        },
        _ => {
            let mut text = String::new();
            text::sentence(choice, language, &mut text);
            Content {
                media: choice.of(&["facebook", "twitter", "smssession", "workitem"]),
                subtype: "InboundNew",
                text,
                seconds: 20 + choice.below(40_000),
                ..Content::default()
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
) -> Content {
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
    Content {
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
