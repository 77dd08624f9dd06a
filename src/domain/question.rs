//! What a turn was asked, as its conversation shows it while there is no answer, and for good where none ever came.

use std::borrow::Cow;

use super::carried;
use super::item::Item;
use super::item_json::{IN_PROGRESS, INCOMPLETE, status_in, with_status};
use super::turn::{TurnRequest, TurnStatus};

/// Sets the status of a turn apart from those that items of some types have.
const MARK: &str = "turn_";

/// The items that a turn which stands like this was asked, as its conversation has them without an answer: their status is
/// the turn's, and they cost nothing in a prompt, because they are in none.
///
/// None where the conversation only holds a chain of responses, which is read response by response, and where nothing of
/// the turn is to be stored.
#[must_use]
pub fn unanswered(request: &TurnRequest, status: TurnStatus) -> Vec<Item> {
    if !request.is_of_a_conversation() {
        return Vec::new();
    }
    let item = |item: &Item| {
        let json = with_status(&item.json, &format!("{MARK}{}", status.as_str())).unwrap_or_else(|| item.json.clone());
        Item { json, tokens: 0, ..item.clone() }
    };
    request.input.iter().map(item).collect()
}

/// How the turn stands that this item was asked in, where the item has no answer; `None` for every other item.
#[must_use]
pub fn standing(item: &Item) -> Option<TurnStatus> {
    // Hardly any other item costs nothing, so that of most no more than a number is looked at.
    if item.tokens > 0 {
        return None;
    }
    TurnStatus::parse(status_in(&item.json)?.strip_prefix(MARK)?)
}

/// An item's JSON with a status that OpenAI's items have.
#[must_use]
pub fn json_for_sdks(item: &Item) -> Cow<'_, str> {
    let status = match standing(item) {
        None => return carried::without(&item.json),
        Some(TurnStatus::Running) => IN_PROGRESS,
        Some(_) => INCOMPLETE,
    };
    with_status(&item.json, status).map_or(Cow::Borrowed(&item.json), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{ItemId, TurnId};
    use crate::domain::item::user_message;
    use crate::domain::tokens::Encoding;

    fn request(shown: Option<&str>) -> TurnRequest {
        let id = ItemId::parse("msg_1").unwrap();
        let json = user_message(&id, "Why \"status\":\"completed\"?");
        let item = Item { id: id.clone(), turn: TurnId::parse("turn_1"), json, tokens: 9, encoding: Encoding::O200k };
        TurnRequest {
            model: "m".into(),
            instructions: String::new(),
            input: vec![item],
            answer_id: id,
            temperature: None,
            max_tokens: Some(1),
            stream: false,
            options: None,
            shown: shown.map(str::to_owned),
            whole_history: false,
            tools: Default::default(),
            aim: Default::default(),
        }
    }

    #[test]
    fn what_has_no_answer_says_how_its_turn_stands_and_costs_nothing() {
        let request = request(None);
        assert_eq!(standing(&request.input[0]), None);
        for (status, shown) in [
            (TurnStatus::Running, "in_progress"),
            (TurnStatus::Failed, "incomplete"),
            (TurnStatus::Cancelled, "incomplete"),
            (TurnStatus::Interrupted, "incomplete"),
        ] {
            let [item] = unanswered(&request, status).try_into().unwrap();
            assert_eq!((standing(&item), item.tokens), (Some(status), 0));
            let message = item.message().unwrap();
            assert_eq!(message, request.input[0].message().unwrap());
            let wanted = request.input[0].json.replacen("completed", shown, 1);
            assert_eq!(json_for_sdks(&item), wanted);
        }
    }

    #[test]
    fn chains_and_what_is_not_stored_keep_no_questions() {
        for (shown, kept) in [
            (r#"{"store":true,"background":false,"conversation":{"id":"conv_1"}}"#, 1),
            (r#"{"store":true,"background":false,"conversation":null}"#, 0),
            (r#"{"store":false,"background":false,"conversation":{"id":"conv_1"}}"#, 0),
        ] {
            assert_eq!(unanswered(&request(Some(shown)), TurnStatus::Failed).len(), kept, "{shown}");
        }
    }

    #[test]
    fn what_a_model_thought_is_not_a_question() {
        let id = ItemId::parse("rs_1").unwrap();
        for json in
            [r#"{"type":"web_search_call","id":"rs_1","status":"failed"}"#, r#"{"type":"reasoning","id":"rs_1"}"#, ""]
        {
            let item = Item { id: id.clone(), turn: None, json: json.into(), tokens: 0, encoding: Encoding::O200k };
            assert_eq!((standing(&item), json_for_sdks(&item).as_ref()), (None, json));
        }
    }
}
