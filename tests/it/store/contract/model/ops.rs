//! What may be asked of a store, drawn at random.

use proptest::prelude::*;

/// One operation. Turns and items are counted from the newest; numbers beyond the last one mean something unknown.
#[derive(Debug, Clone)]
pub enum Op {
    Begin {
        who: usize,
        session: Use,
        create_conversation: bool,
        hidden: bool,
        expected_items: Option<u64>,
        /// Key, body, and what it is for.
        key: Option<(u8, u8, Role)>,
        budget: (u32, u32),
    },
    Append {
        turn: usize,
        events: usize,
        old_fence: bool,
    },
    Finish {
        turn: usize,
        tokens: Vec<u32>,
        status: usize,
        with_answer: bool,
        old_fence: bool,
    },
    Read {
        who: usize,
        turn: usize,
        after: u64,
        limit: usize,
    },
    Turn {
        who: usize,
        turn: usize,
    },
    Turns {
        who: usize,
        limit: usize,
    },
    History {
        who: usize,
        before: Option<u64>,
        limit: usize,
    },
    Window {
        who: usize,
        budget: (u32, u32),
    },
    Cancel {
        who: usize,
        turn: usize,
    },
    Release {
        turn: usize,
    },
    LeaveTry {
        turn: usize,
        key: u8,
    },
    Adopt,
    Renew {
        who: usize,
        hours: i64,
    },
    Delete {
        who: usize,
    },
    Sweep,
    Pass {
        hours: i64,
    },
    Create {
        who: usize,
        hidden: bool,
        tokens: Vec<u32>,
    },
    Conversation {
        who: usize,
    },
    Conversations {
        who: usize,
        after: Option<usize>,
        limit: usize,
    },
    Describe {
        who: usize,
        version: u8,
    },
    DeleteConversation {
        who: usize,
    },
    DeleteTurn {
        who: usize,
        turn: usize,
    },
    Add {
        who: usize,
        tokens: Vec<u32>,
    },
    Items {
        who: usize,
        after: Option<usize>,
        ascending: bool,
        limit: usize,
    },
    Item {
        who: usize,
        item: usize,
    },
    Remove {
        who: usize,
        item: usize,
    },
    Put {
        who: usize,
        id: u8,
        version: u8,
    },
    Document {
        who: usize,
        id: u8,
    },
    Documents {
        who: usize,
        after: Option<u8>,
        ascending: bool,
        limit: usize,
    },
    Update {
        who: usize,
        id: u8,
        version: u8,
    },
    DeleteDocument {
        who: usize,
        id: u8,
    },
}

/// What a turn does with the session that it begins in, where its owner is one.
#[derive(Debug, Clone, Copy)]
pub enum Use {
    Create,
    Renew,
    Leave,
    OfKey,
}

/// What a turn's key is for.
#[derive(Debug, Clone, Copy)]
pub enum Role {
    Join,
    FirstTry,
    Retry,
    InsteadOf(usize),
}

/// Up to 90 of them, beginnings and ends of turns more often than the rest.
pub fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![30 => of_turns(), 16 => of_conversations(), 5 => of_documents(), 12 => of_everything()];
    prop::collection::vec(op, 1..90)
}

fn who() -> std::ops::Range<usize> {
    0..5
}

fn turn() -> std::ops::Range<usize> {
    0..6
}

fn budget() -> impl Strategy<Value = (u32, u32)> {
    (1u32..400).prop_flat_map(|tokens| (Just(tokens), 0..=tokens))
}

fn tokens() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0u32..90, 0..4)
}

