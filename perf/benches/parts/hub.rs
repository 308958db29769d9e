//! A hub as a whole, with nothing where the sockets would be; and the outgoing queue by itself.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use texto::hub::{Key, Moment, Outbox};
use texto::limits::{REVOLUTION_STEPS_MAX, STEP_SLOTS};

use super::{LENGTHS, frame, send};
use crate::support::{Clients, REQUEST, flush, hub, open};

/// A client, and the id that its greeting told it.
fn greeted(hub: &mut Clients, now: Moment) -> (Key, String) {
    let key = open(hub, &mut REQUEST.to_vec(), now);
    let ((), owed) = hub.owed(key).expect("it is owed a response and a greeting");
    let said = String::from_utf8_lossy(owed);
    let (_, id) = said.split_once(r#"{"client_id":""#).expect("every greeting begins so");
    let id = id[..36].to_owned();
    flush(hub, &mut Vec::new());
    (key, id)
}

/// Messages per sample, given where the first one, for which memory has to be found, would mislead the choice.
const SAMPLE_SIZE: u32 = 100;

/// A message from its bytes to the bytes of the ack and of the delivery, which the two sockets take.
#[divan::bench(args = LENGTHS, sample_size = SAMPLE_SIZE)]
fn route(bencher: Bencher<'_, '_>, len: usize) {
    let (mut hub, now, mut keys) = (hub(), Moment::default(), Vec::new());
    let (sender, client) = greeted(&mut hub, now);
    let (_, receiver) = greeted(&mut hub, now);
    let mut frame = frame(send(&client, &receiver, &"x".repeat(len)).as_bytes());
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        hub.receive(sender, black_box(&mut frame), now);
        flush(&mut hub, &mut keys)
    });
    assert_eq!(hub.tally().sends_to_loop, hub.tally().heard.iter().sum::<u64>(), "every message found its recipient");
}

/// A client comes, is greeted, and goes.
#[divan::bench(sample_size = SAMPLE_SIZE)]
fn open_and_close(bencher: Bencher<'_, '_>) {
    let (mut hub, now, mut keys, mut request) = (hub(), Moment::default(), Vec::new(), REQUEST.to_vec());
    bencher.bench_local(|| {
        let key = open(&mut hub, black_box(&mut request), now);
        flush(&mut hub, &mut keys);
        hub.end_of_input(key, now);
        hub.reap().expect("it has just ended")
    });
}

/// One step of the clock hand over idle clients; a revolution takes a second, in 250 steps at most.
#[divan::bench(args = [100_000, 1_000_000], sample_size = 1)]
fn idle_step(bencher: Bencher<'_, '_>, count: usize) {
    let (mut hub, mut now, mut keys, mut request) = (hub(), Moment::default(), Vec::new(), REQUEST.to_vec());
    for _ in 0..count {
        open(&mut hub, &mut request, now);
        flush(&mut hub, &mut keys);
    }
    hub.expire(now);
    let steps = count.div_ceil(STEP_SLOTS).min(REVOLUTION_STEPS_MAX);
    bencher.counter(ItemsCount::new(count.div_ceil(steps))).bench_local(|| {
        now = hub.next_deadline().expect("the hand moves while there is somebody");
        hub.expire(now);
    });
    hub.take_unsettled(&mut keys);
    assert!(keys.is_empty(), "nobody was to be pinged");
}

/// A frame into the queue and out of it: `0` is a client that takes all at once, the others are always that many frames behind.
#[divan::bench(args = [0, 1, 100])]
fn outbox(bencher: Bencher<'_, '_>, frames_behind: usize) {
    const FRAME: [u8; 200] = [b'x'; 200];
    let mut outbox = Outbox::default();
    for _ in 0..frames_behind {
        outbox.end().extend_from_slice(&FRAME);
    }
    bencher.bench_local(|| {
        outbox.end().extend_from_slice(black_box(&FRAME));
        black_box(outbox.owed());
        outbox.advance(FRAME.len());
    });
    assert_eq!(outbox.len(), frames_behind * FRAME.len(), "what goes in comes out");
}
