//! What befalls the servers.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::world::World;
use crate::support::dice::Dice;

fn ms(dice: &mut Dice, below: u64) -> Duration {
    Duration::from_millis(dice.throw(below))
}

/// Goes on until it is dropped.
pub async fn reign(world: &World) {
    let mut dice = Dice::new(world.dice.lock().unwrap().throw(u64::MAX));
    loop {
        sleep(ms(&mut dice, 6_000)).await;
        let slot = usize::try_from(dice.throw(world.slots() as u64)).unwrap();
        let Some(server) = world.slot(slot) else { continue };
        match dice.throw(3) {
            0 if world.plan.crashes => {
                world.crash(slot);
                sleep(ms(&mut dice, 6_000)).await;
                world.start(slot);
            }
            1 if world.plan.stops => {
                world.say(format!("{} is asked to stop", server.name));
                server.tasks.stopping().cancel();
                server.turns.shut_down(ms(&mut dice, 4_000)).await;
                world.crash(slot);
                sleep(ms(&mut dice, 3_000)).await;
                world.start(slot);
            }
            2 if world.plan.stalls => {
                world.say(format!("{} stalls", server.name));
                *server.stalled.lock().unwrap() = Some(Instant::now() + ms(&mut dice, 12_000));
            }
            _ => {}
        }
    }
}

/// The weather clears, every server comes back, and all that was begun ends.
pub async fn calm(world: &World) {
    world.say("calm".into());
    world.sky.clear();
    for slot in 0..world.slots() {
        // One that was in the middle of stopping would not begin or take over anything.
        if world.slot(slot).is_some_and(|server| server.tasks.stopping().is_cancelled()) {
            world.crash(slot);
        }
        if world.slot(slot).is_none() {
            world.start(slot);
        }
    }
    let all_end = async {
        while super::check::running(world).await {
            sleep(Duration::from_millis(500)).await;
        }
    };
    if timeout(Duration::from_secs(300), all_end).await.is_err() {
        world.wrong("P7: a turn runs for ever");
    }
}
