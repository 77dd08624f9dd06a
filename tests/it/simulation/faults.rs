//! What stands between a simulated server and the store.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use openai_backend::store::{Notice, Store, StoreError};
use openai_backend::tasks::Tasks;
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::dice::Dice;
use crate::support::intercepted::{Interceptor, Op};

/// How bad it is, in thousandths.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    pub slow: u64,
    pub fails_before: u64,
    pub fails_after: u64,
    pub loses_notices: u64,
}

/// Shared by the servers of one world.
#[derive(Clone)]
pub struct Sky(Arc<Mutex<(Weather, Dice)>>);

impl Sky {
    pub fn new(weather: Weather, seed: u64) -> Self {
        Self(Arc::new(Mutex::new((weather, Dice::new(seed)))))
    }

    /// From now on nothing goes wrong.
    pub fn clear(&self) {
        self.0.lock().unwrap().0 = Weather::default();
    }

    fn pause(&self) -> Option<Duration> {
        let (weather, dice) = &mut *self.0.lock().unwrap();
        let slow = dice.throw(1_000) < weather.slow;
        let ms = if dice.throw(20) == 0 { dice.throw(2_500) } else { dice.throw(30) };
        slow.then(|| Duration::from_millis(ms))
    }

    fn strikes(&self, chance: impl Fn(&Weather) -> u64) -> bool {
        let (weather, dice) = &mut *self.0.lock().unwrap();
        dice.throw(1_000) < chance(weather)
    }
}

/// One server's way to the store.
pub struct Way {
    pub sky: Sky,
    pub tasks: Tasks,
    /// Until when nothing gets through.
    pub stalled: Arc<Mutex<Option<Instant>>>,
}

impl Way {
    fn fault(what: &str) -> StoreError {
        StoreError::Unavailable(what.into())
    }
}

#[async_trait]
impl Interceptor for Way {
    async fn before(&self, _: Op) -> Result<(), StoreError> {
        loop {
            let until = *self.stalled.lock().unwrap();
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => sleep_until(until).await,
                None => break,
            }
        }
        if let Some(pause) = self.sky.pause() {
            sleep(pause).await;
        }
        if self.sky.strikes(|weather| weather.fails_before) {
            Err(Self::fault("lost on the way there"))
        } else {
            Ok(())
        }
    }

    async fn after(&self, _: Op) -> Result<(), StoreError> {
        if let Some(pause) = self.sky.pause() {
            sleep(pause).await;
        }
        if self.sky.strikes(|weather| weather.fails_after) { Err(Self::fault("lost on the way back")) } else { Ok(()) }
    }

    fn notices(&self, inner: &dyn Store) -> broadcast::Receiver<Notice> {
        let (told, heard) = (inner.notices(), broadcast::channel(64));
        let (sky, mut told, pass_on) = (self.sky.clone(), told, heard.0);
        self.tasks.spawn("notices on their way", async move {
            while let Ok(notice) = told.recv().await {
                if !sky.strikes(|weather| weather.loses_notices) {
                    // It is lost when its server has gone.
                    let _ = pass_on.send(notice);
                }
            }
        });
        heard.1
    }
}
