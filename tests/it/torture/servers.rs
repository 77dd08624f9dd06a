//! The servers, and what is done to them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::Counts;
use crate::support::dice::Dice;
use crate::support::process::{Process, Program};
use crate::support::redis_server::RedisServer;

/// Where each server is at the moment, where it is.
pub type Urls = Arc<Mutex<Vec<Option<String>>>>;

pub struct Servers {
    pub urls: Urls,
    processes: Vec<Option<Process>>,
    redis: Option<RedisServer>,
    counts: Arc<Counts>,
}

impl Servers {
    pub async fn start(programs: Vec<Program>, redis: Option<RedisServer>, counts: Arc<Counts>) -> Self {
        let urls = Arc::new(Mutex::new(vec![None; programs.len()]));
        let mut servers = Self { urls, processes: Vec::new(), redis, counts };
        for (slot, program) in programs.iter().enumerate() {
            servers.processes.push(None);
            servers.put(slot, program.start().await);
        }
        servers
    }

    fn put(&mut self, slot: usize, process: Process) {
        self.urls.lock().unwrap()[slot] = Some(process.url.clone());
        self.processes[slot] = Some(process);
    }

    fn take(&mut self, slot: usize) -> Process {
        self.urls.lock().unwrap()[slot] = None;
        self.processes[slot].take().expect("every server is up between two blows")
    }

    /// One blow after another; in the end all are up again.
    pub async fn suffer(mut self, mut dice: Dice, until: Instant) -> Self {
        while Instant::now() < until {
            sleep(Duration::from_millis(500 + dice.throw(2_500))).await;
            let slot = usize::try_from(dice.throw(self.processes.len() as u64)).unwrap();
            let down = Duration::from_millis(dice.throw(1_500));
            match (dice.throw(5), &self.redis) {
                (0, Some(redis)) => {
                    Counts::count(&self.counts.pauses);
                    redis.pause();
                    sleep(Duration::from_millis(dice.throw(4_000))).await;
                    redis.resume();
                }
                (1, _) => {
                    Counts::count(&self.counts.stops);
                    let program = self.take(slot).stop().await;
                    sleep(down).await;
                    self.put(slot, program.start().await);
                }
                _ => {
                    Counts::count(&self.counts.kills);
                    let program = self.take(slot).kill().await;
                    sleep(down).await;
                    self.put(slot, program.start().await);
                }
            }
        }
        self
    }

    /// Any that is up.
    pub fn url(&self) -> String {
        self.urls.lock().unwrap().iter().flatten().next().expect("all are up in the end").clone()
    }
}
