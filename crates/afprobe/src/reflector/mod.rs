//! The reflector: what becomes of a packet that arrived, without sockets.
//!
//! A packet is answered, or refused for one reason and counted. A reply is as long as its request and there is one for each,
//! so that nobody can make of the reflector more than he has sent himself. What is kept is bounded: so many sessions,
//! so many stamps in each, so many senders under a rate.

mod answer;
mod flow;
mod history;
mod rate;
mod refusal;
mod session;
#[cfg(test)]
mod tests;
mod window;

use std::hash::RandomState;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use fast_afpacket::SystemStamp;
use lru::LruCache;

pub(crate) use flow::{Flow, Peer, Prefix};
pub(crate) use rate::Rate;
pub(crate) use refusal::{Refusal, Tally};
pub(crate) use session::ReplyId;

use crate::two_way::stamps::{Header, Stamps};
use crate::wire::stamp::error_estimate::ErrorEstimate;
use crate::wire::stamp::integrity::Keys;
use crate::wire::stamp::packet::{Head, Layout, Tail, chunk};
use crate::wire::stamp::standard::source;
use crate::wire::stamp::time::TimeFormat;
use answer::{Answer, Survey};
use rate::Bucket;
use session::{Session, SessionKey};

/// Between the times of a reply lies less than this, whatever held it up. A request has nothing there.
const LONGEST_RESIDENCE: Duration = Duration::from_secs(60);
/// RFC 5357 (section 4.2): what is said where the TTL cannot be seen.
const UNSEEN_TTL: u8 = 255;
/// Senders whose rate is watched.
const BUCKETS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// How a reflector answers.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) keys: Keys,
    pub(crate) format: TimeFormat,
    /// What keeps the clock right, of [`source`].
    pub(crate) time_source: u8,
    /// Numbers replies by itself, for each session, and keeps stamps and counts. Otherwise a reply has the request's number.
    pub(crate) is_stateful: bool,
    /// How many sessions are kept; the one that was idle longest goes.
    pub(crate) sessions: NonZeroUsize,
    /// A session that was idle so long begins anew. Not an authenticated one, whose packets could then be used again.
    pub(crate) idle: Duration,
    /// Of how many replies the stamps are kept, in each session that asks for them: 30 KB for 256.
    pub(crate) replies_kept: usize,
    /// Who is answered. Empty: everybody. Otherwise nobody without an IP address.
    pub(crate) allowed: Vec<Prefix>,
    pub(crate) rate: Option<Rate>,
    /// With which DSCP a reply may be marked: a bit for each.
    pub(crate) marks: u64,
    /// Answers requests that are shorter than a reply, of 14 to 40 octets, with one of 44, as RFC 8762 (section 4.6) has it
    /// for TWAMP's senders. Then a reply is up to three times as long as its request.
    pub(crate) answers_short: bool,
}

impl Default for Config {
    /// Plain, stateful, for everybody. No rate: a reflector that sends no more than it receives helps nobody to flood others,
    /// and a limit that nobody set would be seen as loss.
    fn default() -> Self {
        Self {
            keys: Keys::NONE,
            format: TimeFormat::Ntp,
            time_source: source::FREE_RUNNING,
            is_stateful: true,
            sessions: NonZeroUsize::MIN.saturating_add(1023),
            // TWAMP's REFWAIT, RFC 5357, section 4.2.
            idle: Duration::from_secs(900),
            replies_kept: 256,
            allowed: Vec::new(),
            rate: None,
            marks: u64::MAX,
            answers_short: false,
        }
    }
}

impl Config {
    fn may_mark(&self, dscp: u8) -> bool {
        self.marks >> (dscp & 0x3f) & 1 == 1
    }

    fn is_allowed(&self, peer: Peer) -> bool {
        self.allowed.is_empty()
            || matches!(peer, Peer::Udp { addr, .. } if self.allowed.iter().any(|prefix| prefix.contains(addr)))
    }
}

/// How a packet arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) flow: Flow,
    pub(crate) header: Header,
    /// T2. The reply's fixed part has the kernel's, or else that of user space.
    pub(crate) stamps: Stamps,
    /// For what is idle, and for rates.
    pub(crate) at: Instant,
}

/// Answers requests.
#[derive(Debug)]
pub(crate) struct Reflector {
    config: Config,
    layout: Layout,
    sessions: LruCache<SessionKey, Session, RandomState>,
    buckets: LruCache<Sender, Bucket, RandomState>,
    generations: u64,
    tally: Tally,
    /// The last reply.
    packet: Vec<u8>,
}

