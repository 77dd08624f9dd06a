//! Documents: put, read in the order in which they were put, deleted.

use openai_backend::access::session_secret;
use openai_backend::domain::conversation::Owner;
use openai_backend::domain::ids::SystemIds;
use openai_backend::store::documents::{Document, DocumentKind, DocumentsPage, DocumentsQuery};
use secrecy::ExposeSecret as _;

use crate::store::rig::{Caller, Rig};

const KINDS: [DocumentKind; 2] = [DocumentKind::Completion, DocumentKind::ApiKey];

fn query(after: Option<&str>, ascending: bool, limit: usize) -> DocumentsQuery {
    DocumentsQuery { after: after.map(str::to_owned), ascending, limit }
}

fn document(id: &str, created_at_ms: i64, json: &str) -> Document {
    Document { id: id.into(), created_at_ms, json: json.into() }
}

async fn put(rig: &Rig, who: &Caller, kind: DocumentKind, document: &Document) {
    assert!(rig.store.put_document(&who.place.owner, kind, document.clone()).await.unwrap());
}

async fn all(rig: &Rig, who: &Caller, kind: DocumentKind) -> Vec<Document> {
    let page = rig.peer.documents(&who.place.owner, kind, query(None, true, 1_000)).await.unwrap().unwrap();
    assert!(!page.has_more);
    page.documents
}

fn no_page() -> Option<DocumentsPage> {
    Some(DocumentsPage { documents: vec![], has_more: false })
}

/// What the session secret depends on: of several that look at once, each on its own connection, all find the same one.
pub async fn keep_one_session_secret_for_all_that_ask_at_once(rig: &Rig) {
    let make = |store| async move { session_secret::read_or_make(store, &SystemIds, 1).await.unwrap() };
    let stores = [&*rig.store, &*rig.peer].repeat(8);
    let secrets = futures::future::join_all(stores.into_iter().map(make)).await;
    let first = secrets[0].expose_secret();
    assert!(first.len() == 32 && secrets.iter().all(|secret| secret.expose_secret() == first));
    assert_eq!(make(&*rig.peer).await.expose_secret(), first);
    let kept = rig.store.documents(&Owner::operator(), DocumentKind::SessionSecret, query(None, true, 100)).await;
    assert_eq!(kept.unwrap().unwrap().documents.len(), 1, "what was made in vain is gone");
}

pub async fn come_back_byte_for_byte(rig: &Rig) {
    let big = format!("[\"{}\"]", "x".repeat(1 << 20));
    for who in rig.callers().await {
        for kind in KINDS {
            for (id, json) in [
                ("chatcmpl-1", "{ \"n\" :1.0e+2,\n\"n\":\"\\u0000 👌\" }"),
                ("~!{}:\"*", "\u{2028} \u{0}"),
                ("b", &big),
            ] {
                let put_now = document(id, rig.now_ms() - 5, json);
                put(rig, &who, kind, &put_now).await;
                let given = rig.peer.document(&who.place.owner, kind, id).await.unwrap();
                assert!(given == Some(put_now), "{id}");
            }
        }
        let (owner, longest) = (&who.place.owner, "i".repeat(128));
        assert_eq!(rig.peer.document(owner, DocumentKind::Completion, &longest).await.unwrap(), None);
        put(rig, &who, DocumentKind::Completion, &document(&longest, 0, "{}")).await;
        assert!(rig.peer.document(owner, DocumentKind::Completion, &longest).await.unwrap().is_some());
    }
}

pub async fn put_again_keep_their_place_and_time(rig: &Rig) {
    for who in rig.callers().await {
        let kind = DocumentKind::Completion;
        let mut documents: Vec<Document> = (0..3).map(|i| document(&format!("d{i}"), 100 - i, "{}")).collect();
        for document in &documents {
            put(rig, &who, kind, document).await;
        }
        put(rig, &who, kind, &document("d0", 5_000, "{\"changed\":1}")).await;
        documents[0].json = "{\"changed\":1}".into();
        assert_eq!(all(rig, &who, kind).await, documents);
        assert_eq!(rig.peer.document(&who.place.owner, kind, "d0").await.unwrap().as_ref(), Some(&documents[0]));

        // Deleted and put again, it is a new one.
        assert!(rig.store.delete_document(&who.place.owner, kind, "d0").await.unwrap());
        let again = document("d0", 7, "{}");
        put(rig, &who, kind, &again).await;
        documents.remove(0);
        documents.push(again);
        assert_eq!(all(rig, &who, kind).await, documents);
    }
}

