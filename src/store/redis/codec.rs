//! How items, turns and replies are written into Redis and read back.
//!
//! Everything is plain text that `redis-cli` shows as it is. An item is `<tokens before> <tokens> <created> <encoding>
//! <id> <turn or -> <json>`, the JSON byte for byte as it came; the script adds the tokens before it, which only it knows.
//! What is left of one that was removed is `<tokens before> <tokens> gone`.

use std::io::Write as _;

use redis::{RedisWrite, ToRedisArgs, Value};

use super::faults;
use crate::domain::conversation::{Owner, Place};
use crate::domain::event::{Event, Numbered};
use crate::domain::ids::{ConversationId, ItemId, SessionKey, TurnId};
use crate::domain::item::{Item, StoredItem};
use crate::domain::tokens::Encoding;
use crate::domain::turn::{Fault, TurnRecord, TurnStatus, Usage};
use crate::store::{FinishTurn, StoreError};

/// An item as `push.lua` takes it.
pub(super) struct ItemArg<'a> {
    pub(super) item: &'a Item,
    pub(super) created_at_ms: i64,
}

impl ToRedisArgs for ItemArg<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        let Item { id, turn, json, tokens, encoding } = self.item;
        let turn = turn.as_ref().map_or("-", TurnId::as_str);
        let created = self.created_at_ms;
        out.write_arg_fmt(format_args!("{tokens} {created} {} {id} {turn} {json}", encoding.as_str()));
    }
}

/// A turn's end as `finish.lua` takes it: `<status> <ended at> <usage> <fault>`.
pub(super) struct EndArg<'a>(pub(super) &'a FinishTurn);

impl ToRedisArgs for EndArg<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        let Self(finish) = self;
        let mut arg = out.writer_for_next_arg();
        let _ = write!(arg, "{} {} ", finish.status.as_str(), finish.now_ms);
        write_json(&mut arg, &finish.usage);
        let _ = arg.write_all(b" ");
        write_json(&mut arg, &finish.fault);
    }
}

/// A value as JSON.
pub(super) struct JsonArg<'a, T>(pub(super) &'a T);

impl<T: serde::Serialize> ToRedisArgs for JsonArg<'_, T> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        write_json(&mut out.writer_for_next_arg(), self.0);
    }
}

fn write_json(out: &mut impl std::io::Write, value: &impl serde::Serialize) {
    // Writing into memory cannot fail, and what is stored has string keys only.
    let _ = serde_json::to_writer(out, value);
}

/// The bytes of a reply that is one string.
pub(super) fn bytes(value: Value) -> Result<Vec<u8>, StoreError> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        _ => Err(faults::unreadable()),
    }
}

/// A reply that is one number.
pub(super) fn number(value: &Value) -> Result<i64, StoreError> {
    match value {
        Value::Int(number) => Ok(*number),
        _ => Err(faults::unreadable()),
    }
}

/// A reply that is a list of strings.
pub(super) fn strings(value: Value) -> Result<Vec<String>, StoreError> {
    let Value::Array(values) = value else { return Err(faults::unreadable()) };
    values.into_iter().map(|value| String::from_utf8(bytes(value)?).map_err(|_| faults::unreadable())).collect()
}

/// Takes what is before the next `end` off the front.
pub(super) fn take<'a>(text: &mut &'a str, end: char) -> Result<&'a str, StoreError> {
    let (field, rest) = text.split_once(end).ok_or_else(faults::unreadable)?;
    *text = rest;
    Ok(field)
}

/// Takes a number and the `end` after it off the front.
pub(super) fn take_number<T: std::str::FromStr>(text: &mut &str, end: char) -> Result<T, StoreError> {
    parse(take(text, end)?)
}

/// Reads a field that is all of `text`.
pub(super) fn parse<T: std::str::FromStr>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| faults::unreadable())
}

pub(super) fn utf8(bytes: &[u8]) -> Result<&str, StoreError> {
    std::str::from_utf8(bytes).map_err(|_| faults::unreadable())
}

pub(super) fn turn_id(text: &str) -> Result<TurnId, StoreError> {
    TurnId::parse(text).ok_or_else(faults::unreadable)
}

pub(super) fn conversation_id(text: &str) -> Result<ConversationId, StoreError> {
    ConversationId::parse(text).ok_or_else(faults::unreadable)
}