/// Whose rate is watched: a host, whatever its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sender {
    Ip(IpAddr),
    Other(Peer),
}

/// A reply that is complete but for the time when it leaves.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    packet: &'a mut [u8],
    layout: Layout,
    keys: &'a Keys,
    format: TimeFormat,
    /// For its stamps, when they come. `None` if nobody wants them.
    pub(crate) id: Option<ReplyId>,
    /// What it is to be marked with: as the request was, if it does not ask for something else. `None` if that is not known.
    pub(crate) dscp: Option<u8>,
}

impl Reply<'_> {
    /// Writes T3, read right before the send, and what is known of the clock, and gives the packet. It allocates nothing, and
    /// may be called again if the packet could not be sent at once.
    pub(crate) fn finish(&mut self, t3: SystemStamp, error: ErrorEstimate) -> &[u8] {
        let timestamp = self.format.encode(t3);
        let head = Head { sequence: 0, timestamp, error: error.to_wire(self.format.is_ptp()), ssid: 0 };
        head.write_time(&self.layout, self.packet);
        self.layout.authenticate(self.packet, self.keys.packet.as_ref());
        self.packet
    }

    /// Octets of the packet.
    pub(crate) const fn len(&self) -> usize {
        self.packet.len()
    }
}

/// What there is to say of a reply, apart from its bytes.
type Made = (Option<ReplyId>, Option<u8>);