pub async fn come_in_pages_both_ways(rig: &Rig) {
    for who in rig.callers().await {
        let (owner, kind) = (&who.place.owner, DocumentKind::Completion);
        assert_eq!(rig.peer.documents(owner, kind, query(None, true, 10)).await.unwrap(), no_page());
        // The order in which they were put is neither that of ids nor that of times.
        let mut expected = Vec::new();
        for (i, id) in ["f", "b", "e", "gone", "a", "d", "c"].into_iter().enumerate() {
            let one = document(id, 1_000 * ((i as i64 * 3) % 5), "{}");
            put(rig, &who, kind, &one).await;
            put(rig, &who, DocumentKind::ApiKey, &one).await;
            expected.push(one);
        }
        assert!(rig.store.delete_document(owner, kind, "gone").await.unwrap());
        expected.remove(3);
        for ascending in [true, false] {
            let mut ordered = expected.clone();
            if !ascending {
                ordered.reverse();
            }
            for from in 0..=ordered.len() {
                let after = from.checked_sub(1).map(|i| ordered[i].id.as_str());
                for limit in [1, 2, 5, 6, 7, usize::MAX] {
                    let to = from.saturating_add(limit).min(ordered.len());
                    let page = DocumentsPage { documents: ordered[from..to].to_vec(), has_more: to < ordered.len() };
                    let given = rig.peer.documents(owner, kind, query(after, ascending, limit)).await.unwrap();
                    assert_eq!(given, Some(page), "{limit} after {after:?}");
                }
            }
            for unknown in ["gone", "never"] {
                let page = rig.peer.documents(owner, kind, query(Some(unknown), ascending, 10)).await.unwrap();
                assert_eq!(page, None);
            }
        }
    }
}

pub async fn are_deleted_once(rig: &Rig) {
    for who in rig.callers().await {
        let owner = &who.place.owner;
        let one = document("one", 1, "{}");
        for kind in KINDS {
            put(rig, &who, kind, &one).await;
        }
        let [kind, other] = KINDS;
        assert!(rig.store.delete_document(owner, kind, "one").await.unwrap());
        assert!(!rig.peer.delete_document(owner, kind, "one").await.unwrap());
        assert!(!rig.peer.delete_document(owner, kind, "never").await.unwrap());
        assert_eq!(rig.peer.document(owner, kind, "one").await.unwrap(), None);
        assert_eq!(all(rig, &who, kind).await, []);
        assert_eq!(all(rig, &who, other).await, [one]);
    }
}

pub async fn of_others_look_unknown(rig: &Rig) {
    let [one, other] = rig.callers().await;
    let kind = DocumentKind::Completion;
    let theirs = document("one", 1, "{\"theirs\":1}");
    put(rig, &one, kind, &theirs).await;
    let stranger = &other.place.owner;
    assert_eq!(rig.peer.document(stranger, kind, "one").await.unwrap(), None);
    assert_eq!(rig.peer.documents(stranger, kind, query(None, true, 10)).await.unwrap(), no_page());
    assert_eq!(rig.peer.documents(stranger, kind, query(Some("one"), true, 10)).await.unwrap(), None);
    assert!(!rig.store.delete_document(stranger, kind, "one").await.unwrap());
    put(rig, &other, kind, &document("one", 2, "{}")).await;
    assert!(rig.store.delete_document(stranger, kind, "one").await.unwrap());
    assert_eq!(all(rig, &one, kind).await, [theirs]);
}

