//! P3: what an SDK sends again by itself adds no second turn.

use super::cutter::Cutter;
use super::{KEY, Rig, run};
use crate::support::redis_server::RedisServer;

/// The script makes calls with the official SDK, of which each loses its first answer to the line.
async fn adds_no_second_turn(script: &str, settings: &[(&str, &str)]) {
    adds_none_at(Rig::start().await, script, settings).await;
}

async fn adds_none_at(rig: Rig, script: &str, settings: &[(&str, &str)]) {
    let cutter = Cutter::start(&rig.server.url).await;
    let direct = format!("{}/v1", rig.server.url);
    let settings = [&[("OVER", "fake"), ("DIRECT_BASE_URL", direct.as_str())], settings].concat();
    let printed = run(script, &cutter.url, KEY, &settings).await;
    let made: usize =
        printed.lines().filter_map(|line| line.strip_prefix("calls ")).map(|n| n.parse::<usize>().unwrap()).sum();
    assert!(made > 0, "{printed}");
    assert_eq!(cutter.cuts(), made, "each lost its first answer");
    assert_eq!(rig.fake.calls(), made, "each reached the model once");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_openai_python() {
    adds_no_second_turn("sdk_retries.py", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_openai_python_on_redis() {
    let redis = RedisServer::start_with(&[]);
    let rig = Rig::start_with(|program| program.set("REDIS_URL", &redis.url())).await;
    adds_none_at(rig, "sdk_retries.py", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_openai_node() {
    adds_no_second_turn("sdk_retries.cjs", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_openai_node_before_the_newest() {
    adds_no_second_turn("sdk_retries.cjs", &[("OPENAI_PACKAGE", "openai-6")]).await;
}
