//! The parser against examples, against itself with every split, and against `eventsource-stream`.

use eventsource_stream::Eventsource;
use futures::{FutureExt, StreamExt, stream};
use proptest::prelude::*;

use super::*;

type Read = Result<Vec<(String, String)>, SseError>;

fn read<'a>(parser: &mut Parser, chunks: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut events = Vec::new();
    for chunk in chunks {
        let flow = parser.feed(chunk, |event| {
            events.push((event.name.to_owned(), event.data.to_owned()));
            ControlFlow::Continue(())
        })?;
        assert!(flow.is_continue());
    }
    Ok(events)
}

fn whole(bytes: &[u8]) -> Read {
    read(&mut Parser::default(), [bytes])
}

fn data(bytes: &[u8]) -> Vec<String> {
    whole(bytes).unwrap().into_iter().map(|(_, data)| data).collect()
}

fn oracle(bytes: &[u8]) -> Vec<(String, String)> {
    let events = stream::iter([Ok::<_, std::convert::Infallible>(bytes.to_vec())]).eventsource();
    let named = |name: String| if name == "message" { String::new() } else { name };
    let all = events.map(|event| event.map(|e| (named(e.event), e.data)).unwrap()).collect();
    all.now_or_never().expect("all the bytes are there")
}

#[test]
fn events_are_read_as_the_standard_says() {
    assert_eq!(data(b"data: a\n\ndata: b\n\n"), ["a", "b"]);
    assert_eq!(data(b"data:a\r\n\r\ndata:  b\r\rdata: c\n\n"), ["a", " b", "c"]);
    assert_eq!(data(b"data: a\ndata\ndata: b\n\n"), ["a\n\nb"]);
    assert_eq!(data(b": ping\n\ndata: a\n: in between\ndata: b\n\n"), ["a\nb"]);
    assert_eq!(data(b"\xef\xbb\xbfdata: a\n\n"), ["a"]);
    assert_eq!(data(b"\n\n\ndata: a\n\n\n\n"), ["a"]);
    assert_eq!(data(b"data:\n\n"), [""]);
    assert_eq!(data(b"id: 1\nretry: 5\ndatum: x\ndata: a\n\nevent: lonely\n\ndata: b\n\n"), ["a", "b"]);
}

#[test]
fn names_are_kept_for_their_own_event_only() {
    let events = whole(b"event: error\ndata: a\n\ndata: b\n\nevent: x\nevent: y\ndata: c\n\n").unwrap();
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["error", "", "y"]);
}

#[test]
fn an_unfinished_event_is_not_one() {
    for bytes in [&b"data: a"[..], b"data: a\n", b"data: a\r\n", b"data: {\"x\":"] {
        assert_eq!(data(bytes), Vec::<String>::new());
    }
}

#[test]
fn a_split_at_any_byte_changes_nothing() {
    let bytes = "\u{feff}data: 👌 ok\r\n\r\nevent: e\rdata: ä\r\r: c\n\ndata: x\ndata: y\n\n".as_bytes();
    let expected = whole(bytes).unwrap();
    assert_eq!(expected.len(), 3);
    for at in 0..=bytes.len() {
        let (head, tail) = bytes.split_at(at);
        assert_eq!(read(&mut Parser::default(), [head, tail]).unwrap(), expected, "at {at}");
    }
    assert_eq!(read(&mut Parser::default(), bytes.chunks(1)).unwrap(), expected);
}

#[test]
fn a_torn_character_is_whole_again_and_a_wrong_one_is_replaced() {
    let bytes = "data: 👌\n\n".as_bytes();
    assert_eq!(read(&mut Parser::default(), bytes.chunks(1)).unwrap()[0].1, "👌");
    assert_eq!(data(b"data: x\xffy\n\ndata: \xf0\x9f\n\n"), ["x\u{fffd}y", "\u{fffd}"]);
    assert_eq!(whole(b"event: \xff\ndata: a\n\n").unwrap(), [("\u{fffd}".to_owned(), "a".to_owned())]);
}

#[test]
fn the_cap_holds_for_lines_for_events_and_however_they_are_split() {
    let long_line = [b"data: ".as_slice(), &[b'x'; 100], b"\n\n"].concat();
    let many_lines = b"data: 0123456789\n".repeat(10);
    let comment = [b": ".as_slice(), &[b'x'; 100]].concat();
    for bytes in [&long_line, &many_lines, &comment] {
        for size in [1, 7, bytes.len()] {
            let read = read(&mut Parser::new(64), bytes.chunks(size));
            assert_eq!(read, Err(SseError::TooLarge), "in chunks of {size}");
        }
    }
    let fits = [b"data: ".as_slice(), &[b'x'; 58], b"\n\n"].concat();
    assert!(read(&mut Parser::new(64), fits.chunks(9)).is_ok());
}

#[test]
fn a_huge_line_is_refused_early_and_is_not_kept() {
    let chunk = vec![b'x'; 64 * 1024];
    let mut parser = Parser::default();
    let fed = (1..=1600).find(|_| parser.feed(&chunk, |_| ControlFlow::Continue(())).is_err());
    assert_eq!(fed, Some(513));
    assert!(parser.line.capacity() <= 2 * MAX_EVENT_BYTES);
}

#[test]
fn reading_stops_where_it_is_told_to() {
    let mut seen = 0;
    let flow = Parser::default().feed(b"data: a\n\ndata: b\n\ndata: c\n\n", |_| {
        seen += 1;
        if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((flow, seen), (Ok(ControlFlow::Break(())), 2));
}

/// Pieces that streams are made of, and some that they are not.
fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just("\n".to_owned()),
        2 => Just("\r\n".to_owned()),
        1 => Just("\r".to_owned()),
        6 => Just("data: ".to_owned()),
        1 => Just("data".to_owned()),
        2 => Just("event: ".to_owned()),
        1 => Just("id: 7".to_owned()),
        1 => Just("retry: 7".to_owned()),
        1 => Just(":".to_owned()),
        3 => "[a-z{}\": ]{1,8}",
        1 => "\\PC{1,4}",
    ]
}

fn streams() -> impl Strategy<Value = String> {
    prop::collection::vec(fragment(), 0..60).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn the_oracle_reads_the_same(text in streams()) {
        // The oracle waits for what follows a CR before it ends the line there.
        let text = text + ":\n";
        prop_assume!(!text.starts_with('\u{feff}'));
        prop_assert_eq!(whole(text.as_bytes()).unwrap(), oracle(text.as_bytes()));
    }

    #[test]
    fn splits_change_nothing(text in streams(), sizes in prop::collection::vec(1usize..9, 1..40)) {
        let expected = whole(text.as_bytes());
        let mut rest = text.as_bytes();
        let mut chunks = Vec::new();
        for size in sizes.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (head, tail) = rest.split_at(size.min(rest.len()));
            chunks.push(head);
            rest = tail;
        }
        prop_assert_eq!(read(&mut Parser::default(), chunks), expected);
    }

    #[test]
    fn any_bytes_give_events_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let split = read(&mut Parser::new(64), bytes.chunks(1));
        prop_assert_eq!(read(&mut Parser::new(64), [bytes.as_slice()]), split);
    }
}