pub async fn go_with_their_owner(rig: &Rig) {
    let [one, other] = rig.callers().await;
    let bystander = Caller::program();
    let kept = document("one", 1, "{}");
    for who in [&one, &other, &bystander] {
        for kind in KINDS {
            put(rig, who, kind, &kept).await;
        }
    }
    for who in [&one, &other] {
        let owner = &who.place.owner;
        rig.store.delete_owner(owner).await.unwrap();
        for kind in KINDS {
            assert_eq!(rig.peer.document(owner, kind, "one").await.unwrap(), None);
            assert_eq!(rig.peer.documents(owner, kind, query(None, true, 10)).await.unwrap(), no_page());
            assert_eq!(rig.peer.documents(owner, kind, query(Some("one"), true, 10)).await.unwrap(), None);
        }
    }
    // A session that comes back under the same name has none.
    rig.turn(&one.again(), "hi").await;
    assert_eq!(all(rig, &one, KINDS[0]).await, []);
    assert_eq!(all(rig, &bystander, KINDS[1]).await, [kept]);
}

pub async fn of_sessions_that_expired_are_gone(rig: &Rig) {
    let [who, _] = rig.callers().await;
    let (owner, kind) = (&who.place.owner, DocumentKind::Completion);
    for i in 0..100 {
        put(rig, &who, kind, &document(&format!("d{i}"), 1, "{}")).await;
    }
    assert!(rig.store.renew_session(owner, rig.unit_ms(), rig.now_ms()).await.unwrap());
    rig.pass(1.5).await;
    for _ in 0..2 {
        assert!(!rig.store.put_document(owner, kind, document("new", 1, "{}")).await.unwrap());
        assert_eq!(rig.peer.document(owner, kind, "d1").await.unwrap(), None);
        assert_eq!(rig.peer.documents(owner, kind, query(None, true, 10)).await.unwrap(), no_page());
        assert_eq!(rig.peer.documents(owner, kind, query(Some("d1"), true, 10)).await.unwrap(), None);
        assert!(!rig.store.delete_document(owner, kind, "d1").await.unwrap());
        while rig.store.sweep(rig.now_ms()).await.unwrap() > 0 {}
    }

    let unknown = Caller::browser();
    assert!(!rig.store.put_document(&unknown.place.owner, kind, document("new", 1, "{}")).await.unwrap());
    assert_eq!(rig.peer.document(&unknown.place.owner, kind, "new").await.unwrap(), None);
}

pub async fn are_updated_where_they_are_there(rig: &Rig) {
    for who in rig.callers().await {
        let owner = &who.place.owner;
        for kind in KINDS {
            let (one, two) = (document("one", 1, "{}"), document("two", 2, "{}"));
            assert!(!rig.store.update_document(owner, kind, "one", "{}".into()).await.unwrap());
            assert_eq!(all(rig, &who, kind).await, []);
            put(rig, &who, kind, &one).await;
            put(rig, &who, kind, &two).await;
            assert!(rig.peer.update_document(owner, kind, "one", "[\"a b\"]".into()).await.unwrap());
            assert_eq!(all(rig, &who, kind).await, [document("one", 1, "[\"a b\"]"), two.clone()]);
            assert!(rig.store.delete_document(owner, kind, "one").await.unwrap());
            assert!(!rig.peer.update_document(owner, kind, "one", "{}".into()).await.unwrap());
            assert_eq!(all(rig, &who, kind).await, [two]);
        }
        let other = Caller::program();
        assert!(!rig.store.update_document(&other.place.owner, KINDS[0], "two", "[]".into()).await.unwrap());
    }
}

pub async fn deleted_at_the_moment_of_an_update_stay_deleted(rig: &Rig) {
    let who = Caller::program();
    let owner = &who.place.owner;
    for n in 0..20 {
        put(rig, &who, KINDS[0], &document("one", 1, "{}")).await;
        let updates =
            futures::future::join_all((0..4).map(|_| rig.peer.update_document(owner, KINDS[0], "one", "[]".into())));
        let (deleted, updates) =
            futures::future::join(rig.store.delete_document(owner, KINDS[0], "one"), updates).await;
        assert!(deleted.unwrap() && updates.iter().all(Result::is_ok));
        assert_eq!(all(rig, &who, KINDS[0]).await, [], "round {n}");
    }
}
