//! What people write: sentences, mails in plain text and HTML, chat transcripts, attachments.

use std::fmt::Write;

use super::dates;
use super::people::Person;
use super::rng::Choice;
use super::words::{EMOJI, Language, OUTCOMES, PRODUCTS};

pub(crate) fn sentence(choice: &mut Choice, language: &Language, out: &mut String) {
    out.push_str(choice.of(language.openings));
    out.push_str(choice.of(language.things));
    if choice.chance(25) {
        let _ = write!(out, " {:06}", choice.below(1_000_000));
    }
    if choice.chance(20) {
        let _ = write!(out, " ({})", choice.of(&PRODUCTS));
    }
    out.push_str(choice.of(language.happenings));
    out.push_str(choice.of(language.targets));
    if choice.chance(15) {
        let _ = write!(out, ", {}.{:02} EUR", 1 + choice.below(400), choice.below(100));
    }
    out.push_str(choice.of(language.endings));
    if choice.chance(4) {
        let _ = write!(out, " {}", choice.of(&EMOJI));
    }
}

pub(crate) fn subject(choice: &mut Choice, language: &Language) -> String {
    let mut text = choice.of(language.things).to_string();
    text.push_str(choice.of(language.happenings));
    text.push_str(choice.of(language.targets));
    if choice.chance(40) {
        let _ = write!(text, " [{:08}]", choice.below(100_000_000));
    }
    text
}

/// A mail in plain text, in paragraphs.
pub(crate) fn letter(choice: &mut Choice, language: &Language, from: &str) -> String {
    let mut text = format!("{}\n", choice.of(language.greetings));
    for _ in 0..1 + choice.below(4) {
        text.push('\n');
        for i in 0..1 + choice.below(5) {
            if i > 0 {
                text.push(' ');
            }
            sentence(choice, language, &mut text);
        }
        text.push('\n');
    }
    let _ = write!(text, "\n{}\n{from}\n", choice.of(language.closings));
    text
}

/// The same mail as HTML.
pub(crate) fn html(letter: &str) -> String {
    let mut html = "<html><head><meta charset=\"utf-8\"></head><body>".to_owned();
    for paragraph in letter.trim_end().split("\n\n") {
        html.push_str("<p style=\"margin:0 0 8px\">");
        for (i, line) in paragraph.split('\n').enumerate() {
            if i > 0 {
                html.push_str("<br>");
            }
            escape(line, &mut html);
        }
        html.push_str("</p>\n");
    }
    html + "</body></html>"
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(c),
        }
    }
}

/// A chat as XML, and how many seconds it took. `timeShift` counts from `startAt`.
pub(crate) fn transcript(choice: &mut Choice, person: &Person, agent: &str, start: i64) -> (String, u64) {
    let session = format!("{:012X}", choice.below(1 << 48));
    let mut xml = String::with_capacity(2048);
    let at = dates::text(start).replace(' ', "T");
    let _ = write!(xml, "<chatTranscript startAt=\"{at}Z\" sessionId=\"{session}\">");
    let parties = [(person.first_name, "CLIENT", "a1"), (agent, "AGENT", "b2")];
    let mut seconds = 0;
    let mut event = 0;
    for (i, (nick, kind, user)) in parties.iter().enumerate() {
        seconds += i as u64 * (3 + choice.below(60));
        event += 1;
        let _ = write!(
            xml,
            "<newParty userId=\"{session}{user}\" timeShift=\"{seconds}\" visibility=\"ALL\" eventId=\"{event}\">\
             <userInfo personId=\"\" userNick=\"{nick}\" userType=\"{kind}\" protocolType=\"FLEX\" \
             timeZoneOffset=\"60\"/>"
        );
        if i == 0 {
            let (last, email) = (person.last_name, &person.email);
            let _ = write!(
                xml,
                "<userData><item key=\"LastName\">{last}</item><item key=\"EmailAddress\">{email}</item></userData>"
            );
        }
        xml.push_str("</newParty>");
    }
    let mut said = String::new();
    for i in 0..4 + choice.below(14) {
        seconds += 4 + choice.below(50);
        event += 1;
        let user = parties[(i % 2) as usize].2;
        said.clear();
        sentence(choice, person.language, &mut said);
        if choice.chance(10) {
            said.push_str(choice.of(&EMOJI));
        }
        let _ = write!(
            xml,
            "<message userId=\"{session}{user}\" timeShift=\"{seconds}\" visibility=\"ALL\" eventId=\"{event}\">\
             <msgText msgType=\"text\">"
        );
        escape(&said, &mut xml);
        xml.push_str("</msgText></message>");
    }
    seconds += choice.below(20);
    let _ = write!(
        xml,
        "<notice userId=\"{session}b2\" timeShift=\"{seconds}\" visibility=\"ALL\" eventId=\"{}\">\
         <noticeText noticeType=\"USER_CUSTOM\">wrap-up</noticeText></notice>\
         <partyLeft userId=\"{session}a1\" timeShift=\"{seconds}\" visibility=\"ALL\" eventId=\"{}\" \
         askerId=\"{session}a1\"><reason code=\"1\">left with request to close forcedly</reason></partyLeft>\
         </chatTranscript>",
        event + 1,
        event + 2
    );
    (xml, seconds)
}

/// An agent's note on a call.
pub(crate) fn note(choice: &mut Choice, language: &Language) -> String {
    let mut text = format!("{}: ", choice.of(&OUTCOMES));
    for _ in 0..1 + choice.below(4) {
        sentence(choice, language, &mut text);
        text.push(' ');
    }
    text.truncate(text.trim_end().len());
    text
}

pub(crate) struct Attachment {
    pub(crate) name: String,
    pub(crate) mime_type: &'static str,
    pub(crate) content: Vec<u8>,
}

pub(crate) fn attachment(choice: &mut Choice, language: &Language) -> Attachment {
    let number = choice.below(100_000);
    match choice.below(4) {
        0 => Attachment {
            name: format!("Größe & Maße {number}.txt"),
            mime_type: "text/plain",
            content: letter(choice, language, "").into_bytes(),
        },
        1 => {
            let mut csv = "date;product;quantity;price\r\n".to_owned();
            for _ in 0..5 + choice.below(60) {
                let product = choice.of(&PRODUCTS);
                let day = dates::text(dates::END - choice.below(dates::SPAN as u64) as i64);
                let (quantity, price) = (1 + choice.below(9), choice.below(90_000));
                let _ =
                    write!(csv, "{};{product};{quantity};{}.{:02}\r\n", &day[..10], price / 100, price % 100);
            }
            Attachment {
                name: format!("list-{number}.csv"),
                mime_type: "text/csv",
                content: csv.into_bytes(),
            }
        }
        2 => {
            let mut pdf =
                b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog >>\nendobj\nstream\n".to_vec();
            let len = 500 + choice.below(4000) as usize;
            pdf.extend(choice.bytes(len));
            pdf.extend_from_slice(b"\nendstream\n%%EOF\n");
            Attachment { name: format!("invoice {number}.pdf"), mime_type: "application/pdf", content: pdf }
        }
        _ => {
            let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
            let len = 300 + choice.below(3000) as usize;
            png.extend(choice.bytes(len));
            Attachment { name: format!("photo_{number}.png"), mime_type: "image/png", content: png }
        }
    }
}
