//! Which call a part of an answer belongs to: the one assembler of calls, for answers that are folded, passed on and
//! collected. Pure.
//!
//! A call is known by its id and its name. Its `index` counts only where it tells calls apart: compatible servers leave it
//! out, say 0 of all calls, or number the parts of one call. So what is known of each call is kept beside the index:
//! whether its arguments are a whole JSON object already, after which no part can be theirs.

use std::fmt;
use std::sync::Arc;

use crate::domain::hex;
use crate::domain::ids::Ids;

/// Where the ids of calls come from that a server gave none.
#[derive(Clone)]
pub struct Mint(Arc<dyn Ids>);

impl Mint {
    /// Ids out of this source, unique in any conversation.
    #[must_use]
    pub fn new(ids: Arc<dyn Ids>) -> Self {
        Self(ids)
    }

    /// A fresh id of a call.
    #[must_use]
    pub fn call_id(&self) -> String {
        format!("call_{}", hex::encode(&self.0.secret()[..12]))
    }
}

impl Mint {
    /// A fresh id of a completion.
    #[must_use]
    pub fn completion_id(&self) -> String {
        format!("chatcmpl-{}", hex::encode(&self.0.secret()[..16]))
    }
}

impl fmt::Debug for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mint")
    }
}

/// What one entry of `tool_calls` says; texts are empty where it does not say them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Part<'a> {
    /// The server's number for the call.
    pub index: Option<u32>,
    /// The call's id.
    pub id: &'a str,
    /// The function.
    pub name: &'a str,
    /// What is added to the arguments.
    pub arguments: &'a str,
}

/// What a part comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The call's place among the calls of its answer, from 0 on.
    pub place: u32,
    /// The call's id and name, where it begins with this part.
    pub head: Option<(String, String)>,
    /// What is added to its arguments.
    pub arguments: String,
}

/// The calls of one answer as far as they have come.
#[derive(Debug)]
pub struct Calls {
    mint: Mint,
    calls: Vec<Call>,
    /// The server's numbers, each with the newest call that it was said of.
    numbers: Vec<(u32, usize)>,
    /// The calls that have begun, that is, have a name.
    begun: u32,
    /// Calls that the list which is being read has named already: another entry of it with a name is another call.
    listed: Vec<usize>,
    /// A name that was said once more behind the whole arguments of its call: of another call, if arguments follow.
    again: Option<String>,
}

#[derive(Debug, Default)]
struct Call {
    number: Option<u32>,
    /// The id as the server gave it.
    server_id: String,
    /// The id as it is shown.
    id: String,
    name: String,
    place: Option<u32>,
    /// Arguments that came before the name.
    waiting: String,
    extent: Extent,
}

impl Calls {
    /// None yet.
    #[must_use]
    pub fn new(mint: Mint) -> Self {
        Self { mint, calls: Vec::new(), numbers: Vec::new(), begun: 0, listed: Vec::new(), again: None }
    }