fn of_turns() -> impl Strategy<Value = Op> {
    let session =
        prop_oneof![3 => Just(Use::Create), 5 => Just(Use::Renew), 4 => Just(Use::Leave), 3 => Just(Use::OfKey)];
    let how = (session, any::<bool>(), prop::bool::weighted(0.3));
    let expected_items = prop::option::weighted(0.3, 0..6u64);
    let role = prop_oneof![
        6 => Just(Role::Join),
        4 => Just(Role::FirstTry),
        4 => Just(Role::Retry),
        2 => turn().prop_map(Role::InsteadOf),
    ];
    let key = prop::option::of((0..2u8, 0..2u8, role));
    let begin = (who(), how, expected_items, key, budget()).prop_map(|(who, how, expected_items, key, budget)| {
        let (session, create_conversation, hidden) = how;
        Op::Begin { who, session, create_conversation, hidden, expected_items, key, budget }
    });
    let append = (turn(), 0..4usize, prop::bool::weighted(0.2)).prop_map(|(turn, events, old_fence)| Op::Append {
        turn,
        events,
        old_fence,
    });
    let finish = (turn(), tokens(), 0..4usize, any::<bool>(), prop::bool::weighted(0.2)).prop_map(
        |(turn, tokens, status, with_answer, old_fence)| Op::Finish { turn, tokens, status, with_answer, old_fence },
    );
    let read =
        (who(), turn(), 0..8u64, 1..5usize).prop_map(|(who, turn, after, limit)| Op::Read { who, turn, after, limit });
    prop_oneof![
        8 => begin,
        6 => append,
        8 => finish,
        4 => read,
        2 => (who(), turn()).prop_map(|(who, turn)| Op::Turn { who, turn }),
        2 => (who(), 1..5usize).prop_map(|(who, limit)| Op::Turns { who, limit }),
        2 => (who(), turn()).prop_map(|(who, turn)| Op::Cancel { who, turn }),
        2 => turn().prop_map(|turn| Op::Release { turn }),
        2 => (turn(), 0..2u8).prop_map(|(turn, key)| Op::LeaveTry { turn, key }),
        2 => Just(Op::Adopt),
        2 => (who(), turn()).prop_map(|(who, turn)| Op::DeleteTurn { who, turn }),
    ]
}

fn of_conversations() -> impl Strategy<Value = Op> {
    let create = (who(), prop::bool::weighted(0.3), tokens()).prop_map(|(who, hidden, tokens)| Op::Create {
        who,
        hidden,
        tokens,
    });
    let list = (who(), prop::option::of(who()), 1..4usize).prop_map(|(who, after, limit)| Op::Conversations {
        who,
        after,
        limit,
    });
    let items = (who(), prop::option::of(0..6usize), any::<bool>(), 1..5usize)
        .prop_map(|(who, after, ascending, limit)| Op::Items { who, after, ascending, limit });
    prop_oneof![
        4 => create,
        1 => who().prop_map(|who| Op::Conversation { who }),
        2 => list,
        1 => (who(), any::<u8>()).prop_map(|(who, version)| Op::Describe { who, version }),
        1 => who().prop_map(|who| Op::DeleteConversation { who }),
        3 => (who(), tokens()).prop_map(|(who, tokens)| Op::Add { who, tokens }),
        3 => items,
        1 => (who(), 0..6usize).prop_map(|(who, item)| Op::Item { who, item }),
        3 => (who(), 0..6usize).prop_map(|(who, item)| Op::Remove { who, item }),
    ]
}

fn of_documents() -> impl Strategy<Value = Op> {
    let list = (who(), prop::option::of(0..5u8), any::<bool>(), 1..4usize)
        .prop_map(|(who, after, ascending, limit)| Op::Documents { who, after, ascending, limit });
    prop_oneof![
        3 => (who(), 0..4u8, any::<u8>()).prop_map(|(who, id, version)| Op::Put { who, id, version }),
        1 => (who(), 0..5u8).prop_map(|(who, id)| Op::Document { who, id }),
        2 => list,
        2 => (who(), 0..5u8, any::<u8>()).prop_map(|(who, id, version)| Op::Update { who, id, version }),
        1 => (who(), 0..5u8).prop_map(|(who, id)| Op::DeleteDocument { who, id }),
    ]
}

fn of_everything() -> impl Strategy<Value = Op> {
    let history = (who(), prop::option::of(0..12u64), 1..6usize).prop_map(|(who, before, limit)| Op::History {
        who,
        before,
        limit,
    });
    prop_oneof![
        4 => history,
        2 => (who(), budget()).prop_map(|(who, budget)| Op::Window { who, budget }),
        2 => (who(), 1..12i64).prop_map(|(who, hours)| Op::Renew { who, hours }),
        2 => who().prop_map(|who| Op::Delete { who }),
        1 => Just(Op::Sweep),
        3 => (1..8i64).prop_map(|hours| Op::Pass { hours }),
    ]
}