impl Reflector {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            layout: config.keys.layout(),
            sessions: LruCache::with_hasher(config.sessions, RandomState::new()),
            buckets: LruCache::with_hasher(BUCKETS, RandomState::new()),
            config,
            generations: 0,
            tally: Tally::default(),
            packet: Vec::new(),
        }
    }

    /// What became of all packets so far.
    pub(crate) const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Sessions that are kept.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Makes the reply to a packet, or says why there is none.
    pub(crate) fn answer(&mut self, request: &[u8], arrival: &Arrival) -> Result<Reply<'_>, Refusal> {
        let (id, dscp) = self.make(request, arrival).inspect_err(|&why| self.tally.refuse(why))?;
        self.tally.answered += 1;
        Ok(Reply {
            packet: &mut self.packet,
            layout: self.layout,
            keys: &self.config.keys,
            format: self.config.format,
            id,
            dscp,
        })
    }

    /// The stamps of a reply that has left, for those who wait for them.
    pub(crate) fn stamped(&mut self, id: ReplyId, stamps: Stamps) {
        if let Some(session) = self.of_reply(id) {
            session.stamped(id.number, stamps);
        }
    }

    /// A reply was not sent after all: the kernel did not take it.
    pub(crate) fn not_sent(&mut self, id: Option<ReplyId>) {
        self.tally.not_sent += 1;
        if let Some(session) = id.and_then(|id| self.of_reply(id)) {
            session.not_sent();
        }
    }

    fn of_reply(&mut self, id: ReplyId) -> Option<&mut Session> {
        // Not used by this: what a session's sender does decides whether it is idle.
        self.sessions.peek_mut(&id.session).filter(|session| session.generation == id.generation)
    }

    /// Leaves the reply in `packet`.
    fn make(&mut self, request: &[u8], arrival: &Arrival) -> Result<Made, Refusal> {
        let Flow { peer, local } = arrival.flow;
        let layout = self.layout;
        if !(peer.is_unicast() && local.is_unicast()) {
            return Err(Refusal::NotUnicast);
        }
        if !self.config.is_allowed(peer) {
            return Err(Refusal::NotAllowed);
        }
        if request.len() < layout.shortest_request {
            let is_plain = self.config.keys.packet.is_some() && request.len() >= Layout::PLAIN.shortest_request;
            return Err(if is_plain { Refusal::Plain } else { Refusal::TooShort });
        }
        if request.len() < layout.shortest_reply && !self.config.answers_short {
            return Err(Refusal::ShorterThanReply);
        }
        if !layout.is_authentic(request, self.config.keys.packet.as_ref()) {
            return Err(Refusal::Forged);
        }
        let head = Head::read(&layout, request).ok_or(Refusal::TooShort)?;
        let (_, is_ptp) = head.error_estimate().ok_or(Refusal::Corrupt)?;
        if looks_like_reply(&layout, request, &head, is_ptp) {
            return Err(Refusal::LooksLikeReply);
        }
        let survey = Survey::of(request, &layout, &self.config);
        let key = SessionKey { flow: arrival.flow, ssid: session_id(&layout, request, &head) };
        if self.config.keys.packet.is_some()
            && let Some(session) = self.sessions.peek_mut(&key)
            && session.is_replay(head.sequence, survey.is_question)
        {
            session.replayed(head.sequence, survey.is_question);
            return Err(Refusal::Replayed);
        }
        if !self.has_token(peer, arrival.at) {
            return Err(Refusal::TooMany);
        }
        Ok(self.reflect(request, arrival, head, survey, key))
    }

    fn reflect(&mut self, request: &[u8], arrival: &Arrival, head: Head, survey: Survey, key: SessionKey) -> Made {
        let mut id = None;
        let mut sequence = head.sequence;
        if self.config.is_stateful || self.config.keys.packet.is_some() {
            self.enter(key, arrival.at);
        }
        let mut session = self.sessions.get_mut(&key);
        if survey.is_question {
            self.tally.questions += 1;
            if let Some(session) = &mut session {
                session.ask(head.sequence, arrival.at);
            }
        } else if let Some(session) = &mut session {
            let number = session.probe(head.sequence, arrival.at);
            if self.config.is_stateful {
                sequence = history::on_the_wire(number);
                if survey.wants_stamps {
                    session.history.push(number, head.sequence);
                    id = Some(ReplyId { session: key, generation: session.generation, number });
                }
            }
        }
        let layout = self.layout;
        let packet = &mut self.packet;
        packet.clear();
        packet.extend_from_slice(request);
        if request.len() < layout.shortest_reply {
            packet.resize(layout.len, 0);
        }
        let fixed = layout.len.min(packet.len());
        if let Some(fixed) = packet.get_mut(..fixed) {
            fixed.fill(0);
        }
        Head { sequence, timestamp: 0, error: 0, ssid: head.ssid }.write(&layout, packet);
        let t2 = arrival.stamps.software.or(arrival.stamps.userspace);
        let tail = Tail {
            receive: t2.map_or(0, |stamp| self.config.format.encode(stamp)),
            sender_sequence: head.sequence,
            sender_timestamp: head.timestamp,
            sender_error: head.error,
            sender_ttl: arrival.header.ttl.unwrap_or(UNSEEN_TTL),
        };
        tail.write(&layout, packet);
        let mut answer = Answer {
            config: &self.config,
            survey,
            session: session.filter(|_| self.config.is_stateful),
            reply: sequence,
            request: head.sequence,
            stamps: arrival.stamps,
            header: arrival.header,
            dscp: arrival.header.dscp,
        };
        answer.tlvs(packet, &layout);
        (id, answer.dscp)
    }

    /// Makes the session, if there is none or the one that was is over, and the last one used.
    fn enter(&mut self, key: SessionKey, now: Instant) {
        let is_over = |session: &Session| {
            self.config.keys.packet.is_none()
                && now.saturating_duration_since(session.last_request()) > self.config.idle
        };
        if self.sessions.peek(&key).is_some_and(|session| !is_over(session)) {
            return;
        }
        self.generations += 1;
        let session = Session::new(self.generations, self.config.replies_kept, now);
        if self.sessions.push(key, session).is_some_and(|(other, _)| other != key) {
            self.tally.forgotten += 1;
        }
    }

    fn has_token(&mut self, peer: Peer, now: Instant) -> bool {
        let Some(rate) = self.config.rate else {
            return true;
        };
        let sender = match peer {
            Peer::Udp { addr, .. } => Sender::Ip(addr),
            Peer::Ethernet(_) => Sender::Other(peer),
        };
        self.buckets.get_or_insert_mut(sender, || Bucket::full(now)).take(rate, now)
    }
}

/// Whether a packet has a reply's times: when the request arrived, and shortly after, when the reply left. A request has
/// zeros, or TWAMP's padding, there. Ports do not tell: both ends may have any, and a forged request can name the port of
/// another reflector, and then two of them would answer each other for ever.
fn looks_like_reply(layout: &Layout, packet: &[u8], head: &Head, is_ptp: bool) -> bool {
    let Some(Tail { receive, .. }) = Tail::read(layout, packet).filter(|tail| tail.receive != 0) else {
        return false;
    };
    let residence = TimeFormat::nanos_between(is_ptp, receive, head.timestamp).unsigned_abs();
    u128::from(residence) < LONGEST_RESIDENCE.as_nanos()
}

/// The session's id, if the sender has one. What STAMP calls so is where TWAMP's padding begins, which may be another in each
/// packet; it goes on where STAMP has zeros.
fn session_id(layout: &Layout, request: &[u8], head: &Head) -> u16 {
    let is_padded = layout.code.is_none()
        && (layout.ssid + 2..layout.len).any(|at| chunk(request, at).is_some_and(|byte| byte != [0]));
    if is_padded { 0 } else { head.ssid }
}