    /// Whether a call has begun.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.begun == 0
    }

    /// Takes the entries of one list; gives for each what it comes to, `None` where its call has not begun.
    pub fn take<'a>(&mut self, parts: impl ExactSizeIterator<Item = Part<'a>>) -> Vec<Option<Said>> {
        let is_alone = parts.len() == 1;
        self.listed.clear();
        let numbered = (0u32..).zip(parts).map(|(at, part)| match is_alone {
            true => part,
            false => Part { index: part.index.or(Some(at)), ..part },
        });
        numbered.map(|part| self.part(part)).collect()
    }

    /// The order in which the server counted the calls, as places, where it counted each.
    #[must_use]
    pub fn counted(&self) -> Option<Vec<u32>> {
        let numbers: Option<Vec<(u32, u32)>> = self
            .calls
            .iter()
            .filter_map(|call| Some((call.number, call.place?)))
            .map(|(n, at)| Some((n?, at)))
            .collect();
        let mut numbers = numbers?;
        numbers.sort_unstable();
        let is_told = numbers.windows(2).all(|pair| matches!(pair, [(one, _), (other, _)] if one != other));
        is_told.then(|| numbers.into_iter().map(|(_, place)| place).collect())
    }

    /// Takes a call that comes whole: the entry of a list that is not continued.
    pub fn whole(&mut self, part: Part<'_>) -> Option<Said> {
        let at = self.open(part);
        self.add(at, part)
    }

    /// The calls that have got no arguments, at the answer's end: to clients that is an empty object.
    pub fn close(&mut self) -> Vec<Said> {
        let empty = self.calls.iter_mut().filter(|call| !call.extent.has_begun);
        let closed = empty.filter_map(|call| {
            let said = Said { place: call.place?, head: None, arguments: "{}".to_owned() };
            call.extent.add(&said.arguments);
            Some(said)
        });
        closed.collect()
    }

    fn part(&mut self, part: Part<'_>) -> Option<Said> {
        let found = self.find(part);
        let again = self.again.take().filter(|_| found.is_none() && part.name.is_empty());
        let part = Part { name: again.as_deref().unwrap_or(part.name), ..part };
        let at = found.unwrap_or_else(|| self.open(part));
        let is_over = |call: &Call| call.extent.is_whole() && !call.name.is_empty();
        if self.calls.get(at).is_some_and(is_over) && part.arguments.trim_ascii().is_empty() {
            self.again = Some(part.name.to_owned()).filter(|name| !name.is_empty());
        }
        if let Some(number) = part.index {
            self.numbers.retain(|(known, _)| *known != number);
            self.numbers.push((number, at));
        }
        self.add(at, part)
    }

    fn open(&mut self, part: Part<'_>) -> usize {
        self.calls.push(Call { number: part.index, server_id: part.id.to_owned(), ..Call::default() });
        self.calls.len() - 1
    }

    /// The call that a part goes on with.
    fn find(&self, part: Part<'_>) -> Option<usize> {
        let numbered = part.index.and_then(|number| self.by_number(number));
        let newest = self.calls.len().checked_sub(1);
        if !part.id.is_empty() {
            if let Some(at) = self.by_id(part.id, numbered) {
                return self.goes_on(at, part).then_some(at);
            }
            let at = if part.index.is_some() { numbered? } else { newest? };
            let call = self.calls.get(at)?;
            // An id may come late. A server that makes one for each part tells no calls apart by it.
            let may_be_its = call.server_id.is_empty() || part.name.is_empty();
            return (may_be_its && self.goes_on(at, part)).then_some(at);
        }
        let first = match part.index {
            None => newest,
            Some(_) if part.name.is_empty() => numbered.or(newest),
            Some(_) => numbered,
        };
        let nameless = newest.filter(|at| self.calls.get(*at).is_some_and(|call| call.name.is_empty()));
        let candidates = [first, if part.name.is_empty() { newest } else { nameless }];
        candidates.into_iter().flatten().find(|at| self.goes_on(*at, part))
    }

    fn by_number(&self, number: u32) -> Option<usize> {
        self.numbers.iter().find(|(known, _)| *known == number).map(|(_, at)| *at)
    }

    /// The call of this id; of several, the one that the number means, or the newest.
    fn by_id(&self, id: &str, numbered: Option<usize>) -> Option<usize> {
        let has_it = |at: &usize| self.calls.get(*at).is_some_and(|call| call.server_id == id);
        numbered.filter(has_it).or_else(|| (0..self.calls.len()).rev().find(has_it))
    }

    /// Whether a part can be one of this call.
    fn goes_on(&self, at: usize, part: Part<'_>) -> bool {
        let Some(call) = self.calls.get(at) else { return false };
        let says_nothing = part.arguments.trim_ascii().is_empty();
        if part.name.is_empty() {
            return says_nothing || !call.extent.is_whole() || call.repeats(part);
        }
        if call.name.is_empty() {
            return says_nothing || !call.extent.is_whole();
        }
        // The name again, or another call of the same function: numbers tell, unless the id does and the arguments go on.
        let is_numbered_apart = matches!((call.number, part.index), (Some(known), Some(number)) if known != number);
        let has_id = !part.id.is_empty() && part.id == call.server_id && !says_nothing;
        let is_listed = self.listed.contains(&at) && (says_nothing || call.extent.is_whole());
        let is_other = call.name != part.name || is_listed || (is_numbered_apart && !has_id);
        !is_other && (says_nothing || !call.extent.is_whole() || call.repeats(part))
    }

    fn add(&mut self, at: usize, part: Part<'_>) -> Option<Said> {
        let call = self.calls.get_mut(at)?;
        if call.server_id.is_empty() {
            part.id.clone_into(&mut call.server_id);
        }
        let is_head = call.name.is_empty() && !part.name.is_empty();
        if !part.name.is_empty() {
            self.listed.push(at);
        }
        // What a server sends again behind the whole call says nothing new.
        let arguments = if call.extent.is_whole() { "" } else { part.arguments };
        call.extent.add(arguments);
        if !is_head {
            if call.name.is_empty() {
                call.waiting.push_str(arguments);
            }
            return call.place.map(|place| Said { place, head: None, arguments: arguments.to_owned() });
        }
        part.name.clone_into(&mut call.name);
        let place = self.begun;
        call.place = Some(place);
        self.begun += 1;
        let arguments = std::mem::take(&mut call.waiting) + arguments;
        let wanted = call.server_id.clone();
        let is_taken = wanted.is_empty() || self.calls.iter().any(|call| call.id == wanted);
        let id = if is_taken { self.mint.call_id() } else { wanted };
        let call = self.calls.get_mut(at)?;
        call.id.clone_from(&id);
        Some(Said { place, head: Some((id, call.name.clone())), arguments })
    }
}

impl Call {
    /// Whether a part says once more, word by word, what the call is.
    fn repeats(&self, part: Part<'_>) -> bool {
        let mut again = Extent::default();
        again.add(part.arguments);
        part.id == self.server_id && !part.id.is_empty() && again.sum == self.extent.sum
    }
}

/// How far a JSON object, or list, has come.
#[derive(Debug, Clone, Copy)]
struct Extent {
    has_begun: bool,
    /// It began with neither, so that its end is not known.
    is_other: bool,
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// The same for the same text, however it was cut.
    sum: u64,
}

impl Default for Extent {
    fn default() -> Self {
        const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        Self { has_begun: false, is_other: false, depth: 0, in_string: false, escaped: false, sum: FNV_OFFSET }
    }
}

impl Extent {
    fn add(&mut self, text: &str) {
        const FNV_PRIME: u64 = 0x0100_0000_01b3;
        for byte in text.bytes() {
            self.sum = (self.sum ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
            if !self.has_begun {
                self.has_begun = !byte.is_ascii_whitespace();
                self.is_other = self.has_begun && !matches!(byte, b'{' | b'[');
            }
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    fn is_whole(self) -> bool {
        self.has_begun && !self.is_other && self.depth == 0 && !self.in_string
    }
}

#[cfg(test)]
pub mod tests;
