//! Redis, put to the contract, and what is Redis's own: outages, several instances, the layout of its keys.

mod apart;
mod instances;
mod layout;
mod lists;
mod older;
mod outages;
mod permissions;

use std::sync::Arc;

use futures::future::BoxFuture;
use openai_backend::domain::ids::{Ids as _, SystemIds};
use openai_backend::store::Store;
use openai_backend::store::redis::{Redis, RedisSettings};

use super::rig::{Rig, Time};
use crate::support::redis_server::RedisServer;

/// A prefix that no other test uses.
pub fn prefix() -> String {
    let [a, b, c, d, e, f, ..] = SystemIds.secret();
    format!("test-{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{f:02x}:")
}

/// As a user who has the permissions that the documents list, and no others.
async fn fresh() -> Rig {
    let server = RedisServer::shared();
    let prefix = prefix();
    let user = permissions::documented_user(&server, &prefix).await;
    let settings =
        RedisSettings { user: Some(user), password: Some("your-password".into()), ..server.settings(&prefix) };
    rig_with(server, settings).await
}

/// Two instances on one server.
async fn rig_on(server: Arc<RedisServer>) -> Rig {
    let settings = server.settings(&prefix());
    rig_with(server, settings).await
}

async fn rig_with(server: Arc<RedisServer>, settings: RedisSettings) -> Rig {
    let store = Redis::connect(settings.clone()).await.unwrap();
    let peer = Redis::connect(settings.clone()).await.unwrap();
    let reopen = move || -> BoxFuture<'static, Arc<dyn Store>> {
        let settings = settings.clone();
        Box::pin(async { Arc::new(Redis::connect(settings).await.unwrap()) as _ })
    };
    let rig = Rig::new(Arc::new(store), Arc::new(peer), Time::Real { unit_ms: 400 });
    rig.reopened_by(Box::new(reopen)).keeping(server)
}

contract!(fresh);