pub(super) fn status(text: &str) -> Result<TurnStatus, StoreError> {
    TurnStatus::parse(text).ok_or_else(faults::unreadable)
}

/// A reply of items, and behind them a line about them.
pub(super) struct Items {
    entries: Vec<Value>,
    pub(super) line: String,
}

impl Items {
    pub(super) fn read(value: Value) -> Result<Self, StoreError> {
        let Value::Array(mut entries) = value else { return Err(faults::unreadable()) };
        let line = entries.pop().ok_or_else(faults::unreadable)?;
        let line = String::from_utf8(bytes(line)?).map_err(|_| faults::unreadable())?;
        Ok(Self { entries, line })
    }

    /// The items that are there, of which the first entry has the number `first`.
    pub(super) fn numbered(self, first: u64) -> Result<Vec<StoredItem>, StoreError> {
        let items = self.entries.into_iter().zip(first..).map(|(entry, seq)| item(bytes(entry)?, seq));
        items.filter_map(Result::transpose).collect()
    }
}

/// The item in an entry; `None` where it was removed.
pub(super) fn item(entry: Vec<u8>, seq: u64) -> Result<Option<StoredItem>, StoreError> {
    let mut text = String::from_utf8(entry).map_err(|_| faults::unreadable())?;
    let mut rest = text.as_str();
    let tokens_before = take_number(&mut rest, ' ')?;
    let tokens = take_number(&mut rest, ' ')?;
    if rest == "gone" {
        return Ok(None);
    }
    let created_at_ms = take_number(&mut rest, ' ')?;
    let encoding = Encoding::parse(take(&mut rest, ' ')?).ok_or_else(faults::unreadable)?;
    let id = ItemId::parse(take(&mut rest, ' ')?).ok_or_else(faults::unreadable)?;
    let turn = match take(&mut rest, ' ')? {
        "-" => None,
        turn => Some(turn_id(turn)?),
    };
    // The reply's own memory goes on as the JSON.
    let head = text.len() - rest.len();
    text.drain(..head);
    Ok(Some(StoredItem { seq, tokens_before, created_at_ms, item: Item { id, turn, json: text, tokens, encoding } }))
}

/// The events in one string, a line each, of which the first has the number `seq`.
pub(super) fn events(text: &str, seq: u64) -> Result<Vec<Numbered>, StoreError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let event = |line: &str| Event::from_json(line).map_err(|_| faults::unreadable());
    text.split('\n').zip(seq..).map(|(line, seq)| Ok(Numbered { seq, event: event(line)? })).collect()
}

/// A turn as `state.lua` gives it.
pub(super) fn record(owner: &Owner, value: Value) -> Result<TurnRecord, StoreError> {
    let fields: [String; 6] = strings(value)?.try_into().map_err(|_| faults::unreadable())?;
    let [turn, whence, request, end, answer, running] = &fields;
    let mut record = fresh_record(owner, turn, whence, request)?;
    if end.is_empty() {
        let mut running = running.as_str();
        record.fence = take_number(&mut running, ' ')?;
        record.attempt = take_number(&mut running, ' ')?;
        record.last_event = parse(running)?;
        return Ok(record);
    }
    let (mut end, items_then) = match end.split_once('\n') {
        Some((end, count)) => (end, Some(parse(count)?)),
        None => (end.as_str(), None),
    };
    record.fence = take_number(&mut end, ' ')?;
    record.attempt = take_number(&mut end, ' ')?;
    record.last_event = take_number(&mut end, ' ')?;
    record.status = status(take(&mut end, ' ')?)?;
    record.ended_at_ms = Some(take_number(&mut end, ' ')?);
    record.usage = json::<Option<Usage>>(take(&mut end, ' ')?)?;
    record.fault = json::<Option<Fault>>(end)?;
    record.items_then = items_then;
    if !answer.is_empty() {
        record.answer = Some(json(answer)?);
    }
    Ok(record)
}

/// A turn that has just been taken over; `record` is what of it is stored, as `adopt.lua` gives it.
pub(super) fn adopted(
    owner: &Owner,
    turn: &TurnId,
    fence: u64,
    attempt: u32,
    last_event: u64,
    record: &[Value],
) -> Result<TurnRecord, StoreError> {
    let [Value::BulkString(whence), Value::BulkString(request)] = record else { return Err(faults::unreadable()) };
    let record = fresh_record(owner, turn.as_str(), utf8(whence)?, utf8(request)?)?;
    Ok(TurnRecord { fence, attempt, last_event, ..record })
}

