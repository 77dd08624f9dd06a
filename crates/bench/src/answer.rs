//! What a right answer is. One that is not counts as a failure of the run: errors are often the fastest answers.

use std::borrow::Cow;

use serde::Deserialize;

use crate::Failure;

/// The text that the fake upstream answers with.
pub fn text(tokens: usize) -> String {
    (0..tokens).map(|number| format!("{}word{number}", if number == 0 { "" } else { " " })).collect()
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow, default)]
    content: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Completion<'a> {
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    message: Option<Content<'a>>,
    #[serde(borrow)]
    delta: Option<Content<'a>>,
}

/// A response, as far as it is looked at.
#[derive(Deserialize)]
pub struct Response<'a> {
    /// Its id.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    #[serde(borrow)]
    output: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, default)]
    content: Vec<Part<'a>>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Cow<'a, str>,
}

impl Response<'_> {
    fn text(&self) -> String {
        self.output.iter().flat_map(|item| &item.content).map(|part| part.text.as_ref()).collect()
    }
}

/// An event of a response.
#[derive(Deserialize)]
struct ResponseEvent<'a> {
    #[serde(borrow, default)]
    delta: Cow<'a, str>,
    #[serde(borrow)]
    response: Option<Response<'a>>,
}

/// Who answers: the shapes differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `POST /chat`.
    Chat,
    /// The upstream's own, through the proxy, or through the server's SDK door.
    Upstream,
    /// `POST /v1/responses`, each going on from the one before.
    Responses,
}

/// Checks a plain answer.
pub fn check_plain(shape: Shape, body: &[u8], expected: &str) -> Result<(), Failure> {
    let right = match shape {
        Shape::Chat => serde_json::from_slice::<Content>(body)?.content == expected,
        Shape::Responses => serde_json::from_slice::<Response>(body)?.text() == expected,
        Shape::Upstream => {
            let completion: Completion = serde_json::from_slice(body)?;
            let message = completion.choices.first().and_then(|choice| choice.message.as_ref());
            message.is_some_and(|message| message.content == expected)
        }
    };
    if right { Ok(()) } else { Err("an answer has another text than the upstream gave".into()) }
}

/// Reads a stream as its bytes come, and checks all of it.
pub struct Stream<'a> {
    shape: Shape,
    expected: &'a str,
    /// How much of the expected text has come.
    said: usize,
    /// The number of the last event.
    id: u64,
    /// How many events carried text.
    pub texts: u64,
    /// The id of the response that was streamed.
    pub response: Option<String>,
    done: bool,
}

impl<'a> Stream<'a> {
    /// A stream of which nothing has come.
    pub fn new(shape: Shape, expected: &'a str) -> Self {
        Self { shape, expected, said: 0, id: 0, texts: 0, response: None, done: false }
    }

    /// Reads the whole events in `bytes`, and leaves what is not whole.
    pub fn feed(&mut self, bytes: &mut Vec<u8>) -> Result<(), Failure> {
        let mut used = 0;
        while let Some(length) = bytes[used..].windows(2).position(|pair| pair == b"\n\n") {
            let event = std::str::from_utf8(&bytes[used..used + length])?;
            self.event(event)?;
            used += length + 2;
        }
        bytes.drain(..used);
        Ok(())
    }

    /// Checks that nothing is missing.
    pub fn end(&self) -> Result<(), Failure> {
        match self.done && self.said == self.expected.len() {
            true => Ok(()),
            false => Err(format!("a stream ended after {} of {} bytes", self.said, self.expected.len()).into()),
        }
    }

    fn event(&mut self, event: &str) -> Result<(), Failure> {
        let (mut name, mut data, mut id) = ("", "", None);
        for line in event.lines() {
            match line.split_once(": ") {
                Some(("event", value)) => name = value,
                Some(("data", value)) => data = value,
                Some(("id", value)) => id = Some(value.parse::<u64>()?),
                _ => {}
            }
        }
        if let Some(id) = id {
            if id != self.id + 1 {
                return Err(format!("event {id} follows event {}", self.id).into());
            }
            self.id = id;
        }
        match (self.shape, name) {
            (Shape::Upstream, _) if data == "[DONE]" => self.done = true,
            (Shape::Upstream, _) => {
                let chunk: Completion = serde_json::from_str(data)?;
                if let Some(delta) = chunk.choices.first().and_then(|choice| choice.delta.as_ref()) {
                    self.says(&delta.content)?;
                }
            }
            (Shape::Responses, "response.output_text.delta") => {
                self.says(&serde_json::from_str::<ResponseEvent>(data)?.delta)?;
            }
            (Shape::Responses, "response.completed") => {
                let response = serde_json::from_str::<ResponseEvent>(data)?.response.ok_or("no response")?;
                self.done = response.text() == self.expected;
                self.response = Some(response.id.into_owned());
            }
            (Shape::Responses, "response.failed" | "response.incomplete" | "error") => {
                return Err(format!("an unexpected event: {event}").into());
            }
            (Shape::Responses, _) => {}
            (Shape::Chat, "delta") => self.says(&serde_json::from_str::<Content>(data)?.content)?,
            (Shape::Chat, "completed") => {
                self.done = serde_json::from_str::<Content>(data)?.content == self.expected;
            }
            (Shape::Chat, "started") => {}
            (Shape::Chat, "") if data.is_empty() => {}
            (Shape::Chat, _) => return Err(format!("an unexpected event: {event}").into()),
        }
        Ok(())
    }

    fn says(&mut self, text: &str) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        if !self.expected[self.said..].starts_with(text) {
            return Err("a stream says something else than the upstream".into());
        }
        self.said += text.len();
        self.texts += 1;
        Ok(())
    }
}
