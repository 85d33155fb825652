//! What the packets of a session are: which of the standard's parts and of ours they have, and with which secret.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::cli::KeyArguments;
use crate::wire::stamp::afprobe::room_for;
use crate::wire::stamp::integrity::Keys;
use crate::wire::stamp::key::Key;
use crate::wire::stamp::request::{Request, Setup};
use crate::wire::stamp::time::TimeFormat;

/// The stamps of how many earlier replies a reply has room for: so many less one may be lost without a gap.
const DEPARTURES: usize = 4;

/// How times are written. NTP's format loses none of a stamp's nanoseconds, and every reflector knows it.
pub(crate) const FORMAT: TimeFormat = TimeFormat::Ntp;

/// The secret in a file, without the line's end that editors leave.
pub(crate) fn keys_from(arguments: &KeyArguments) -> Result<Keys> {
    let Some(file) = &arguments.auth_key_file else {
        return Ok(Keys::NONE);
    };
    let bytes =
        fs::read(file).with_context(|| format!("cannot read the key from {} (--auth-key-file)", file.display()))?;
    let secret = bytes.strip_suffix(b"\n").map_or(&bytes[..], |line| line.strip_suffix(b"\r").unwrap_or(line));
    let key = Key::new(secret).with_context(|| format!("there is no key in {} (--auth-key-file)", file.display()))?;
    Ok(if arguments.auth_tlvs_only { Keys::of_tlvs(key) } else { Keys::authenticated(key) })
}

/// The request of a new session.
///
/// Without a size it has room for all that a reflector can tell. With one it has as much of it as there is room for: first
/// goes the memory for several replies, then what only the standard has, then our own part.
pub(crate) fn request(keys: &Keys, dscp: u8, size: Option<u16>, with_hardware: bool) -> Result<Request> {
    let bare = Setup {
        keys: keys.clone(),
        format: FORMAT,
        ssid: fastrand::u16(1..),
        len: size.map_or(0, usize::from),
        timestamp_information: false,
        class_of_service: None,
        direct_measurement: false,
        follow_up_telemetry: false,
        room: None,
    };
    let with_clock = Setup { timestamp_information: true, class_of_service: Some(dscp), ..bare.clone() };
    let standard = Setup { direct_measurement: true, follow_up_telemetry: true, ..with_clock.clone() };
    let ours = |setup: &Setup, replies| Setup { room: Some(room_for(replies, with_hardware)), ..setup.clone() };
    let candidates = [
        ours(&standard, DEPARTURES),
        ours(&standard, 2),
        ours(&standard, 1),
        ours(&with_clock, 1),
        ours(&bare, 1),
        standard,
        with_clock,
        bare,
    ];
    let mut shortest = 0;
    for setup in candidates {
        let request = Request::new(&setup);
        if size.is_none_or(|size| request.len() <= size.into()) {
            return Ok(request);
        }
        shortest = request.len();
    }
    bail!("--size: the shortest packet has {shortest} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn len(keys: &Keys, size: Option<u16>, with_hardware: bool) -> Option<usize> {
        request(keys, 0, size, with_hardware).ok().map(|request| request.len())
    }

    #[test]
    fn a_packet_has_the_length_that_was_asked_for() {
        let authenticated = Keys::authenticated(Key::new(b"secret").unwrap());
        for (keys, shortest) in [(Keys::NONE, 44), (authenticated, 112)] {
            for size in 0..2_000 {
                let expected = (size >= shortest).then_some(size.into());
                assert_eq!(len(&keys, Some(size), false), expected, "{size}");
            }
            let full = len(&keys, None, false).unwrap();
            assert!((usize::from(shortest) + 200..500).contains(&full), "{full}");
            assert!(len(&keys, None, true).unwrap() > full, "room for hardware stamps");
        }
    }

    #[test]
    fn a_key_is_what_the_first_line_says() {
        let file = std::env::temp_dir().join(format!("afprobe-key-{}", std::process::id()));
        let arguments = KeyArguments { auth_key_file: Some(file.clone()), auth_tlvs_only: false };
        let code = |text: &[u8]| {
            fs::write(&file, text).unwrap();
            keys_from(&arguments).map(|keys| keys.packet.unwrap().code(&[b"text"]))
        };
        let expected = Key::new(b"secret").unwrap().code(&[b"text"]);
        for text in [&b"secret"[..], b"secret\n", b"secret\r\n"] {
            assert_eq!(code(text).unwrap(), expected);
        }
        assert_ne!(code(b"secret \n").unwrap(), expected);
        for text in [&b""[..], b"\n"] {
            assert!(code(text).unwrap_err().to_string().contains("there is no key"));
        }
        fs::remove_file(&file).unwrap();
        assert!(keys_from(&arguments).unwrap_err().to_string().contains("cannot read the key"));
        assert!(keys_from(&KeyArguments::default()).unwrap().packet.is_none());
    }
}