/// A running turn, out of what was stored when it began.
fn fresh_record(owner: &Owner, turn: &str, whence: &str, request: &str) -> Result<TurnRecord, StoreError> {
    let (conversation, created) = whence.split_once(' ').ok_or_else(faults::unreadable)?;
    Ok(TurnRecord {
        id: turn_id(turn)?,
        place: Place { owner: owner.clone(), conversation: conversation_id(conversation)? },
        status: TurnStatus::Running,
        attempt: 1,
        fence: 1,
        request: json(request)?,
        usage: None,
        fault: None,
        created_at_ms: parse(created)?,
        ended_at_ms: None,
        last_event: 1,
        answer: None,
        items_then: None,
    })
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| faults::unreadable())
}

/// Reads [`Owner::tag`] back.
pub(super) fn owner(tag: &str) -> Option<Owner> {
    match tag.split_once(':')? {
        ("s", key) => {
            use serde::Deserialize as _;
            use serde::de::IntoDeserializer as _;
            let key: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = key.into_deserializer();
            Some(Owner::Session(SessionKey::deserialize(key).ok()?))
        }
        ("k", id) => Some(Owner::ApiKey(id.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(item: &Item, tokens_before: u64) -> Vec<u8> {
        let arg = ItemArg { item, created_at_ms: -5 }.to_redis_args().remove(0);
        [format!("{tokens_before} ").into_bytes(), arg].concat()
    }

    #[test]
    fn items_come_back_byte_for_byte() {
        let jsons = ["{}", "", "{\n \"text\": \"a b\\u0000 👌\", \"n\": 12345678901234567890.10 }", " 1 2 "];
        let item = |(i, json): (usize, &&str)| Item {
            id: ItemId::parse(&format!("msg_{i}")).unwrap(),
            turn: (i > 0).then(|| TurnId::parse("turn_1").unwrap()),
            json: (*json).to_owned(),
            tokens: u32::MAX,
            encoding: Encoding::Cl100k,
        };
        let stored: Vec<Item> = jsons.iter().enumerate().map(item).collect();
        let entries = stored.iter().map(|item| Value::BulkString(packed(item, 1 << 40)));
        let reply = Value::Array(entries.chain([Value::BulkString(b"line".to_vec())]).collect());
        let read = Items::read(reply).unwrap();
        assert_eq!(read.line, "line");
        let back = read.numbered(7).unwrap();
        assert_eq!(back.iter().map(|item| item.item.clone()).collect::<Vec<_>>(), stored);
        assert_eq!((back[3].seq, back[3].tokens_before, back[3].created_at_ms), (10, 1 << 40, -5));
    }

    #[test]
    fn what_was_removed_is_left_out_and_keeps_its_number() {
        let id = ItemId::parse("msg_1").unwrap();
        // However much it looks like one that was removed.
        let stored = Item { id, turn: None, json: "gone".into(), tokens: 1, encoding: Encoding::O200k };
        let entries = [b"5 1 gone".to_vec(), packed(&stored, 6), b"7 1 gone".to_vec(), b"line".to_vec()];
        let reply = Value::Array(entries.into_iter().map(Value::BulkString).collect());
        let read = Items::read(reply).unwrap().numbered(3).unwrap();
        assert_eq!(read.iter().map(|item| (item.seq, item.item.json.as_str())).collect::<Vec<_>>(), [(4, "gone")]);
    }

    #[test]
    fn what_is_cut_off_is_an_error_and_no_panic() {
        let id = ItemId::parse("msg_1").unwrap();
        let json = "{\"é\":1}";
        let stored = Item { id, turn: None, json: json.into(), tokens: 1, encoding: Encoding::O200k };
        let whole = packed(&stored, 0);
        assert!((0..whole.len() - json.len()).all(|end| item(whole[..end].to_vec(), 1).is_err()));
    }

    #[test]
    fn an_owner_is_read_back_from_its_tag() {
        for owner_in in [Owner::Session(SessionKey::of_secret(&[1; 32])), Owner::ApiKey("a:b c".into())] {
            assert_eq!(owner(&owner_in.tag()), Some(owner_in));
        }
        assert_eq!(owner("x:1"), None);
    }
}
