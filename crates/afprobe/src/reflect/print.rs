//! What a reflector tells of itself, for people and for programs.

use std::io::{self, BufWriter, Write};

use serde_json::{Map, Value, json};

use super::Setup;
use super::responder::{Counts, Responder};
use crate::cli::Format;
use crate::reflector::Refusal;
use crate::two_way::transport::Transport;

pub(super) struct Printer<W: Write> {
    format: Format,
    out: BufWriter<W>,
    /// What was printed last: people are not told the same again.
    told: Option<Counts>,
}

impl<W: Write> Printer<W> {
    pub(super) fn new(format: Format, out: W) -> Self {
        Self { format, out: BufWriter::new(out), told: None }
    }

    pub(super) fn begin(&mut self, responder: &Responder, setup: &Setup<'_>) -> io::Result<()> {
        let interface = responder.socket.interface();
        let transport = setup.transport;
        let wire = transport.name();
        let port = transport.fixed_port().or((transport == Transport::Udp).then_some(setup.port));
        let is_authenticated = setup.config.keys.packet.is_some();
        match self.format {
            Format::Human => {
                let place = port.map(|port| format!(", UDP port {port}")).unwrap_or_default();
                let authenticated = if is_authenticated { ", authenticated" } else { "" };
                let keeps = if setup.config.is_stateful { "" } else { ", stateless" };
                writeln!(
                    self.out,
                    "{}: {interface} reflects {wire}{place}{authenticated}{keeps}, until it is interrupted",
                    responder.name
                )?;
            }
            Format::Json | Format::Logfmt => self.line(
                "reflecting",
                &[
                    ("schema", json!(1)),
                    ("host", json!(responder.name)),
                    ("interface", json!(interface.name())),
                    ("wire", json!(wire)),
                    ("port", json!(port)),
                    ("stateful", json!(setup.config.is_stateful)),
                    ("authenticated", json!(is_authenticated)),
                ],
            )?,
        }
        self.out.flush()
    }

    pub(super) fn stats(&mut self, responder: &Responder) -> io::Result<()> {
        self.counts("stats", responder)
    }

    pub(super) fn summary(&mut self, responder: &Responder) -> io::Result<()> {
        self.counts("summary", responder)
    }

    fn counts(&mut self, event: &str, responder: &Responder) -> io::Result<()> {
        let counts = responder.counts()?;
        let is_new = self.told.replace(counts) != Some(counts);
        let Counts { tally, unanswered, sessions, stats } = counts;
        if self.format == Format::Human {
            if is_new || event == "summary" {
                writeln!(self.out, "{}: {}", responder.name, in_words(&counts))?;
            }
            return self.out.flush();
        }
        let mut fields = vec![
            ("host", json!(responder.name)),
            ("answered", json!(tally.answered)),
            ("questions", json!(tally.questions)),
            ("not_sent", json!(tally.not_sent)),
            ("sessions", json!(sessions)),
            ("forgotten", json!(tally.forgotten)),
        ];
        match self.format {
            Format::Json => {
                let refused = Refusal::ALL.map(|why| (why.name().to_owned(), json!(tally.refused(why))));
                fields.push(("refused", Value::Object(Map::from_iter(refused))));
            }
            _ => fields.extend(Refusal::ALL.map(|why| (why.name(), json!(tally.refused(why))))),
        }
        fields.extend([
            ("foreign", json!(unanswered.foreign)),
            ("wrong_checksum", json!(unanswered.wrong_checksum)),
            ("malformed", json!(unanswered.malformed)),
            ("packets", json!(stats.received)),
            ("drops", json!(stats.dropped)),
        ]);
        self.line(event, &fields)?;
        self.out.flush()
    }

    fn line(&mut self, event: &str, fields: &[(&str, Value)]) -> io::Result<()> {
        if self.format == Format::Json {
            let mut object = Map::from_iter([("event".to_owned(), json!(event))]);
            object.extend(fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
            return writeln!(self.out, "{}", Value::Object(object));
        }
        write!(self.out, "level=info msg={event}")?;
        for (key, value) in fields {
            match value {
                Value::Null => write!(self.out, " {key}=")?,
                value => write!(self.out, " {key}={value}")?,
            }
        }
        writeln!(self.out)
    }
}

/// Only what there was.
fn in_words(counts: &Counts) -> String {
    let Counts { tally, unanswered, sessions, stats } = counts;
    let probes = tally.answered.saturating_sub(tally.questions + tally.not_sent);
    let mut text = format!("{probes} probes answered, {sessions} sessions");
    let refused = Refusal::ALL.map(|why| (tally.refused(why), why.name()));
    let others = [
        (tally.not_sent, "not sent"),
        (unanswered.wrong_checksum, "with a wrong checksum"),
        (unanswered.malformed, "malformed"),
        (unanswered.foreign, "foreign"),
        (stats.dropped, "dropped for want of room"),
    ];
    let refused: Vec<String> = refused
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, why)| format!("{count} {}", why.replace('_', " ")))
        .collect();
    if !refused.is_empty() {
        text.push_str(&format!("; refused: {}", refused.join(", ")));
    }
    for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!("; {count} {what}"));
    }
    text
}
